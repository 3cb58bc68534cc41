// The start page: the three scores of the run, the largest changes, and the tables of all types and
// of all studies.

const EXTREMES = 8;

function overview() {
  return [
    element("h2", {}, comparison()),
    element("p", {}, "Pick a type in the tree or search for one (NK, Treg, CD8 T, …) to see how reliable "
      + "it is and what its cells are taken for, or open the ", viewLink("types", "table of all types"),
    ", the ", viewLink("confusions", "map of confusions"), " or the ", viewLink("studies", "studies"), "."),
    macroScores(),
    ...largestChanges(),
  ];
}

const viewLink = (name, text) => element("a", { href: addressOf({ view: name, type: null }) }, text);

const comparison = () =>
  `${comparisons.length ? `${named(chosen.loss)} ${MINUS} ${named(baseline)}` : named(baseline)}, `
  + `${named(chosen.model)}, ${named(chosen.set)}, ${named(chosen.decoder)}`;

function nothingCompared() {
  return element("p", { class: "muted" },
    chosen.loss === undefined
      ? "The run has one loss only, so there is no change to show."
      : "The run lacks one of the two losses for this model, decoder and set.");
}

function macroScores() {
  const cards = Object.entries(SCORES).map(([kind, title]) => {
    const [start, end, change, low, high] = data.macro[kind][view()] ?? [];
    if (change === undefined || change === null) return null;
    return element("div", { class: "card" },
      element("h3", {}, title),
      element("p", { class: "big" }, points(change), element("small", {}, " points")),
      element("p", {}, low === null ? "no interval: one study"
        : `${points(low)} to ${points(high)} over studies`),
      element("p", { class: "muted" },
        `macro F1: ${named(baseline)} ${percent(start)}%, ${named(chosen.loss)} ${percent(end)}%`),
      element("p", { class: "muted" }, MEANINGS[kind]));
  });
  return cards.every((card) => card === null) ? null : element("div", { class: "cards" }, cards);
}

const MEANINGS = {
  credited: "The label or anything below it is right.",
  study_aware: "The same, unless the study itself labels that, or one between, apart.",
  exact: "Only the label itself is right.",
};

function largestChanges() {
  const changes = changesBy()[view()];
  if (!changes) return [nothingCompared()];
  const ranked = types.map((type) => type.index).filter((i) => changes.change[i] !== null);
  ranked.sort((a, b) => changes.change[b] - changes.change[a]);
  const list = (title, indices) =>
    element("div", {}, element("h4", {}, title), indices.length
      ? element("ul", { class: "ranked" }, indices.map((i) => element("li", {}, chip(i), linkTo(i))))
      : element("p", { class: "muted" }, "none"));
  const gains = ranked.filter((i) => changes.change[i] > 0).slice(0, EXTREMES);
  const losses = ranked.filter((i) => changes.change[i] < 0).reverse().slice(0, EXTREMES);
  return [
    heading(`Largest changes of a type's ${scoreName()} F1, in points`),
    element("div", { class: "columns" }, list("Gains", gains), list("Losses", losses)),
    element("p", { class: "muted" }, testedText(changes, plural(changes.tested, "type"))),
  ];
}

function testedText(changes, family) {
  if (changes.tested === 0) {
    return `Nothing was tested: a test needs two seeds, and there ${changes.seeds === 1 ? "is" : "are"} `
      + `${changes.seeds}.`;
  }
  return `* significant at a family-wise error rate of ${data.alpha}: paired t-tests over `
    + `${changes.seeds} seeds, with Holm's correction over ${family}. Intervals `
    + `(${Math.round(100 * (1 - data.alpha))}%) are for each type on its own. Seeds vary the `
    + "initial weights and the order of cells, not the studies.";
}

function allTypes() {
  const score = `${chosen.score}_f1`;
  const before = data.scores[view({ loss: baseline })]?.[score];
  const after = data.scores[view()]?.[score];
  const change = (index) => changeOf(index)?.change ?? null;
  const columns = [
    { name: "Type", value: (t) => t.label, show: (t) => linkTo(t.index) },
    { name: "Training cells", kind: "number", value: (t) => t.train_cells,
      show: (t) => count(t.train_cells) },
    { name: `${named(chosen.set)} cells`, kind: "number",
      value: (t) => data.cells[chosen.set]?.[t.index] ?? null,
      show: (t) => count(data.cells[chosen.set]?.[t.index] ?? 0) },
    { name: `${named(baseline)}, %`, kind: "number", value: (t) => before?.[t.index] ?? null,
      show: (t) => percent(before?.[t.index]) },
  ];
  if (after) {
    columns.push(
      { name: `${named(chosen.loss)}, %`, kind: "number", value: (t) => after[t.index],
        show: (t) => percent(after[t.index]) },
      { name: "Change", kind: "number", value: (t) => change(t.index), show: (t) => chip(t.index) },
      { name: "Interval", kind: "number", value: (t) => changeOf(t.index)?.low ?? null,
        show: (t) => intervalText(changeOf(t.index)) });
  }
  const rows = types.filter((type) => (data.cells[chosen.set]?.[type.index] ?? 1) > 0);
  return [
    element("h2", {}, "All types"),
    element("p", { class: "muted" }, `${scoreName(true)} F1, ${comparison()}. Types that the set does `
      + "not have are left out. Click on the head of a column to sort by it."),
    sortable("All types", columns, rows, after ? 5 : 0),
  ];
}

function allStudies() {
  const found = data.studies[chosen.set];
  if (!found) return [element("h2", {}, "Studies"), element("p", {}, "The set has no studies.")];
  const losses = [baseline, chosen.loss].filter((loss, i, all) => loss && all.indexOf(loss) === i);
  const sums = found.ids.map(() => ({ cells: 0, types: 0 }));
  found.cells.forEach((rows) => rows.forEach(([study, cells]) => {
    sums[study].cells += cells;
    sums[study].types += 1;
  }));
  const scoreOf = (kind, loss, i) => data.study_scores[kind][view({ loss })]?.[i] ?? null;
  const columns = [
    { name: "Study", value: (i) => found.titles[i],
      show: (i) => element("span", { title: found.ids[i] }, found.titles[i]) },
    { name: "Cells", kind: "number", value: (i) => sums[i].cells, show: (i) => count(sums[i].cells) },
    { name: "Types", kind: "number", value: (i) => sums[i].types, show: (i) => count(sums[i].types) },
    ...Object.entries(SCORES).flatMap(([kind, title]) => losses.map((loss) => ({
      name: `${title}, ${named(loss)}, %`, kind: "number", value: (i) => scoreOf(kind, loss, i),
      show: (i) => percent(scoreOf(kind, loss, i)),
    }))),
  ];
  const changed = data.study_changes[chosen.score][view()];
  if (changed) {
    const [change, low, high] = ["change", "low", "high"].map((name) => (i) => changed[name][i]);
    columns.push(
      { name: `Change, ${scoreName()}`, kind: "number", value: change,
        show: (i) => (change(i) === null ? NOTHING : points(change(i))) },
      { name: "Interval over seeds", kind: "number", value: low,
        show: (i) => intervalText({ low: low(i), high: high(i) }) });
  }
  return [
    element("h2", {}, `Studies of the set ${named(chosen.set)}`),
    element("p", { class: "muted" }, `Macro F1 over the types of each study, ${named(chosen.model)}, `
      + `${named(chosen.decoder)}, mean over seeds; the hardest first. Studies of few types have an easy mean.`),
    sortable("Studies", columns, found.ids.map((_, i) => i), 3),
  ];
}

const intervalText = (found) =>
  (found === null || found.low === null ? NOTHING : `${points(found.low)} to ${points(found.high)}`);
