// Search by name, synonym, abbreviation or CL id, with results as you type (WAI-ARIA combobox).

const search = document.getElementById("search");
const results = document.getElementById("results");
const SHOWN = 12;
const GREEK = { α: "alpha", β: "beta", γ: "gamma", δ: "delta" };

// Spellings that mean the same become one: CD8+ and CD8-positive, T-cell and T cells.
function plain(text) {
  return text.toLowerCase()
    .replace(/[αβγδ]/g, (letter) => GREEK[letter])
    .replace(/\b(cd\w+)(\+|[- ]?(?:positive|pos)\b)/g, "$1 ")
    .replace(/[^a-z0-9+]+/g, " ")
    .replace(/\b(\w{3,}[^s\W])s\b/g, "$1")
    .trim();
}

// "CD8-positive, alpha-beta T cell" is also found as "CD8 T cell".
const withoutChains = (text) => text.replace(/\b(cd[48]) alpha beta\b/g, "$1");

const forms = types.map((type) => {
  const label = plain(type.label);
  const own = new Set([label, withoutChains(label), ...type.same.map(plain)]);
  return { own: [...own], like: type.like.map(plain), short: withoutChains(label) };
});

// How well one spelling answers: 0 the same, then its beginning, then all words, in any order.
function distance(form, text, words) {
  if (form === text || form === `${text} cell`) return 0;
  if (form.startsWith(`${text} `)) return 1;
  if (form.startsWith(text)) return 2;
  const parts = form.split(" ");
  if (words.every((word) => parts.some((part) => part === word))) return 3;
  if (words.every((word) => parts.some((part) => part.startsWith(word)))) return 4;
  return words.every((word) => form.includes(word)) ? 5 : Infinity;
}

function rank(type, text, words) {
  const { own, like } = forms[type.index];
  const best = (some) => Math.min(Infinity, ...some.map((form) => distance(form, text, words)));
  return Math.min(best(own), best(like) + 0.5);
}

// Types that answer a query, the obvious first: of equally good ones, those with the shorter name.
function findTypes(query) {
  const text = plain(query);
  const id = query.trim().toLowerCase();
  if (!id) return [];
  const words = text.split(" ");
  return types
    .map((type) => {
      const byId = type.id.toLowerCase().endsWith(id.replace(/^cl:?/, "")) && /\d{3}/.test(id);
      return { type, rank: byId ? -1 : text ? rank(type, text, words) : Infinity };
    })
    .filter((found) => found.rank < Infinity)
    .sort((a, b) => a.rank - b.rank
      || forms[a.type.index].short.length - forms[b.type.index].short.length
      || a.type.label.localeCompare(b.type.label))
    .map((found) => found.type);
}

// The synonym by which a type was found, where its name does not show it.
function foundAs(type, query) {
  const text = plain(query);
  const words = text.split(" ");
  if (distance(forms[type.index].own[0], text, words) < 5) return null;
  const scored = [...type.same, ...type.like]
    .map((name) => [distance(plain(name), text, words), name])
    .filter(([far]) => far < Infinity).sort(([a], [b]) => a - b);
  return scored[0]?.[1] ?? null;
}

function showResults() {
  const found = findTypes(search.value);
  const options = found.slice(0, SHOWN).map((type, position) => {
    const also = foundAs(type, search.value);
    return element(
      "li",
      { role: "option", id: `result-${position}`, "data-index": type.index, "aria-selected": "false" },
      element("span", {}, type.label, also ? element("span", { class: "muted" }, ` ${also}`) : null),
      element("span", { class: "muted" }, type.id),
    );
  });
  const rest = found.length - SHOWN;
  results.replaceChildren(...options);
  document.getElementById("more").textContent = rest > 0
    ? `and ${rest} more`
    : found.length === 0 ? "No type of this run has this name or id." : "";
  openResults(search.value.trim() !== "");
  if (search.value.trim()) say(`${plural(found.length, "type")} found`);
}

function openResults(wanted) {
  document.getElementById("found").hidden = !wanted;
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
    if (search.getAttribute("aria-expanded") === "false") showResults();
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
