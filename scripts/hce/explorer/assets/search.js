// Search by name or CL id, with results as you type (WAI-ARIA combobox with a list).

const search = document.getElementById("search");
const results = document.getElementById("results");
const SHOWN = 12;

// Types with all words: first those that begin with the query, then those with a word that does.
function findTypes(query) {
  const text = query.trim().toLowerCase();
  if (!text) return [];
  const words = text.split(/\s+/);
  const rank = (type) => {
    const label = type.label.toLowerCase();
    if (label === text || type.id.toLowerCase() === text) return 0;
    if (label.startsWith(text)) return 1;
    return label.split(/[\s,-]+/).some((word) => word.startsWith(words[0])) ? 2 : 3;
  };
  return types
    .filter((type) => words.every((word) => `${type.label} ${type.id}`.toLowerCase().includes(word)))
    .sort((a, b) => rank(a) - rank(b) || a.label.localeCompare(b.label));
}

function showResults() {
  const found = findTypes(search.value);
  const options = found.slice(0, SHOWN).map((type, position) =>
    element(
      "li",
      { role: "option", id: `result-${position}`, "data-index": type.index, "aria-selected": "false" },
      element("span", {}, type.label),
      element("span", { class: "muted" }, type.id),
    ));
  if (found.length > SHOWN) {
    options.push(element("li", { class: "none" }, `and ${found.length - SHOWN} more`));
  } else if (found.length === 0) {
    options.push(element("li", { class: "none" }, "No type of this run has this name or id."));
  }
  results.replaceChildren(...options);
  openResults(search.value.trim() !== "");
  if (search.value.trim()) say(`${plural(found.length, "type")} found`);
}

function openResults(wanted) {
  results.hidden = !wanted;
  search.setAttribute("aria-expanded", String(wanted));
  search.removeAttribute("aria-activedescendant");
}

function mark(step) {
  const options = [...results.querySelectorAll("[role=option]")];
  if (options.length === 0) return;
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  const next = at < 0 && step < 0 ? options.length - 1 : (at + step + options.length) % options.length;
  options.forEach((option, i) => option.setAttribute("aria-selected", String(i === next)));
  options[next].scrollIntoView({ block: "nearest" });
  search.setAttribute("aria-activedescendant", options[next].id);
}

function take(option) {
  if (!option) return;
  openResults(false);
  search.value = "";
  choose(Number(option.dataset.index));
}

search.addEventListener("input", showResults);
search.addEventListener("focus", () => search.value.trim() && showResults());
search.addEventListener("blur", () => openResults(false));
search.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    search.value = "";
    openResults(false);
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (results.hidden) showResults();
    mark(event.key === "ArrowDown" ? 1 : -1);
    event.preventDefault();
  } else if (event.key === "Enter") {
    take(results.querySelector("[aria-selected=true]") ?? results.querySelector("[role=option]"));
    event.preventDefault();
  }
});
// The list must not take the focus from the field before the click is handled.
results.addEventListener("mousedown", (event) => event.preventDefault());
results.addEventListener("click", (event) => take(event.target.closest("[role=option]")));
