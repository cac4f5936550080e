// The batch times of single runs, when somebody asks for them: the first runs of the table, in its order.
const MOST_RUNS = 8;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const placeOfLetter = new Map([...LETTERS].map((letter, place) => [letter, place]));

// [batches in a point, batches, least, greatest, two letters for each point] → points
function unpacked([together, count, low, high, words]) {
  const points = [];
  for (let at = 0; at < words.length; at += 2) {
    const code = 64 * placeOfLetter.get(words[at]) + placeOfLetter.get(words[at + 1]);
    const first = (at / 2) * together;
    points.push({ x: (first + 1 + Math.min(first + together, count)) / 2, y: low + ((high - low) * code) / 4095 });
  }
  return points;
}

class BatchTimes {
  constructor(host, data, state) {
    Object.assign(this, { host, data, state, rows: [], drawn: null });
    this.columns = data.parameters.filter((column) => column.label && column.values.length > 1);
    if (!data.batches.some(Boolean)) return;
    this.plot = make("div", { class: "plot", role: "img" });
    this.note = make("p", { class: "quiet" });
    this.table = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "batch times of the runs in this plot" });
    this.details = make("details", { id: "batches" }, make("summary", {}, "Batch times of single runs"), this.note, this.plot, this.table);
    const usual = data.count === 1;  // the only plot then
    this.details.open = state.isOpen ?? usual;
    // The state has only what the reader chose: more experiments may follow the first one.
    this.details.addEventListener("toggle", () => { if (this.details.open !== (state.isOpen ?? usual)) state.isOpen = this.details.open; if (this.drawn !== this.rows) this.draw(); });
    host.replaceChildren(this.details);
    this.canvas = new Canvas(this.plot, 280);
  }

  // rows: those of the table, in its order
  show(rows) {
    this.rows = rows;
    if (this.details) this.draw();
  }

  draw() {
    if (!this.details.open) return;
    this.drawn = this.rows;
    const { batches } = this.data;
    const having = this.rows.filter((row) => batches[row]);
    const shown = having.slice(0, MOST_RUNS);
    const differing = this.columns.filter((column) => shown.some((row) => column.codes[row] !== column.codes[shown[0]]));
    const label = (row) => differing.map((column) => `${column.title} ${column.values[column.codes[row]] ?? "none"}`).join(", ") || this.data.common || `run ${row + 1}`;
    const runs = shown.map((row, index) => ({ row, index, label: label(row), points: unpacked(batches[row]), together: batches[row][0], count: batches[row][1] }));
    this.say(runs, having.length);
    if (!runs.length) {
      this.canvas.clear();
      this.table.replaceChildren();
      return;
    }
    this.fill(runs);
    this.canvas.show(() => this.drawing(runs));
  }

  say(runs, count) {
    const notes = [];
    if (!runs.length) notes.push("No run of the selection has batch times.");
    else if (count > runs.length) notes.push(`The first ${runs.length} of ${counted(count, "run")}, in the order of the table: narrow down, or sort it.`);
    // What the names of the runs leave out, because it is the same for all of them.
    const common = runs.length ? this.columns.filter((column) => runs.every((run) => column.codes[run.row] === column.codes[runs[0].row])) : [];
    const words = common.map((column) => `${column.title} ${column.values[column.codes[runs[0].row]] ?? "none"}`);
    if (runs.length > 1 && words.length) notes.push(`All: ${words.join(", ")}.`);
    const together = Math.max(0, ...runs.map((run) => run.together));
    if (together > 1) notes.push(`Each point is the median of up to ${together} batches.`);
    this.note.textContent = notes.join(" ");
    this.plot.setAttribute("aria-label", `times of the timed batches of ${counted(runs.length, "run")}; the numbers are below`);
  }

  fill(runs) {
    const titles = ["run", "batches", "median, ms", "least", "greatest"];
    const head = make("tr", {}, ...titles.map((title, index) => make("th", { scope: "col", class: index ? "number" : null }, title)));
    const rows = runs.map((run) => {
      const times = run.points.map((point) => point.y).sort((a, b) => a - b);
      const mark = drawn("svg", { viewBox: "-10 -6 20 12", class: "swatch", "aria-hidden": "true" }, drawn("line", { x1: -10, x2: 10, y1: 0, y2: 0, stroke: `var(${seriesOf(run.index)})`, "stroke-width": 3 }));
      const figures = [run.count.toLocaleString("en-US"), short(median(times)), short(times[0]), short(times[times.length - 1])];
      return make("tr", {}, make("td", {}, mark, ` ${run.label}`), ...figures.map((figure) => make("td", { class: "number" }, figure)));
    });
    this.table.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  drawing(runs) {
    const xs = [...new Set(runs.flatMap((run) => run.points.map((point) => point.x)))].sort((a, b) => a - b);
    const series = runs.map((run) => {
      const at = new Map(run.points.map((point) => [point.x, point.y]));
      return xs.map((x) => at.get(x) ?? null);
    });
    const ys = runs.flatMap((run) => run.points.map((point) => point.y));
    const [low, high] = [ys.reduce((a, b) => Math.min(a, b)), ys.reduce((a, b) => Math.max(a, b))];
    const log = isWide([low, high]);
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    const range = log ? [low / 1.15, high * 1.15] : [low >= 0 && low < 0.4 * high ? 0 : low - pad, high + pad];
    const options = {
      scales: { x: { time: false, range: () => [1, Math.max(2, xs[xs.length - 1])] }, y: { distr: log ? 3 : 1, log: 10, range: () => range } },
      axes: [axisOf("timed batch"), sideAxis("batch time, ms", log ? logAxis : {})],
      series: [{}, ...runs.map((run) => ({ stroke: lineColour(run.index), width: 1.2, spanGaps: true, points: { show: run.points.length < 60, size: 5 } }))],
      cursor: { show: false },
    };
    return { options, data: [xs, ...series] };
  }
}
