// Maps of confusions: rows are labels, columns predictions, both in the order of the ontology.

const RECOMMENDED = "mix_study";

// The types in the order of the tree, each once.
function ontologyOrder() {
  const order = new Set();
  const visit = (index) => {
    order.add(index);
    types[index].children.filter((child) => !order.has(child)).forEach(visit);
  };
  const roots = types.filter((type) => type.parents.length === 0).map((type) => type.index);
  roots.sort((a, b) => (types[a].children.length === 0) - (types[b].children.length === 0)
    || byLabel(a, b));
  roots.forEach(visit);
  return [...order];
}

function confusionMaps() {
  const losses = [...new Set([baseline, chosen.loss, RECOMMENDED])]
    .filter((loss) => loss && data.confusions[view({ loss })]);
  const title = element("h2", {}, "Map of confusions");
  if (losses.length === 0) return [title, nothingCompared()];
  const names = losses.map((loss) => view({ loss }));
  const order = ontologyOrder().filter((i) => names.some((name) =>
    data.confusions[name].labelled[i] || data.confusions[name].predicted[i]));
  const pair = element("div", { class: "pair", "aria-live": "polite" },
    element("p", { class: "muted" }, "Click on a cell of a map, or choose one of the pairs below."));
  const show = (label, prediction) => pair.replaceChildren(...describePair(losses, label, prediction));
  return [
    title,
    element("p", { class: "muted" }, `Rows are labels, columns predictions, both in the order of the `
      + `ontology; darker, a larger share of the label's cells. ${named(chosen.model)}, ${named(chosen.set)}, `
      + `${named(chosen.decoder)}. Teal is credited, brown is not.`),
    element("div", { class: "maps" }, losses.map((loss, i) => element("figure", {},
      element("figcaption", {}, named(loss)), drawMap(names[i], order, named(loss), show)))),
    pair,
    heading("Most frequent pairs that are not credited"),
    element("ul", { class: "pairs" }, frequentPairs(names.at(chosen.loss ? 1 : 0)).map(([label, prediction, cells]) => {
      const button = element("button", { type: "button", class: "link" },
        `${types[label].label} \u2192 ${types[prediction].label}`);
      button.addEventListener("click", () => show(label, prediction));
      return element("li", {}, button, element("span", { class: "muted" }, ` ${plural(cells, "cell")}`));
    })),
  ];
}

const isCredited = (label, prediction) => andAncestors(prediction).has(label);

function frequentPairs(name) {
  return types.flatMap((type) => predictionsOf(name, type.index)
    .filter(([other]) => !isCredited(type.index, other))
    .map(([other, cells]) => [type.index, other, cells]))
    .sort((a, b) => b[2] - a[2]).slice(0, 12);
}

function drawMap(name, order, title, show) {
  const size = order.length;
  const canvas = element("canvas", { width: size, height: size, role: "img",
    "aria-label": `Confusions with ${title}, ${size} types; the pairs below are the most frequent` });
  const place = new Map(order.map((type, i) => [type, i]));
  const image = new ImageData(size, size);
  const colours = getComputedStyle(document.documentElement);
  const rgb = (variable) => parseInt(colours.getPropertyValue(variable).trim().slice(1), 16);
  const [right, wrong] = [rgb("--up"), rgb("--down")];
  for (const label of order) {
    const total = data.confusions[name].labelled[label];
    for (const [prediction, cells] of predictionsOf(name, label)) {
      const at = 4 * (place.get(label) * size + place.get(prediction));
      const colour = isCredited(label, prediction) ? right : wrong;
      image.data.set([colour >> 16, (colour >> 8) & 255, colour & 255,
        Math.round(255 * Math.max(0.12, Math.sqrt(cells / total)))], at);
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  const pairAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const at = (offset, length) => Math.min(size - 1, Math.max(0, Math.floor(size * offset / length)));
    return [order[at(event.clientY - box.top, box.height)], order[at(event.clientX - box.left, box.width)]];
  };
  canvas.addEventListener("mousemove", (event) => {
    const [label, prediction] = pairAt(event);
    canvas.title = `${types[label].label} \u2192 ${types[prediction].label}: `
      + plural(cellsOf(name, label, prediction), "cell");
  });
  canvas.addEventListener("click", (event) => show(...pairAt(event)));
  return canvas;
}

function describePair(losses, label, prediction) {
  const rows = losses.map((loss) => {
    const name = view({ loss });
    const cells = cellsOf(name, label, prediction);
    const total = data.confusions[name].labelled[label];
    return element("tr", {}, cell(named(loss)), cell(count(cells), "number"),
      cell(total ? `${(100 * cells / total).toFixed(1)}%` : NOTHING, "number"));
  });
  return [
    element("p", {}, "Labelled ", linkTo(label), ", predicted ", linkTo(prediction), ": ",
      label === prediction ? "the label itself." : isCredited(label, prediction)
        ? "credited, because it is below the label." : "not credited."),
    inTable("Pair", columns(["Loss"], ["Cells, all seeds", "number"], ["Of the label's cells", "number"]),
      element("tbody", {}, rows)),
  ];
}
