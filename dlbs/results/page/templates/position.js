// Keeps what the reader looks at while parts of the page are replaced: positions in the window and in scrolled regions, opened sections, focus and caret.
// The new elements are other objects than the old ones: they are recognized by what they show.
const LINES = "h2, h3, p, li, dl, tbody tr, figure, summary, pre, .controls, .plotbox";
const FALLBACKS = 10;  // lines that are remembered: an update seldom removes that many
const REGIONS = "main :is(.scroll, .narrow, .values, pre)";

// What distinguishes an element from its siblings, without the numbers that change from one version of the page to the next.
function nameOf(element) {
  const given = element.dataset.key || element.dataset.title || element.getAttribute("aria-labelledby") || (element.getAttribute("role") !== "img" && element.getAttribute("aria-label"));
  if (given) return given;
  if (element.tagName === "TR") return [...element.cells].filter((cell) => !cell.classList.contains("number")).map((cell) => cell.textContent).join("\n");
  return element.matches("h3, p, li, figure, summary") ? element.textContent.replace(/\d[\d.,]*/g, "#") : "";
}

// Steps from the next ancestor that has an id: [tag, name, number among siblings with both].
function pathOf(element) {
  const path = [];
  for (let at = element; at; at = at.parentElement) {
    if (at.id) return [at.id, ...path];
    const name = nameOf(at);
    let number = 0;
    for (let one = at.previousElementSibling; one; one = one.previousElementSibling) if (one.tagName === at.tagName && nameOf(one) === name) number += 1;
    path.unshift([at.tagName, name, number]);
  }
  return null;
}

function elementAt([id, ...steps]) {
  let at = document.getElementById(id);
  for (const [tag, name, number] of steps) {
    if (!at) return null;
    at = [...at.children].filter((one) => one.tagName === tag && nameOf(one) === name)[number];
  }
  return at || null;
}

const topOf = (element) => element.getBoundingClientRect().top;

// Safari before 17.4 and Firefox before 106 have no checkVisibility.
const isVisible = (element) => (element.checkVisibility ? element.checkVisibility() : element.getClientRects().length > 0);

// The first line that covers nothing of the sticky list of contents.
function topOfView() {
  const nav = document.querySelector("main > nav");
  const box = nav && nav.getBoundingClientRect();
  return box && box.top <= 0 ? Math.max(0, box.bottom) : 0;
}

// Whether a line can be seen between `top` and `bottom`, and in the region that it is in, below the region's sticky head.
function isSeen(line, top, bottom) {
  const box = line.getBoundingClientRect();
  if (!box.height || box.bottom <= top || box.top >= bottom) return false;
  const region = line.closest(".scroll");
  if (region && region !== line) {
    const frame = region.getBoundingClientRect(), head = region.querySelector("thead");
    const hidden = frame.top + (head ? head.getBoundingClientRect().height : 0);
    if (box.top + 1 < hidden || box.bottom > frame.bottom + 1) return false;
  }
  return isVisible(line) && !line.closest("nav, #narrow");
}

// The element that has the focus, or that a link of the page led to, if its beginning is in view. The filter panel beside the experiments sticks to the
// window: the part of the page that it is in moves.
function chosenInView(top) {
  const panel = document.getElementById("narrow");
  const sticks = panel && getComputedStyle(panel).position === "sticky";
  return [document.activeElement, document.getElementById(location.hash.slice(1))]
    .filter((one) => one && one.closest("main section"))
    .map((one) => (sticks && panel.contains(one) ? panel.parentElement : one))
    .filter((one) => topOf(one) >= top && topOf(one) < innerHeight);
}

// Returns a function that finds an element again after `part` was replaced. Others stay: they need no path, which takes long among many siblings.
function finderOf(element, part) {
  if (!part.contains(element)) return () => element;
  const path = pathOf(element);
  return () => path && elementAt(path);
}

// What must not move, best first; others are needed when the first is not in the new version. Lines whose beginning is hidden come after those that begin
// in view: they may get longer. At the end of the page, its last line is best. At the very top, new results may push everything down, unless padding
// replaces what was above.
function anchorsOf(part) {
  const top = topOfView();
  const elements = chosenInView(top);
  if (scrollY > 0 || document.getElementById("content").style.paddingTop) {
    const lines = [...document.querySelectorAll(`main :is(${LINES})`)].filter((line) => isSeen(line, top, innerHeight));
    const whole = lines.filter((one) => topOf(one) >= top);
    const isPadded = Boolean(document.getElementById("content").style.paddingBottom);
    const isEnd = !isPadded && scrollY + innerHeight >= document.documentElement.scrollHeight - 1;
    elements.push(...(isEnd ? whole.reverse() : whole).slice(0, FALLBACKS), ...lines.filter((one) => topOf(one) < top).slice(0, FALLBACKS));
    elements.push(...[...document.querySelectorAll("main section")].filter((one) => one.getBoundingClientRect().bottom > top));
  }
  const owed = scrollY === held.scrollY ? held.rest : 0;
  return elements.map((one) => ({ find: finderOf(one, part), top: topOf(one) - owed }));
}

// A browser scrolls by whole pixels: the rest of one change is part of the next one, or many changes would add up.
let held = { scrollY: -1, rest: 0 };

function hold(anchors) {
  const main = document.getElementById("content");
  main.style.paddingTop = main.style.paddingBottom = "";
  for (const { find, top } of anchors) {
    const element = find();
    if (!element || !isVisible(element)) continue;
    window.scrollBy(0, topOf(element) - top);
    const rest = topOf(element) - top;  // the page became too short to scroll as far
    if (rest < -1) main.style.paddingTop = `${-rest}px`;
    if (rest > 1) {
      main.style.paddingBottom = `${rest}px`;
      window.scrollBy(0, rest);
    }
    held = { scrollY, rest: topOf(element) - top };
    return;
  }
}

function regionsOf(part) {
  const scrolled = [...part.querySelectorAll(REGIONS)].filter((one) => one.scrollTop || one.scrollLeft);
  return scrolled.map((region) => {
    const { top, bottom } = region.getBoundingClientRect();
    const rows = [...region.querySelectorAll("tbody tr")].filter((row) => isSeen(row, top, bottom)).slice(0, FALLBACKS);
    return { path: pathOf(region), left: region.scrollLeft, top: region.scrollTop, rows: rows.map((row) => ({ path: pathOf(row), top: topOf(row) - top })) };
  });
}

function holdRegion({ path, left, top, rows }) {
  const region = elementAt(path);
  if (!region) return;
  region.scrollLeft = left;
  if (region.id === "rows" || !top) return;  // this table keeps its first row, rendered or not
  region.scrollTop = top;
  for (const row of rows) {
    const again = elementAt(row.path);
    if (!again) continue;
    region.scrollTop += topOf(again) - topOf(region) - row.top;
    return;
  }
}

function focusOf(part) {
  const element = document.activeElement;
  if (!element || !part.contains(element)) return null;
  return { element, path: pathOf(element), caret: element.matches("input[type=search]") ? [element.selectionStart, element.selectionEnd, element.selectionDirection] : null };
}

function holdFocus({ element, path, caret }) {
  const again = elementAt(path);
  if (!again || document.activeElement === element) return;
  again.focus({ preventScroll: true });
  if (caret) again.setSelectionRange(...caret);
}

// The browser must not compensate for an update a second time. It still does for changes that the reader makes.
let anchoring = 0;

function pauseAnchoring() {
  const { style } = document.body;
  style.overflowAnchor = "none";
  cancelAnimationFrame(anchoring);
  anchoring = requestAnimationFrame(() => { anchoring = requestAnimationFrame(() => { style.overflowAnchor = ""; }); });
}

// Runs `change`, which may replace `part`, or anything in it.
function keeping(part, change) {
  const details = [...part.querySelectorAll("section > details")].map((one) => ({ path: pathOf(one), open: one.open }));
  const focus = focusOf(part), regions = regionsOf(part), anchors = anchorsOf(part);
  pauseAnchoring();
  change();
  for (const { path, open } of details) {
    const again = elementAt(path);
    if (again) again.open = open;
  }
  regions.forEach(holdRegion);
  if (focus) holdFocus(focus);
  hold(anchors);
}
