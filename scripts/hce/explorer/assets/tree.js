// The tree (WAI-ARIA tree pattern). A type with two parents has an item under both.

const tree = document.getElementById("tree");

function item(index) {
  const type = types[index];
  const inner = type.children.length > 0;
  const made = element(
    "li",
    {
      role: "treeitem",
      tabindex: "-1",
      "data-index": index,
      "aria-label": type.label,
      "aria-expanded": inner ? "false" : null,
      "aria-selected": String(index === chosen.type),
    },
    element(
      "div",
      { class: "row" },
      element("span", { class: "twisty", "aria-hidden": "true" }, inner ? "\u203a" : ""),
      element("span", { class: "name" }, type.label),
      chip(index),
    ),
  );
  if (inner) made.append(element("ul", { role: "group", hidden: true }));
  return made;
}

function open(li, wanted = true) {
  if (!li.hasAttribute("aria-expanded")) return;
  const group = li.lastElementChild;
  if (wanted && !group.hasChildNodes()) {
    group.append(...types[li.dataset.index].children.map(item));
  }
  li.setAttribute("aria-expanded", String(wanted));
  group.hidden = !wanted;
}

function openAll(wanted) {
  // The list grows as items are opened.
  for (let todo = [...tree.children]; todo.length; ) {
    const li = todo.pop();
    open(li, wanted);
    if (li.hasAttribute("aria-expanded")) todo.push(...li.lastElementChild.children);
  }
  focusable(tree.firstElementChild);
}

function plantTree() {
  const roots = types.filter((type) => type.parents.length === 0).map((type) => type.index);
  const isolated = (index) => types[index].children.length === 0;
  roots.sort((a, b) => isolated(a) - isolated(b) || byLabel(a, b));
  tree.replaceChildren(...roots.map(item));
  const first = roots.findIndex(isolated);
  if (first > 0) tree.children[first].classList.add("first-isolated");
  tree.firstElementChild?.setAttribute("tabindex", "0");
}

function recolourTree() {
  tree.querySelectorAll(".chip").forEach((old) => {
    old.replaceWith(chip(Number(old.closest("li").dataset.index)));
  });
}

const visible = () =>
  [...tree.querySelectorAll("[role=treeitem]")].filter((li) => !li.parentElement.closest("[hidden]"));
const parentItem = (li) => li.parentElement.closest("[role=treeitem]");

// Only one item of the tree can be reached with the tab key.
function focusable(li) {
  tree.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
  li?.setAttribute("tabindex", "0");
}

function focusItem(li) {
  if (!li) return;
  focusable(li);
  li.focus();
  li.firstElementChild.scrollIntoView({ block: "nearest" });
}

// Marks the chosen type everywhere and scrolls to one of its items.
function revealInTree(index) {
  tree.querySelectorAll("[aria-selected=true]").forEach((li) => {
    li.setAttribute("aria-selected", "false");
  });
  if (index === null) return;
  const shown = visible().find((li) => Number(li.dataset.index) === index);
  const path = [];
  for (let at = index; at !== undefined; at = types[at].parents[0]) path.unshift(at);
  const found = shown ?? path.reduce((li, at, depth) => {
    const siblings = depth ? li.lastElementChild.children : tree.children;
    const next = [...siblings].find((child) => Number(child.dataset.index) === at);
    if (depth < path.length - 1) open(next);
    return next;
  }, null);
  tree.querySelectorAll(`[data-index="${index}"]`).forEach((li) => {
    li.setAttribute("aria-selected", "true");
  });
  focusable(found);
  found.firstElementChild.scrollIntoView({ block: "nearest" });
}

tree.addEventListener("click", (event) => {
  const li = event.target.closest("[role=treeitem]");
  if (!li) return;
  focusable(li);
  if (event.target.closest(".twisty") && li.hasAttribute("aria-expanded")) {
    open(li, li.getAttribute("aria-expanded") === "false");
  } else {
    open(li);
    choose(Number(li.dataset.index));
  }
});

tree.addEventListener("keydown", (event) => {
  const li = event.target.closest("[role=treeitem]");
  if (!li || event.ctrlKey || event.metaKey || event.altKey) return;
  const items = visible();
  const at = items.indexOf(li);
  const expanded = li.getAttribute("aria-expanded");
  const moves = {
    ArrowDown: () => focusItem(items[at + 1]),
    ArrowUp: () => focusItem(items[at - 1]),
    Home: () => focusItem(items[0]),
    End: () => focusItem(items.at(-1)),
    ArrowRight: () => (expanded === "true" ? focusItem(items[at + 1]) : open(li)),
    ArrowLeft: () => (expanded === "true" ? open(li, false) : focusItem(parentItem(li))),
    Enter: () => choose(Number(li.dataset.index)),
    " ": () => choose(Number(li.dataset.index)),
  };
  if (moves[event.key]) {
    moves[event.key]();
    event.preventDefault();
  } else if (event.key.length === 1) {
    // A letter goes to the next visible type that begins with it.
    const starts = (other) =>
      types[other.dataset.index].label.toLowerCase().startsWith(event.key.toLowerCase());
    focusItem([...items.slice(at + 1), ...items.slice(0, at)].find(starts));
  }
});
