// Sorting and filtering of the tables; the page can be read without it.

const status = document.getElementById("status");

const valueOf = (row, column) => {
  const text = row.cells[column].dataset.value;
  const number = Number(text.replace("inf", "Infinity"));
  return Number.isNaN(number) ? text : number;
};

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a - b;
  return String(a).localeCompare(String(b));
}

function sortBy(head) {
  const table = head.closest("table");
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  const body = table.tBodies[0];
  const column = head.cellIndex;
  const rows = [...body.rows].sort((a, b) =>
    (ascending ? 1 : -1) * compare(valueOf(a, column), valueOf(b, column)));
  body.append(...rows);
  table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  status.textContent = `Sorted by ${head.textContent}, ${ascending ? "ascending" : "descending"}`;
}

document.querySelectorAll(".sortable th button").forEach((button) => {
  button.addEventListener("click", () => sortBy(button.closest("th")));
});

document.querySelectorAll("[data-filter]").forEach((field) => {
  const rows = [...document.getElementById(field.dataset.filter).tBodies[0].rows];
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    status.textContent = `${rows.filter((row) => !row.hidden).length} rows`;
  });
});
