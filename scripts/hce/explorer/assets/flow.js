// Where the cells of a label go below it: nested blocks whose widths are shares of its cells.

// Cells predicted as a type or below it, each type counted below its first parent of the label.
function subtreeOf(name, label) {
  const cells = new Map(predictionsOf(name, label));
  const seen = new Set();
  const grow = (index, depth) => {
    seen.add(index);
    const children = types[index].children.filter((child) => !seen.has(child))
      .map((child) => grow(child, depth + 1)).filter((child) => child.total > 0)
      .sort((a, b) => b.total - a.total);
    const own = cells.get(index) ?? 0;
    return { index, depth, own, children, total: children.reduce((sum, c) => sum + c.total, own) };
  };
  return grow(label, 0);
}

function flow(index) {
  if (types[index].children.length === 0) return [];
  const losses = [baseline, chosen.loss].filter((loss) => data.confusions[view({ loss })]);
  const drawn = losses.filter((loss) => data.confusions[view({ loss })].labelled[index] > 0);
  if (drawn.length === 0) return [];
  return [
    heading("From the label to the predicted level"),
    element("p", { class: "muted" }, `Cells labelled ${types[index].label}. Each row is one level further `
      + "down in the ontology; widths are shares of the cells. Left of a level's blocks: predicted at the level above. "
      + "Very rare predictions count as elsewhere."),
    ...drawn.map((loss) => {
      const name = view({ loss });
      const total = data.confusions[name].labelled[index];
      const root = subtreeOf(name, index);
      const elsewhere = total - root.total;
      return element("figure", { class: "flow" },
        element("figcaption", {}, `${named(loss)}: ${share(root.own, total)} at the label itself, `
          + `${share(root.total - root.own, total)} below it, ${share(elsewhere, total)} elsewhere`),
        icicle(root, total));
    }),
  ];
}

// As in the figures: CD8+ αβ for CD8-positive, alpha-beta.
const shortLabel = (label) => label
  .replace(/\balpha-beta\b/g, "αβ").replace(/\bgamma-delta\b/g, "γδ")
  .replace(/\b(CD\w+)-positive\b/g, "$1+").replace(/\b(CD\w+)-negative\b/g, `$1${MINUS}`)
  .replace(/\b(CD\w+\+), (?=αβ)/g, "$1 ");

const share = (part, total) => `${(100 * part / total).toFixed(0)}%`;

function icicle(root, total) {
  const block = (node, left) => {
    const width = 100 * node.total / total;
    const made = element("a", {
      class: "block", href: addressOf({ type: node.index }), "data-depth": Math.min(node.depth, 4),
      style: `left:${left}%;width:${width}%;top:${1.7 * node.depth}rem`,
      title: `${types[node.index].label}: ${share(node.total, total)} here or below, ${share(node.own, total)} here`,
    }, width > 4 ? `${shortLabel(types[node.index].label)} ${share(node.total, total)}` : "");
    const parts = [made];
    let at = left + 100 * node.own / total;
    for (const child of node.children) {
      if (child.total / total >= 0.01) parts.push(...block(child, at));
      at += 100 * child.total / total;
    }
    return parts;
  };
  const deepest = (node) => Math.max(node.depth, ...node.children
    .filter((child) => child.total / total >= 0.01).map(deepest));
  return element("div", { class: "icicle", style: `height:${1.7 * (deepest(root) + 1)}rem` },
    block(root, 0));
}
