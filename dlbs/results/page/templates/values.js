// Formats values for humans, and creates elements with text. Nothing on the page converts values to HTML.
const make = (name, attributes, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
};

const drawn = (name, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

// Four digits, as in the tables of dlbs.
const short = (value) => {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (!(size < 1e15) || size < 1e-6) return size < 1e-6 ? value.toExponential(3) : String(value);
  return size >= 999.95 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(4);
};

// For computed values: seven digits, without those that adding up floating-point numbers leaves.
const precise = (value) => Number(value.toPrecision(7)).toLocaleString("en-US", { maximumSignificantDigits: 7 });

const counted = (count, noun) => `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;

const median = (sorted) => {
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

const wordsOf = (text) => text.toLowerCase().split(/[^\p{L}\p{N}_.+-]+/u).filter(Boolean);

// Whether each word is the beginning of a word in the text: `float16` finds no `bfloat16`.
const hasWords = (spaced, words) => words.every((word) => spaced.includes(` ${word}`));

// Calls a function with the data of the page: at once, or after much data has been unpacked (gzip to the base of 64).
const readData = (use) => {
  const island = document.getElementById("data");
  const data = island ? JSON.parse(island.textContent) : null;
  if (typeof data !== "string") return use(data);
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json().then((unpacked) => { if (island.isConnected) use(unpacked); });
};

// In a narrow window, the filter panel is initially closed.
const isNarrow = () => matchMedia("(max-width: 55rem)").matches;
const isPrinted = matchMedia("print");

// A browser counts the pages after `beforeprint`, but reports the medium later: what is added only then is cut off at the end.
let printing = false;
for (const event of ["beforeprint", "afterprint"]) addEventListener(event, () => { printing = event === "beforeprint"; });

document.getElementById("theme").addEventListener("click", (event) => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  event.currentTarget.setAttribute("aria-pressed", String(!dark));
  document.dispatchEvent(new Event("theme"));
});
document.getElementById("theme").setAttribute("aria-pressed", String(matchMedia("(prefers-color-scheme: dark)").matches));
