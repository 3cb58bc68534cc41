// The data, the choices of the reader, and names. Only `element` creates parts of the page.

// The data lie in the page as JSON, compressed by zlib and written in base64.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

const data = await unpack(document.getElementById("data").textContent);
const types = data.types;
types.forEach((type, index) => Object.assign(type, { index, children: [] }));
types.forEach((type) => type.parents.forEach((parent) => types[parent].children.push(type.index)));
const indexOf = new Map(types.map((type) => [type.id, type.index]));
const byLabel = (a, b) => types[a].label.localeCompare(types[b].label);
types.forEach((type) => type.children.sort(byLabel));

// Kinds of score → how the page calls them.
const SCORES = { credited: "Credited", study_aware: "Study-aware", exact: "Exact" };
const baseline = Object.values(data.changes.credited)[0]?.baseline ?? data.losses[0];
const comparisons = data.losses.filter((loss) => loss !== baseline);

// The choices of the reader; `type` is an index, or null where a view of all types is shown.
const chosen = {
  model: data.models.includes("mlp") ? "mlp" : data.models[0],
  loss: comparisons.includes("hce") ? "hce" : comparisons[0],
  decoder: data.decoders[0],
  set: data.sets.includes("ood") ? "ood" : data.sets[0],
  score: "credited",
  type: null,
  view: "overview",
};

const named = (name) => data.names[name] ?? name;

// A view is `model/loss/decoder/set`; the current choices are the defaults.
function view(part = {}) {
  const { model, loss, decoder, set } = { ...chosen, ...part };
  return `${model}/${loss}/${decoder}/${set}`;
}

const changesBy = () => data.changes[chosen.score];
const scoreName = (capital = false) =>
  (capital ? SCORES[chosen.score] : SCORES[chosen.score].toLowerCase());

// Change of a type's F1 by the chosen score, or null if there is none.
function changeOf(index, part = {}, kind = chosen.score) {
  const changes = data.changes[kind][view(part)];
  if (!changes || changes.change[index] === null) return null;
  return {
    change: changes.change[index],
    low: changes.ci_low[index],
    high: changes.ci_high[index],
    significant: changes.significant.includes(index),
    tested: changes.tested,
  };
}

// The type and everything above it.
function andAncestors(index, found = new Set()) {
  found.add(index);
  types[index].parents.forEach((parent) => andAncestors(parent, found));
  return found;
}

const MINUS = "\u2212";
const NOTHING = "\u2013";
const count = (value) => value.toLocaleString("en");
const points = (value) =>
  (value < 0 ? MINUS : "+") + Math.abs(100 * value).toFixed(1);
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// An element with attributes and children; text is never parsed as HTML.
function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "line", "circle"].includes(tag);
  const made = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("--")) made.style.setProperty(name, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null));
  return made;
}

const linkTo = (index) => element("a", { href: addressOf({ type: index }) }, types[index].label);

// The change as a tinted number; the tint is strongest from half of the scale.
function chip(index) {
  const found = changeOf(index);
  if (found === null) {
    return element("span", { class: "chip absent", title: "No change is known in this set" }, NOTHING);
  }
  const share = Math.min(1, Math.abs(found.change) / 0.5);
  const kind = `chip ${found.change < 0 ? "fall" : "rise"}`;
  const said = `${points(found.change)} points${found.significant ? ", significant" : ""}`;
  return element(
    "span",
    { class: kind, "--share": `${Math.round(100 * share)}%`, title: said },
    points(found.change) + (found.significant ? "*" : "\u2007"),
  );
}
