// The tree (WAI-ARIA tree pattern). A type with two parents has an item under both. The item is the
// row within its `li`, so that its name is not that of everything below it.

const tree = document.getElementById("tree");

function item(index) {
  const type = types[index];
  const inner = type.children.length > 0;
  const made = element("li", { role: "none" }, element(
    "div",
    {
      role: "treeitem",
      class: "row",
      tabindex: "-1",
      "data-index": index,
      "aria-expanded": inner ? "false" : null,
      "aria-selected": String(index === chosen.type),
    },
    element("span", { class: "twisty", "aria-hidden": "true" }, inner ? "\u203a" : ""),
    element("span", { class: "name" }, type.label),
    chip(index),
  ));
  if (inner) made.append(element("ul", { role: "group", hidden: true }));
  return made;
}

const groupOf = (row) => row.nextElementSibling;
const rowsIn = (list) => [...list.children].map((li) => li.firstElementChild);
const typeAt = (row) => Number(row.dataset.index);

function open(row, wanted = true) {
  if (!row.hasAttribute("aria-expanded")) return;
  const group = groupOf(row);
  if (wanted && !group.hasChildNodes()) {
    group.append(...types[typeAt(row)].children.map(item));
  }
  row.setAttribute("aria-expanded", String(wanted));
  group.hidden = !wanted;
}

function openAll(wanted) {
  // The list grows as items are opened.
  for (let todo = rowsIn(tree); todo.length; ) {
    const row = todo.pop();
    open(row, wanted);
    if (groupOf(row)) todo.push(...rowsIn(groupOf(row)));
  }
  focusable(tree.querySelector("[role=treeitem]"));
}

function plantTree() {
  const roots = types.filter((type) => type.parents.length === 0).map((type) => type.index);
  const isolated = (index) => types[index].children.length === 0;
  roots.sort((a, b) => isolated(a) - isolated(b) || byLabel(a, b));
  tree.replaceChildren(...roots.map(item));
  const first = roots.findIndex(isolated);
  if (first > 0) tree.children[first].classList.add("first-isolated");
  tree.querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
}

function recolourTree() {
  tree.querySelectorAll(".chip").forEach((old) => {
    old.replaceWith(chip(typeAt(old.parentElement)));
  });
}

const visible = () =>
  [...tree.querySelectorAll("[role=treeitem]")].filter((row) => !row.closest("[hidden]"));
const parentItem = (row) => row.closest("[role=group]")?.previousElementSibling;

// Only one item of the tree can be reached with the tab key.
function focusable(row) {
  tree.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
  row?.setAttribute("tabindex", "0");
}

function focusItem(row) {
  if (!row) return;
  focusable(row);
  row.focus();
  row.scrollIntoView({ block: "nearest" });
}

// Marks the chosen type everywhere and scrolls to one of its items.
function revealInTree(index) {
  tree.querySelectorAll("[aria-selected=true]").forEach((row) => {
    row.setAttribute("aria-selected", "false");
  });
  if (index === null) return;
  const shown = visible().find((row) => typeAt(row) === index);
  const path = [];
  for (let at = index; at !== undefined; at = types[at].parents[0]) path.unshift(at);
  const found = shown ?? path.reduce((row, at, depth) => {
    const next = rowsIn(depth ? groupOf(row) : tree).find((child) => typeAt(child) === at);
    if (depth < path.length - 1) open(next);
    return next;
  }, null);
  tree.querySelectorAll(`[data-index="${index}"]`).forEach((row) => {
    row.setAttribute("aria-selected", "true");
  });
  focusable(found);
  found.scrollIntoView({ block: "nearest" });
}

tree.addEventListener("click", (event) => {
  const row = event.target.closest("[role=treeitem]");
  if (!row) return;
  focusable(row);
  if (event.target.closest(".twisty") && row.hasAttribute("aria-expanded")) {
    open(row, row.getAttribute("aria-expanded") === "false");
  } else {
    open(row);
    choose(typeAt(row));
  }
});

tree.addEventListener("keydown", (event) => {
  const row = event.target.closest("[role=treeitem]");
  if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
  const items = visible();
  const at = items.indexOf(row);
  const expanded = row.getAttribute("aria-expanded");
  const moves = {
    ArrowDown: () => focusItem(items[at + 1]),
    ArrowUp: () => focusItem(items[at - 1]),
    Home: () => focusItem(items[0]),
    End: () => focusItem(items.at(-1)),
    ArrowRight: () => (expanded === "true" ? focusItem(items[at + 1]) : open(row)),
    ArrowLeft: () => (expanded === "true" ? open(row, false) : focusItem(parentItem(row))),
    Enter: () => choose(typeAt(row)),
    " ": () => choose(typeAt(row)),
  };
  if (moves[event.key]) {
    moves[event.key]();
    event.preventDefault();
  } else if (event.key.length === 1) {
    // A letter goes to the next visible type that begins with it.
    const starts = (other) =>
      types[typeAt(other)].label.toLowerCase().startsWith(event.key.toLowerCase());
    focusItem([...items.slice(at + 1), ...items.slice(0, at)].find(starts));
  }
});
