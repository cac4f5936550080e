// Plot of the selection: a quantity over a parameter or another quantity, a line for each combination of other varied parameters, exact numbers under the pointer.
const MOST_LINES = 16, MOST_NUMBERS = 300, NEAR = 30;

// The axis of runs that differ in nothing: their numbers, from 1.
function numberOfRun(count) {
  const numbers = Array.from({ length: count }, (_, row) => row + 1);
  return { name: "run", title: "run", values: numbers.map(String), numbers, codes: numbers.map((number) => number - 1), label: false };
}

class SelectionChart {
  constructor(host, data, state) {
    Object.assign(this, { host, data, state, shown: {}, rows: [], points: [] });
    this.columns = data.parameters.filter((column) => column.values.length > 1);
    this.figures = data.figures;
    if (!this.figures.length) return;
    if (!this.columns.length && data.count < 2) {
      host.replaceChildren(make("p", { class: "quiet" }, "There is one experiment: a plot of quantities needs others to compare it with."));
      return;
    }
    if (!this.columns.length) this.columns = [numberOfRun(data.count)];
    this.plot = make("div", { class: "plot", role: "img" });
    this.legend = make("ul", { class: "legend", "aria-label": "lines of the plot" });
    this.note = make("p", { class: "quiet", id: "plotnote" });
    this.hover = make("div", { class: "hover", hidden: true });
    this.numbers = make("details", { id: "numbers" }, make("summary", {}, "Numbers in this plot"), make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "numbers in this plot" }));
    this.numbers.open = Boolean(state.isOpen);
    this.numbers.addEventListener("toggle", () => { state.isOpen = this.numbers.open; this.fillNumbers(); });
    const box = make("div", { class: "plotbox" }, this.plot, this.hover);
    host.replaceChildren(this.controls(), box, this.legend, this.note, this.numbers);
    this.canvas = new Canvas(this.plot, 320);
    this.plot.addEventListener("mouseleave", () => { this.hover.hidden = true; });
  }

  controls() {
    const usual = this.columns.find((column) => column.name === "exp.replica_batch") || this.columns.find((column) => column.label && column.numbers && column.name !== "exp.repeat")
      || this.columns.find((column) => column.label && column.name !== "exp.repeat") || this.columns[0];
    const quantities = this.figures.map((figure) => [`figure ${figure.key}`, figure.title]);
    const parameters = this.columns.map((column) => [`parameter ${column.name}`, column.title]);
    const usualFigure = this.figures.find((figure) => figure.key === "results.throughput") || this.figures[0];
    const { state } = this;
    const across = [...parameters, ...quantities];
    const divided = [["", "all other differences"], ["none", "none"], ...parameters];
    // The state has only what the reader chose: the best axes for the first experiment of a plan are not those for all.
    const choice = (title, name, options, usualValue) => {
      const select = make("select", { id: `plot-${name}` }, ...options.map(([value, words]) => make("option", { value }, words)));
      this.shown[name] = select.value = options.some(([value]) => value === state[name]) ? state[name] : usualValue;
      select.addEventListener("change", () => { this.shown[name] = state[name] = select.value; this.show(this.rows); });
      return make("label", {}, `${title} `, select);
    };
    const box = (title, name) => {
      const check = make("input", { type: "checkbox", id: `plot-${name}` });
      check.checked = Boolean(state[name]);
      check.addEventListener("change", () => { state[name] = check.checked; this.show(this.rows); });
      return make("label", {}, check, ` ${title}`);
    };
    return make("div", { class: "controls", role: "group", "aria-label": "plot options" },
      choice("Plot", "y", quantities, `figure ${usualFigure.key}`), choice("over", "x", across, usual ? `parameter ${usual.name}` : `figure ${usualFigure.key}`),
      choice("lines", "lines", divided, ""), box("each run", "runs"), box("logarithmic", "log"));
  }

  source(words) {
    const [kind, name] = [words.slice(0, words.indexOf(" ")), words.slice(words.indexOf(" ") + 1)];
    return kind === "figure" ? { figure: this.figures.find((one) => one.key === name) } : { column: this.columns.find((one) => one.name === name) };
  }

  // Lines of points: the median of the runs at one position, with minimum and maximum.
  gather() {
    const { figure } = this.source(this.shown.y);
    const across = this.source(this.shown.x);
    const others = this.columns.filter((column) => column !== across.column && column.label && column.name !== "exp.repeat");
    const { column: divided } = this.shown.lines && this.shown.lines !== "none" ? this.source(this.shown.lines) : {};
    const dividing = this.shown.lines === "" ? others : divided && divided !== across.column ? [divided] : [];
    const usable = this.rows.filter((row) => figure.values[row] !== null && this.data.status.values[this.data.status.codes[row]] === "ok");
    const placed = usable.filter((row) => (across.figure ? across.figure.values[row] !== null : across.column.codes[row] >= 0));
    const shown = dividing.filter((column) => placed.some((row) => column.codes[row] !== column.codes[placed[0]]));
    const lines = new Map();
    for (const row of placed) {
      const key = shown.map((column) => column.codes[row]).join(" ");
      let line = lines.get(key);
      if (!line) {
        const label = shown.map((column) => (["exp.model", "exp.dtype", "exp.phase", "exp.framework"].includes(column.name) ? "" : `${column.title} `) + (column.values[column.codes[row]] ?? "none")).join(", ");
        lines.set(key, line = { row, label: label || "all", places: new Map() });
      }
      const place = across.figure ? row : across.column.codes[row];
      if (!line.places.has(place)) line.places.set(place, []);
      line.places.get(place).push(row);
    }
    const mixed = this.columns.filter((column) => column.label && column.name !== "exp.repeat" && column !== across.column && !dividing.includes(column) && placed.some((row) => column.codes[row] !== column.codes[placed[0]]));
    const ordered = this.inOrder([...lines.values()], dividing);
    return { figure, across, usable, placed, ordered, mixed };
  }

  // Lines in the order of plots in files, with the colour that they have when nothing is filtered.
  inOrder(lines, dividing) {
    const ranks = dividing.map((column) => {
      if (column.numbers) return column.codes;
      const first = new Map();
      return column.codes.map((code) => { if (!first.has(code)) first.set(code, first.size); return first.get(code); });
    });
    const before = (a, b) => { const rank = ranks.find((codes) => codes[a] !== codes[b]); return rank ? rank[a] - rank[b] : 0; };
    const kinds = new Map();
    for (let row = 0; row < this.data.count; row += 1) {
      const key = ranks.map((codes) => codes[row]).join(" ");
      if (!kinds.has(key)) kinds.set(key, row);
    }
    const all = [...kinds.values()].sort(before);
    for (const line of lines) line.look = all.findIndex((row) => before(row, line.row) === 0);
    return lines.sort((a, b) => a.look - b.look);
  }

  show(rows) {
    this.rows = rows;
    if (!this.canvas) return;
    this.hover.hidden = true;
    const made = this.gather();
    const lines = made.ordered.slice(0, MOST_LINES);
    const category = made.across.column && !made.across.column.numbers;
    const warnings = this.data.warnings.codes;
    const places = category ? [...new Set(lines.flatMap((line) => [...line.places.keys()]))].sort((a, b) => a - b) : [];
    this.points = [];
    lines.forEach((line, index) => {
      for (const [place, members] of line.places) {
        const values = members.map((row) => made.figure.values[row]).sort((a, b) => a - b);
        // Lines are offset horizontally where positions are texts.
        const apart = category && lines.length > 1 ? 0.7 * ((index + 0.5) / lines.length - 0.5) : 0;
        const x = made.across.figure ? made.across.figure.values[place] : category ? places.indexOf(place) + apart : made.across.column.numbers[place];
        const where = made.across.figure ? `${made.across.figure.title} ${short(x)}` : `${made.across.column.title} ${made.across.column.values[place]}`;
        this.points.push({ line: index, look: line.look, label: line.label, where, x, y: median(values), values, doubtful: members.filter((row) => warnings[row]).length });
      }
    });
    const xs = [...new Set(this.points.map((point) => point.x))].sort((a, b) => a - b);
    const doubles = !made.across.figure && xs.length > 1 && xs.every((x) => x > 0 && Number.isInteger(Math.log2(x)));
    const ys = this.points.map((point) => point.y);
    const log = { x: !category && (doubles || isWide(xs)), y: (this.state.log ?? isWide(ys)) && this.points.every((point) => point.values[0] > 0) };
    document.getElementById("plot-log").checked = log.y;
    this.say(made, lines);
    if (this.points.length) this.canvas.show(() => this.drawing(made, lines, xs, log, category ? places.map((code) => made.across.column.values[code]) : null));
    else this.canvas.clear();
    this.fillNumbers();
  }

  say(made, lines) {
    const title = made.across.figure ? made.across.figure.title : made.across.column.title;
    this.plot.setAttribute("aria-label", `${made.figure.title} over ${title}, ${counted(lines.length, "line")}; the numbers are below`);
    const notes = [];
    if (!this.points.length) notes.push(`No selected experiment succeeded with a value of ${made.figure.title}${made.usable.length ? ` and of ${title}` : ""}.`);
    else if (made.across.figure) notes.push("Each point is a run.");
    else notes.push(this.points.some((point) => point.values.length > 1) ? "Points are medians of runs; bars are from minimum to maximum." : "Each point is one run.");
    if (made.ordered.length > lines.length) notes.push(`The first ${lines.length} of ${counted(made.ordered.length, "line")}: filter experiments, or choose other lines.`);
    if (made.mixed.length && this.points.length) notes.push(`Some lines mix experiments that differ in ${made.mixed.map((column) => column.title).join(", ")}.`);
    const lost = this.rows.length - made.placed.length;
    if (lost && this.points.length) notes.push(`${counted(lost, "experiment")} without these values.`);
    const doubtful = this.points.reduce((sum, point) => sum + point.doubtful, 0);
    if (doubtful) notes.push(`Hollow points include doubtful runs (${doubtful.toLocaleString("en-US")}).`);
    this.note.textContent = notes.join(" ");
    this.legend.replaceChildren(...(lines.length > 1 ? lines : []).map((line) => {
      const mark = drawn("svg", { viewBox: "-10 -6 20 12", class: "swatch", "aria-hidden": "true" }, ...swatch(line.look));
      return make("li", {}, mark, ` ${line.label}`);
    }));
  }

  drawing(made, lines, xs, log, names) {
    const series = lines.map((line, index) => {
      const at = new Map(this.points.filter((point) => point.line === index).map((point) => [point.x, point.y]));
      return xs.map((x) => at.get(x) ?? null);
    });
    const isScatter = Boolean(made.across.figure);
    const isLine = !isScatter && !names;
    const ys = this.points.flatMap((point) => [point.values[0], point.values[point.values.length - 1]]);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    const range = log.y ? [low / 1.15, high * 1.15] : [low >= 0 && low < 0.4 * high ? 0 : low - pad, high + pad];
    const ends = [xs[0], xs[xs.length - 1]];
    const span = log.x ? [ends[0] / 1.15, ends[1] * 1.15] : names ? [-0.6, names.length - 0.4] : [ends[0] - 0.04 * (ends[1] - ends[0] || 1), ends[1] + 0.04 * (ends[1] - ends[0] || 1)];
    const title = isScatter ? made.across.figure.title : made.across.column.title;
    const few = !names && !isScatter && xs.length <= 14;
    // A label for each name that fits.
    const step = names ? Math.ceil(names.length / Math.max(1, Math.floor(this.plot.clientWidth / (8 * Math.max(...names.map((name) => Math.min(name.length, 14))) + 14)))) : 1;
    const options = {
      scales: {
        x: { time: false, distr: log.x ? 3 : 1, log: 10, range: () => span },
        y: { distr: log.y ? 3 : 1, log: 10, range: () => range },
      },
      axes: [
        axisOf(title, !names && !few && log.x ? logAxis : {
          splits: names ? () => names.map((_, index) => index).filter((index) => index % step === 0) : few ? () => xs : undefined,
          values: names ? (_, splits) => splits.map((index) => (names[index].length > 14 ? `${names[index].slice(0, 13)}…` : names[index])) : few ? (_, splits) => splits.map((x) => x.toLocaleString("en-US")) : undefined,
          filter: few || names ? (_, splits) => splits : undefined,
        }),
        sideAxis(made.figure.title, log.y ? logAxis : {}),
      ],
      series: [{}, ...lines.map(({ look }) => ({
        stroke: lineColour(look), width: isLine ? 1.5 : 0, spanGaps: true, points: { show: false },
        dash: look >= COLOURS ? [6, 4] : undefined, paths: isLine ? undefined : () => null,
      }))],
      cursor: { points: { show: false }, y: false, x: false, drag: { x: true, y: true, uni: 20 } },
      hooks: { draw: [(plot) => this.marks(plot)], setCursor: [(plot) => this.point(plot)] },
    };
    return { options, data: [xs, ...series] };
  }

  marks(plot) {
    const context = plot.ctx, ratio = devicePixelRatio || 1;
    const { left, top, width, height } = plot.bbox;
    const size = (this.points.length > 2000 ? 2 : 3.5) * ratio;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    for (const point of this.points) {
      const x = plot.valToPos(point.x, "x", true);
      context.strokeStyle = context.fillStyle = lineColour(point.look);
      context.lineWidth = 1.2 * ratio;
      if (point.values.length > 1) {
        context.beginPath();
        context.moveTo(x, plot.valToPos(point.values[0], "y", true));
        context.lineTo(x, plot.valToPos(point.values[point.values.length - 1], "y", true));
        context.stroke();
        if (this.state.runs) {
          context.globalAlpha = 0.5;
          point.values.forEach((value, index) => {
            context.beginPath();
            // Runs at one position are offset so that all are visible.
            context.arc(x + ((index % 5) - 2) * 3 * ratio, plot.valToPos(value, "y", true), 1.8 * ratio, 0, 2 * Math.PI);
            context.fill();
          });
          context.globalAlpha = 1;
        }
      }
      drawMarker(context, markerOf(point.look), x, plot.valToPos(point.y, "y", true), size);
      if (point.doubtful) context.fillStyle = ink("--paper");
      context.fill();
      context.stroke();
    }
    context.restore();
  }

  // The nearest point, with its numbers.
  point(plot) {
    const { left, top } = plot.cursor;
    let best = null, least = NEAR * NEAR;
    if (left >= 0) {
      for (const point of this.points) {
        const dx = plot.valToPos(point.x, "x") - left, dy = plot.valToPos(point.y, "y") - top;
        if (dx * dx + dy * dy < least) { least = dx * dx + dy * dy; best = point; }
      }
    }
    this.hover.hidden = !best;
    if (!best) return;
    const runs = best.values.length;
    const lines = [best.label === "all" ? best.where : `${best.label}, ${best.where}`, runs > 1 ? `median ${precise(best.y)} of ${counted(runs, "run")}` : precise(best.y)];
    if (runs > 1) lines.push(`${precise(best.values[0])} to ${precise(best.values[runs - 1])}`);
    if (best.doubtful) lines.push(`${best.doubtful} of ${counted(runs, "run")} doubtful`);
    this.hover.replaceChildren(...lines.map((line) => make("div", {}, line)));
    const offset = plot.over.offsetLeft + left;
    this.hover.style.top = `${Math.max(0, plot.over.offsetTop + top - 20)}px`;
    this.hover.style.left = `${Math.max(0, offset > this.plot.clientWidth / 2 ? offset - this.hover.offsetWidth - 14 : offset + 14)}px`;
  }

  fillNumbers() {
    if (!this.numbers.open) return;
    const titles = ["line", "at", "median", "minimum", "maximum", "runs", "doubtful"];
    const head = make("tr", {}, ...titles.map((title, index) => make("th", { scope: "col", class: index > 1 ? "number" : null }, title)));
    const rows = this.points.slice(0, MOST_NUMBERS).map((point) => {
      const figures = [point.y, point.values[0], point.values[point.values.length - 1], point.values.length, point.doubtful];
      return make("tr", {}, make("td", {}, point.label), make("td", {}, point.where), ...figures.map((figure) => make("td", { class: "number" }, String(figure))));
    });
    const more = this.points.length - rows.length;
    this.numbers.lastChild.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)), ...(more > 0 ? [make("p", { class: "quiet" }, `and ${counted(more, "more point")}: use the filter`)] : []));
  }
}

const swatch = (index) => {
  const colour = `var(${seriesOf(index)})`;
  const shape = { circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", square: "M-4,-4h8v8h-8z", triangle: "M0,-5l4.5,9h-9z", diamond: "M0,-5.5l5.5,5.5l-5.5,5.5l-5.5,-5.5z" }[markerOf(index)];
  return [drawn("line", { x1: -10, x2: 10, y1: 0, y2: 0, stroke: colour, "stroke-width": 2, "stroke-dasharray": index >= COLOURS ? "4 2" : "none" }), drawn("path", { d: shape, fill: colour })];
};
