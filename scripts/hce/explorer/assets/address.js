// What is shown is in the address, `#CL:0000084&set=id&view=types`, so that it can be sent to others.
// A choice that is the usual one is left out.

const VIEWS = ["overview", "types", "confusions", "studies"];
const usual = { ...chosen, view: "overview" };

function addressOf(part = {}) {
  const state = { ...chosen, ...part };
  const words = state.type === null ? [] : [types[state.type].id];
  for (const name of ["model", "loss", "decoder", "set", "score", "view"]) {
    if (state[name] !== usual[name]) words.push(`${name}=${encodeURIComponent(state[name])}`);
  }
  return `#${words.join("&")}`;
}

// The state that an address asks for; `unknown` is a type that the run does not have.
function readAddress() {
  const words = location.hash.slice(1).split("&").filter((word) => word !== "");
  const state = { ...usual, type: null, unknown: null };
  for (const word of words) {
    const [name, value] = word.split("=").map(decodeURIComponent);
    if (value === undefined && name.includes(":")) {
      state.type = indexOf.get(name) ?? null;
      if (state.type === null) state.unknown = name;
    } else if (name === "view" ? VIEWS.includes(value) : offered(name).includes(value)) {
      state[name] = value;
    }
  }
  return state;
}

function offered(name) {
  const known = { model: data.models, loss: comparisons, decoder: data.decoders, set: data.sets,
    score: Object.keys(SCORES) };
  return known[name] ?? [];
}

// Whether the address is one of a state, and not of a place on the page.
const isState = () => location.hash === "" || /^#(?:[\w-]+:|\w+=)/.test(decodeURIComponent(location.hash));

function go(part) {
  const address = addressOf(part);
  if (address === (location.hash || "#")) showState();
  else location.hash = address;
}
