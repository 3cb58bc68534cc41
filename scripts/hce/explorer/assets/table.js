// Tables whose columns are sorted by a click on their heads.

// columns: {name, title, kind ("number" or null), value(row), show(row)}; `by` is the column of the
// first sorting, which is ascending. Rows without a value are last.
function sortable(label, columns, rows, by) {
  const body = element("tbody");
  const heads = columns.map((column, position) => {
    const button = element("button", { type: "button", title: column.title }, column.name);
    const head = element("th", { scope: "col", class: column.kind }, button);
    button.addEventListener("click", () => {
      order(position, head.getAttribute("aria-sort") !== "ascending");
      say(`Sorted by ${column.name}, ${head.getAttribute("aria-sort")}`);
    });
    return head;
  });
  function order(position, ascending) {
    const { value } = columns[position];
    const sign = ascending ? 1 : -1;
    const known = (row) => value(row) !== null && value(row) !== undefined;
    const sorted = [...rows].sort((a, b) => known(b) - known(a)
      || (known(a) ? sign * compareValues(value(a), value(b)) : 0));
    body.replaceChildren(...sorted.map((row) => element("tr", {},
      columns.map((column) => cell(column.show(row), column.kind)))));
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[position].setAttribute("aria-sort", ascending ? "ascending" : "descending");
  }
  order(by, true);
  return element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label },
    element("table", { class: "sortable" }, element("thead", {}, element("tr", {}, heads)), body));
}

const compareValues = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

const percent = (value) => (value === null || value === undefined ? NOTHING : (100 * value).toFixed(1));
