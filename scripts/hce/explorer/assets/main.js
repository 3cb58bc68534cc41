// Connects the parts: the controls, the address and the first drawing.

const controls = Object.fromEntries(
  ["model", "loss", "decoder", "set", "score"].map((name) => [name, document.getElementById(name)]),
);
const status = document.getElementById("status");

function say(text) {
  status.textContent = text;
}

// Choosing changes the address, and the address determines what is shown, so that links and history
// work.
function choose(index) {
  if (index === chosen.type) return bringForward();
  go({ type: index });
}

function bringForward() {
  if (matchMedia("(max-width: 800px)").matches) detail.scrollIntoView();
}

function showState() {
  const { unknown, ...state } = readAddress();
  Object.assign(chosen, state);
  for (const [name, select] of Object.entries(controls)) {
    if (chosen[name] !== undefined) select.value = chosen[name];
  }
  document.querySelectorAll("#views a").forEach((link) => {
    link.href = addressOf({ view: link.dataset.view, type: null });
    const current = chosen.type === null && link.dataset.view === chosen.view;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  recolourTree();
  showLegend();
  revealInTree(chosen.type);
  showDetail();
  if (unknown) {
    detail.prepend(element("p", { class: "note", role: "alert" }, `This run has no type ${unknown}.`));
  }
  if (chosen.type !== null) say(`${types[chosen.type].label} is shown`);
  document.title = chosen.type === null
    ? "Cell type explorer"
    : `${types[chosen.type].label} · Cell type explorer`;
}

function showLegend() {
  document.getElementById("legend").textContent = chosen.loss === undefined
    ? "Only one loss: no change to show"
    : `Change of ${scoreName()} F1, ${named(chosen.loss)} ${MINUS} ${named(baseline)}, in points`;
}

function offer(select, values, text = named) {
  select.replaceChildren(...values.map((value) => element("option", { value }, text(value))));
  select.disabled = values.length < 2;
}

offer(controls.model, data.models);
offer(controls.loss, comparisons, (loss) => `${named(loss)} ${MINUS} ${named(baseline)}`);
offer(controls.decoder, data.decoders);
offer(controls.set, data.sets);
offer(controls.score, Object.keys(SCORES), (score) => SCORES[score]);
for (const [name, select] of Object.entries(controls)) {
  select.addEventListener("change", () => go({ [name]: select.value }));
}
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("expand").addEventListener("click", () => openAll(true));
document.getElementById("collapse").addEventListener("click", () => openAll(false));
document.getElementById("run").textContent = `run ${data.run}`;

plantTree();
showState();
document.querySelector("main").removeAttribute("aria-busy");
window.addEventListener("hashchange", () => {
  if (!isState()) return;
  showState();
  if (chosen.type !== null) bringForward();
});
