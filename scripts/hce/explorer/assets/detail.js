// The pane on the right: everything about one type, or a view of all types.

const detail = document.getElementById("detail");
const heading = (text) => element("h3", {}, text);
const cell = (content, kind = null) => element("td", { class: kind }, content);
const columns = (...names) =>
  element("thead", {}, element("tr", {}, names.map(([name, kind]) =>
    element("th", { scope: "col", class: kind }, name))));
const inTable = (label, ...parts) =>
  element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label },
    element("table", {}, parts));

const LISTED = 6;
const PANES = { overview, types: allTypes, confusions: confusionMaps, studies: allStudies };

function showDetail() {
  const parts = chosen.type === null ? PANES[chosen.view]() : describe(chosen.type);
  detail.replaceChildren(...parts.filter((part) => part !== null));
  detail.scrollTop = 0;
}

function describe(index) {
  const type = types[index];
  const back = element("button", { type: "button", id: "back" }, "\u2191 Back to the types");
  back.addEventListener("click", () => document.getElementById("browse").scrollIntoView());
  return [
    back,
    element("h2", {}, type.label),
    element("p", {},
      element("a", {
        id: "ontology-page",
        href: `http://purl.obolibrary.org/obo/${type.id.replace(":", "_")}`,
        target: "_blank",
        rel: "noopener",
      }, `${type.id} in the Cell Ontology \u2197`)),
    type.same.length + type.like.length
      ? element("p", { class: "muted" }, `Also: ${[...type.same, ...type.like].slice(0, 6).join("; ")}`)
      : null,
    relatives("Is a", type.parents),
    relatives("Includes", type.children),
    type.parents.length + type.children.length
      ? null
      : element("p", { class: "relatives muted" }, "No other type of the run is above or below it."),
    facts(type),
    ...reliable(index),
    ...flow(index),
    ...scores(index),
    ...changes(index),
    ...confusions(index),
    ...genes(index),
    ...studies(index),
  ];
}

function relatives(word, indices) {
  if (indices.length === 0) return null;
  return element("p", { class: "relatives" },
    element("span", { class: "muted" }, `${word} `), indices.flatMap((i) => [linkTo(i), " "]));
}

function facts(type) {
  const fact = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
  const sets = Object.entries(data.cells).filter(([name]) => name !== "train" && name !== "val");
  return element("dl", { class: "facts" },
    fact("Training cells", count(type.train_cells)),
    sets.map(([name, cells]) => fact(`${named(name)} cells`, count(cells[type.index]))));
}

// How often a prediction of this type is right in the chosen set, and what its cells are taken for.
function reliable(index) {
  const losses = [baseline, chosen.loss].filter((loss) => data.confusions[view({ loss })]);
  if (losses.length === 0) return [];
  const rows = losses.map((loss) => {
    const name = view({ loss });
    const verdicts = data.verdicts[name];
    const [total, confirmed, unknown] = [verdicts.called, verdicts.confirmed, verdicts.open]
      .map((counts) => counts[index]);
    const of = (part) => cell(total ? `${(100 * part / total).toFixed(0)}%` : NOTHING, "number");
    const [first] = predictionsOf(name, index);
    const labelled = data.confusions[name].labelled[index];
    return element("tr", {}, cell(named(loss)), cell(count(total), "number"), of(confirmed),
      of(unknown), of(total - confirmed - unknown), cell(first ? [linkTo(first[0]), ` ${(100 * first[1] / labelled).toFixed(0)}%`] : NOTHING));
  });
  return [
    heading(`How reliable a prediction of it is: ${named(chosen.model)}, ${named(chosen.set)}`),
    inTable("Reliability", columns(["Loss"], ["Cells called this or finer", "number"], ["Label confirms", "number"],
      ["Label leaves open", "number"], ["Label contradicts", "number"], ["Its own cells are mostly called"]),
    element("tbody", {}, rows)),
    element("p", { class: "muted" }, "Of the cells that are called this type or one below it. Confirms: the "
      + "author's label is this type or one below it. Leaves open: the label is above it, so that the cell may be "
      + "of this type or not. Contradicts: neither. Cells of all seeds together."),
  ];
}

// Models and losses of the run that have an entry in `table` for a set.
function fitsIn(table, set) {
  return data.models.flatMap((model) => data.losses.map((loss) => ({ model, loss, set })))
    .filter((part) => table[view(part)]);
}

function scores(index) {
  const bar = (found, name) => {
    const mean = found[name][index];
    if (mean === null) return cell(NOTHING);
    const sd = found[`${name}_sd`][index];
    return cell([element("i", { "--value": mean }),
      element("span", {}, (100 * mean).toFixed(1) + (sd === null ? "" : ` ± ${(100 * sd).toFixed(1)}`))],
    "bar");
  };
  const bodies = data.sets.map((set) => {
    const fits = fitsIn(data.scores, set).filter((fit) => data.scores[view(fit)].credited_f1[index] !== null);
    const cells = data.cells[set]?.[index];
    const title = named(set) + (cells === undefined ? "" : ` · ${plural(cells, "cell")}`);
    const group = element("tr", {}, element("th", { colspan: 5, scope: "rowgroup" }, title,
      fits.length ? null : element("span", { class: "muted" }, " no score: the set has no cells of this type")));
    return element("tbody", {}, group, fits.map((fit) => element("tr", {},
      cell(named(fit.model)), cell(named(fit.loss)),
      Object.keys(SCORES).map((score) => bar(data.scores[view(fit)], `${score}_f1`)))));
  });
  return [
    heading("Scores"),
    inTable("Scores", columns(["Model"], ["Loss"], ...Object.values(SCORES).map((name) => [`${name} F1, %`])),
      bodies),
    element("p", { class: "muted" },
      `Mean ± standard deviation over seeds; decoder: ${named(chosen.decoder).toLowerCase()}. Credited: `
      + "a prediction counts as right if it is the author's label or a type below it. Study-aware: the "
      + "same, but not if the study itself labels that type, or one between, apart."),
  ];
}

function intervalPlot(found) {
  const x = (value) => 50 + 50 * Math.max(-1, Math.min(1, value));
  const at = (value) => `${x(value)}%`;
  return element("svg", { class: `interval ${found.change < 0 ? "fall" : "rise"}`, "aria-hidden": "true" },
    element("line", { class: "zero", x1: "50%", x2: "50%", y1: "0", y2: "100%" }),
    found.low === null ? null : element("line",
      { class: "range", x1: at(found.low), x2: at(found.high), y1: "50%", y2: "50%" }),
    element("circle",
      { class: found.significant ? "mean sure" : "mean", cx: at(found.change), cy: "50%", r: 4 }));
}

function changes(index) {
  const kinds = Object.keys(SCORES);
  const parts = data.sets.flatMap((set) => fitsIn(data.changes.credited, set))
    .map((part) => ({ ...part, found: kinds.map((kind) => changeOf(index, part, kind)) }))
    .filter((part) => part.found.some((found) => found));
  if (parts.length === 0) return [heading("Change"), nothingCompared()];
  const rows = parts.map(({ model, loss, set, found }) => element("tr", {},
    cell(named(set)), cell(named(model)), cell(`${named(loss)} ${MINUS} ${named(baseline)}`),
    found.map((one) => cell(one === null ? NOTHING : [
      element("b", {}, points(one.change) + (one.significant ? "*" : "\u2007")),
      one.low === null ? "" : ` ${intervalText(one)}`], "number")),
    cell(found[kinds.indexOf(chosen.score)] ? intervalPlot(found[kinds.indexOf(chosen.score)]) : "", "plot")));
  const scale = element("span", { class: "scale" }, [`${MINUS}100`, scoreName(), "+100"].map((text) =>
    element("span", {}, text)));
  const example = changesBy()[view()] ?? changesBy()[view(parts[0])];
  return [
    heading("Change of F1, in points"),
    inTable("Changes", columns(["Set"], ["Model"], ["Loss"], ...Object.values(SCORES).map((name) => [name, "number"]),
      [scale, "plot"]), element("tbody", { class: "changes" }, rows)),
    element("p", { class: "muted" }, testedText(example, "the types of a set")),
  ];
}

function confusions(index) {
  const losses = [baseline, chosen.loss].filter((loss) => data.confusions[view({ loss })]);
  if (losses.length === 0) return [heading("Confusions"), nothingCompared()];
  const above = andAncestors(index);
  const block = (title, list, total, credited, nothing) => element("div", {},
    element("h4", {}, title),
    list.length ? element("ul", {}, list.slice(0, LISTED).map(([other, cells]) => element("li",
      { class: credited(other) ? "share credited" : "share" },
      element("b", {}, `${(100 * cells / total).toFixed(1)}%`),
      element("span", {}, element("i", { "--value": cells / total }), linkTo(other)))))
      : element("p", { class: "muted" }, nothing));
  const asBlocks = losses.map((loss) => {
    const found = data.confusions[view({ loss })];
    return block(`${named(loss)}: its cells are predicted as`, predictionsOf(view({ loss }), index),
      found.labelled[index], (other) => andAncestors(other).has(index), "The set has no such cells.");
  });
  const fromBlocks = losses.map((loss) => {
    const found = data.confusions[view({ loss })];
    return block(`${named(loss)}: cells predicted as it are labelled`, labelsOf(view({ loss }), index),
      found.predicted[index], (other) => above.has(other), "No cells are predicted as it.");
  });
  return [
    heading(`Confusions: ${named(chosen.model)}, ${named(chosen.set)}`),
    element("div", { class: "columns" }, asBlocks),
    element("div", { class: "columns" }, fromBlocks),
    element("p", { class: "muted" }, "The most frequent ones, as shares over all seeds. Tinted: credited."),
  ];
}

function genes(index) {
  const fits = Object.entries(data.genes).filter(([, found]) => found[index].for.length);
  if (fits.length === 0) return [];
  const rows = fits.map(([fit, found]) => {
    const [model, loss] = fit.split("/");
    return element("tr", {}, cell(named(model)), cell(named(loss)), cell(found[index].for.join(", ")),
      cell(found[index].against.join(", ")));
  });
  return [
    heading("Genes"),
    inTable("Genes", columns(["Model"], ["Loss"], ["For this type"], ["Against it"]),
      element("tbody", {}, rows)),
    element("p", { class: "muted" }, "The largest and smallest weights of the linear model, relative to the mean "
      + "over all types, mean over seeds; the strongest first."),
  ];
}

function studies(index) {
  const losses = [baseline, chosen.loss].filter((loss) => data.losses.includes(loss));
  const blocks = Object.entries(data.studies).map(([set, found]) => {
    const rows = found.cells[index];
    if (rows.length === 0) return null;
    const scored = losses.filter((loss) => data.study_scores[chosen.score][view({ loss, set })]);
    const score = (loss, study) => {
      const value = data.study_scores[chosen.score][view({ loss, set })][study];
      return cell(value === null ? NOTHING : (100 * value).toFixed(1), "number");
    };
    const body = rows.map(([study, cells]) => element("tr", {},
      cell(element("span", { title: found.ids[study] }, found.titles[study])),
      cell(count(cells), "number"), scored.map((loss) => score(loss, study))));
    const total = rows.reduce((all, [, cells]) => all + cells, 0);
    const label = `: ${plural(rows.length, "study", "studies")}, ${plural(total, "cell")}`;
    return element("details", { open: set === chosen.set },
      element("summary", {}, named(set), element("span", { class: "muted" }, label)),
      inTable(`Studies, ${named(set)}`, columns(["Study"], ["Cells of this type", "number"],
        ...scored.map((loss) => [`${named(loss)}, all types`, "number"])),
      element("tbody", {}, body)));
  });
  return [
    heading("Studies with this type"),
    ...blocks,
    element("p", { class: "muted" },
      `The last columns are the study's ${scoreName()} macro F1 over all its types, in %, for `
      + `${named(chosen.model)}.`),
  ];
}
