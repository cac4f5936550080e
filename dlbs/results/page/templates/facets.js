// Filters: exact values of varied parameters, each with its number of selected rows, and words.
const FIRST_VALUES = 100, FIND_FROM = 15;

class Facets {
  // facets: {name, title, values, codes (of each row: an index into `values`, a list of indices, or -1), isOpen}
  // state: {chosen: Map of name → Set of values, wanted: Map of name → text, open: Map of name → whether, words}, kept by the caller; texts: of each row, for the words
  constructor(host, facets, count, texts, state, changed) {
    Object.assign(this, { host, facets, count, texts, state, changed, spaced: null });
    this.views = facets.map((facet) => this.view(facet));
    host.replaceChildren(...this.views.map((view) => view.details));
    const words = document.getElementById("words");
    words.value = state.words;
    words.addEventListener("input", () => { state.words = words.value; changed(); });
    document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
    this.keepOpen(document.getElementById("narrow"), "", !isNarrow());
  }

  // Opens a list as the reader left it; `usual` applies while the reader has left it alone, whatever it was in an earlier version of the page.
  keepOpen(details, name, usual) {
    const { open } = this.state;
    details.open = open.has(name) ? open.get(name) : usual;
    // This event also reports the line above.
    details.addEventListener("toggle", () => { if (details.open !== usual || open.has(name)) open.set(name, details.open); });
  }

  view(facet) {
    const list = make("div", { class: "values" });
    const note = make("span", { class: "quiet" });
    const fieldset = make("fieldset", {}, make("legend", { class: "hidden" }, facet.title));
    const details = make("details", { class: "facet", "data-key": facet.name }, make("summary", {}, facet.title, " ", note), fieldset);
    const view = { facet, list, note, details, find: null, labels: null, wanted: "" };
    if (facet.values.length > FIND_FROM) {
      view.wanted = this.state.wanted.get(facet.name) || "";
      const find = view.find = make("input", { type: "search", "aria-label": `find a value of ${facet.title}`, placeholder: "find", value: view.wanted });
      find.addEventListener("input", () => {
        this.state.wanted.set(facet.name, find.value);
        view.wanted = find.value;
        this.fill(view);
      });
      fieldset.append(find);
    }
    fieldset.append(list);
    this.keepOpen(details, facet.name, facet.isOpen || this.state.chosen.has(facet.name));
    details.addEventListener("toggle", () => { if (details.open && !view.labels) this.fill(view); });
    return view;
  }

  // Values are rendered when their list is opened, at most a hundred.
  fill(view) {
    const { facet } = view;
    const fitting = facet.values.map((value, code) => [value, code]).filter(([value]) => value.toLowerCase().includes(view.wanted.toLowerCase()));
    view.labels = new Map();
    const chosen = this.state.chosen.get(facet.name) || new Set();
    const lines = fitting.slice(0, FIRST_VALUES).map(([value, code]) => {
      const box = make("input", { type: "checkbox" });
      box.checked = chosen.has(value);
      box.addEventListener("change", () => this.choose(facet.name, value, box.checked));
      const count = make("span", { class: "quiet" });
      const label = make("label", { "data-key": value }, box, ` ${value} `, count);
      view.labels.set(code, { label, count, box });
      return label;
    });
    if (fitting.length > FIRST_VALUES) lines.push(make("p", { class: "quiet" }, `and ${fitting.length - FIRST_VALUES} more: type to find them`));
    view.list.replaceChildren(...lines);
    this.mark(view);
  }

  choose(name, value, isChosen) {
    const values = this.state.chosen.get(name) || new Set();
    if (isChosen) values.add(value); else values.delete(value);
    if (values.size) this.state.chosen.set(name, values); else this.state.chosen.delete(name);
    this.changed();
    for (const view of this.views) {
      if (view.facet.name !== name || !view.labels) continue;
      const label = view.labels.get(view.facet.values.indexOf(value));
      if (label) label.box.checked = isChosen;
    }
  }

  clear() {
    this.state.chosen.clear();
    this.state.words = document.getElementById("words").value = "";
    this.state.wanted.clear();
    for (const view of this.views) {
      view.wanted = "";
      if (view.find) view.find.value = "";
      if (view.labels) this.fill(view);
    }
    this.changed();
  }

  // The matching rows; counts in each facet are of rows that match all other filters.
  rows() {
    const words = wordsOf(this.state.words);
    if (words.length && !this.spaced) this.spaced = Array.from({ length: this.count }, (_, row) => ` ${wordsOf(this.texts(row)).join(" ")}`);
    const tests = this.facets.map((facet) => {
      const values = this.state.chosen.get(facet.name);
      return values ? new Set(facet.values.flatMap((value, code) => (values.has(value) ? [code] : []))) : null;
    });
    this.counts = this.facets.map((facet) => new Uint32Array(facet.values.length));
    const found = [];
    const tally = (at, row) => {
      const code = this.facets[at].codes[row];
      if (Array.isArray(code)) code.forEach((one) => { this.counts[at][one] += 1; });
      else if (code >= 0) this.counts[at][code] += 1;
    };
    for (let row = 0; row < this.count; row += 1) {
      if (words.length && !hasWords(this.spaced[row], words)) continue;
      let failed = -1, fails = 0;
      for (let at = 0; at < tests.length && fails < 2; at += 1) {
        if (!tests[at]) continue;
        const code = this.facets[at].codes[row];
        if (!(Array.isArray(code) ? code.some((one) => tests[at].has(one)) : tests[at].has(code))) { fails += 1; failed = at; }
      }
      if (fails === 0) {
        found.push(row);
        for (let at = 0; at < tests.length; at += 1) tally(at, row);
      } else if (fails === 1) tally(failed, row);
    }
    this.views.forEach((view) => { if (view.details.open && !view.labels) this.fill(view); else this.mark(view); });
    return found;
  }

  mark(view) {
    const at = this.views.indexOf(view);
    const counts = this.counts && this.counts[at];
    if (!counts) return;
    const chosen = this.state.chosen.get(view.facet.name);
    view.note.textContent = chosen ? `${chosen.size.toLocaleString("en-US")} chosen` : view.facet.values.length.toLocaleString("en-US");
    if (!view.labels) return;
    view.labels.forEach(({ label, count }, code) => {
      count.textContent = counts[code].toLocaleString("en-US");
      label.classList.toggle("none", counts[code] === 0);
    });
  }

  // The chosen values, each with a button that removes it.
  chips(host) {
    const chips = [];
    for (const facet of this.facets) {
      for (const value of this.state.chosen.get(facet.name) || []) {
        const chip = make("button", { type: "button", class: "chip", "aria-label": `remove ${facet.title}: ${value}` }, `${facet.title}: ${value} ×`);
        chip.addEventListener("click", () => this.choose(facet.name, value, false));
        chips.push(chip, " ");
      }
    }
    if (chips.length || this.state.words) {
      const all = make("button", { type: "button", class: "plain" }, "clear all");
      all.addEventListener("click", () => this.clear());
      chips.push(all);
    }
    host.replaceChildren(...chips);
  }
}
