// The runs of one comparison, on demand: each run as a dot, its number below; and the distribution of all batch times.
const usedOf = (side) => side.filter(([, doubt]) => doubt < 2).map(([value]) => value);
const medianOf = (side) => median(usedOf(side).sort((a, b) => a - b));

class Distribution {
  constructor(host, data) {
    Object.assign(this, { host, data });
    this.canvas = null;
  }

  show(row, names) {
    const title = make("h3", { tabindex: -1 }, row.value && this.data.by ? `${row.label}, ${this.data.by} ${row.value}` : row.label);
    const close = make("button", { type: "button", class: "plain" }, "close");
    const parts = [title, close, make("p", { class: "quiet" }, this.data.quantity)];
    if (row.values.some((side) => side.length)) parts.push(this.strip(row, names), this.numbers(row, names));
    else parts.push(make("p", {}, "No run of either side succeeded."));
    if (row.notes.length) parts.push(make("ul", {}, ...row.notes.map((note) => make("li", {}, note))));
    const plot = make("div", { class: "plot", role: "img", "aria-label": `cumulative distribution of the batch times of ${names[0]} and ${names[1]}` });
    const drawable = row.batches.filter((side) => side.length).length;
    if (drawable) parts.push(make("p", {}, `Batch times, cumulative distribution; ${names[0]} solid, ${names[1]} dashed`), plot);
    this.host.replaceChildren(...parts);
    if (drawable) {
      this.canvas = new Canvas(plot, 260);
      this.canvas.show(() => this.shares(row));
    }
    title.focus();
    return close;
  }

  strip(row, names) {
    const values = row.values.flat().map(([value]) => value);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const width = Math.min(600, Math.max(280, this.host.clientWidth));
    const at = (value) => 70 + (width - 100) * (high > low ? (value - low) / (high - low) : 0.5);
    const parts = [];
    row.values.forEach((side, index) => {
      const y = 24 + 40 * index;
      parts.push(drawn("line", { class: "one", x1: 60, x2: width - 20, y1: y, y2: y }), drawn("text", { x: 52, y: y + 4, "text-anchor": "end" }, names[index].length > 8 ? `${names[index].slice(0, 7)}…` : names[index]));
      side.forEach(([value, doubtful]) => parts.push(drawn("circle", { class: `run ${doubtful ? "hollow" : ""}`, cx: at(value), cy: y, r: 5 }, drawn("title", {}, precise(value)))));
      if (usedOf(side).length) {
        const x = at(medianOf(side));
        parts.push(drawn("line", { class: "median", x1: x, x2: x, y1: y - 12, y2: y + 12 }));
      }
    });
    parts.push(drawn("text", { x: at(low), y: 96, "text-anchor": "middle" }, short(low)));
    if (high > low) parts.push(drawn("text", { x: at(high), y: 96, "text-anchor": "middle" }, short(high)));
    return drawn("svg", { class: "strip", width, viewBox: `0 0 ${width} 104`, role: "img", "aria-label": "each run as a dot, the median as a line; the numbers are in the table below" }, ...parts);
  }

  numbers(row, names) {
    const lines = row.values.map((side, index) => make("tr", {}, make("th", { scope: "row" }, names[index]),
      make("td", { class: "number" }, usedOf(side).length ? precise(medianOf(side)) : "–"),
      make("td", {}, side.map(([value, doubtful]) => `${precise(value)}${["", " ⚠", " ⚠ left out"][doubtful]}`).join(", "))));
    const head = make("tr", {}, ...["side", "median", "runs"].map((title) => make("th", { scope: "col" }, title)));
    return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "numbers of the runs" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)));
  }

  shares(row) {
    const times = [...new Set(row.batches.flat())].sort((a, b) => a - b);
    const series = row.batches.map((side) => {
      const share = new Map(side.map((time, index) => [time, index / (side.length - 1)]));
      return times.map((time) => share.get(time) ?? null);
    });
    const options = {
      scales: { x: { time: false }, y: { range: () => [0, 1] } },
      axes: [axisOf("batch time, ms"), sideAxis("share of batches", { values: (_, splits) => splits.map((share) => `${Math.round(100 * share)} %`) })],
      series: [{}, ...row.batches.map((_, index) => ({ stroke: lineColour(index), width: 2, spanGaps: true, points: { show: false }, dash: index ? [6, 4] : undefined }))],
      cursor: { show: false },
    };
    return { options, data: [times, ...series] };
  }
}
