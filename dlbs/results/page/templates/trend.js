// Pages of the history: the small charts of the overview, and the chart of one trend, whose points lead to comparisons.
const toneOf = (isWorse) => ink(isWorse ? "--bad" : "--good");

function dot(plot, x, y, size, fill, stroke) {
  const { ctx } = plot, ratio = devicePixelRatio || 1;
  drawMarker(ctx, "circle", plot.valToPos(x, "x", true), plot.valToPos(y, "y", true), size * ratio);
  ctx.fillStyle = fill;
  ctx.fill();
  if (stroke) { ctx.strokeStyle = stroke; ctx.lineWidth = 1.5 * ratio; ctx.stroke(); }
}

function stroke(plot, [x1, y1], [x2, y2], colour, dash = []) {
  const { ctx } = plot, ratio = devicePixelRatio || 1;
  ctx.beginPath();
  ctx.setLineDash(dash.map((length) => length * ratio));
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.5 * ratio;
  ctx.stroke();
  ctx.setLineDash([]);
}

// Values between bounds, with a margin.
function rangeOf(values, share) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low || Math.abs(high) || 1) * share;
  return [low - margin, high + margin];
}

const bare = { show: false };

function drawSpark(host) {
  const { xs, ys, changes } = JSON.parse(host.dataset.spark);
  const range = rangeOf(ys, 0.15);
  new Canvas(host, 28).show(() => ({
    options: {
      width: 160, axes: [bare, bare], cursor: bare, padding: [2, 4, 2, 4], series: [{}, { stroke: ink("--accent"), width: 1.5, points: bare }],
      scales: { x: { time: false, range: () => [xs[0] - 0.5, xs[xs.length - 1] + 0.5] }, y: { range: () => range } },
      hooks: { draw: [(plot) => changes.forEach(([at, isWorse]) => dot(plot, at, ys[xs.indexOf(at)], 3.5, toneOf(isWorse)))] },
    },
    data: [xs, ys],
  }));
}

function showTrend(data) {
  if (!data) return;
  const { xs, ys, bounds, names } = data;
  const range = rangeOf(bounds.flat(), 0.12);
  const host = document.getElementById("trend"), hover = document.getElementById("hover");
  const wordsOf = (index) => [
    names[xs[index]], `${short(ys[index])}, ${counted(data.runs[index], "run")}${data.doubtful[index] ? `, ${data.doubtful[index]} doubtful` : ""}`,
    xs[index] === data.chosen ? "A" : "click to compare with A",
  ];
  let near = -1;
  const draw = (plot) => {
    const { ctx } = plot, { top, height } = plot.bbox, ratio = devicePixelRatio || 1;
    const at = (x, y) => [plot.valToPos(x, "x", true), plot.valToPos(y, "y", true)];
    for (const [first, last, level] of data.levels) stroke(plot, at(first - 0.4, level), at(last + 0.4, level), ink("--quiet"), [6, 3]);
    ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    for (const [place, words, isWorse] of data.changes) {
      const [x] = at(place - 0.5, ys[0]);
      stroke(plot, [x, top], [x, top + height], toneOf(isWorse));
      ctx.fillStyle = toneOf(isWorse);
      ctx.fillText(words, x, top - 5 * ratio);
    }
    const size = plot.over.clientWidth > 9 * names.length * 2 ? 5 : 3;
    xs.forEach((x, index) => {
      const colour = ink(x === data.chosen ? "--ink" : "--accent");
      stroke(plot, at(x, bounds[index][0]), at(x, bounds[index][1]), colour);
      dot(plot, x, ys[index], size, data.doubtful[index] ? ink("--paper") : colour, colour);
    });
  };
  const point = (plot) => {
    const { left, top } = plot.cursor;
    const far = (index) => Math.hypot(plot.valToPos(xs[index], "x") - left, plot.valToPos(ys[index], "y") - top);
    near = left < 0 ? -1 : xs.reduce((best, _, index) => (far(index) < 30 && (best < 0 || far(index) < far(best)) ? index : best), -1);
    hover.hidden = near < 0;
    if (near < 0) return;
    hover.replaceChildren(...wordsOf(near).map((line) => make("div", {}, line)));
    hover.style.top = `${Math.max(0, plot.over.offsetTop + top - 20)}px`;
    const offset = plot.over.offsetLeft + left;
    hover.style.left = `${Math.max(0, offset > host.clientWidth / 2 ? offset - hover.offsetWidth - 14 : offset + 14)}px`;
  };
  host.addEventListener("click", () => { if (near >= 0 && data.links[near]) location.href = data.links[near]; });
  const label = (index) => (names[index] ?? "").split(", ");
  new Canvas(host, 340).show(() => ({
    options: {
      axes: [
        axisOf(undefined, { size: 44, values: (_, splits) => splits.map((x) => (Number.isInteger(x) ? label(x).join("\n") : "")), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], space: 110, labelSize: 0 }),
        sideAxis(data.title),
      ],
      padding: [22, 16, 0, 0], series: [{}, { paths: () => null, points: bare }],
      scales: { x: { time: false, range: () => [-0.5, names.length - 0.5] }, y: { range: () => range } },
      cursor: { points: bare, x: false, y: false, drag: { x: false, y: false } }, hooks: { draw: [draw], setCursor: [point] },
    },
    data: [xs, ys],
  }));
}

document.querySelectorAll("[data-spark]").forEach(drawSpark);
readData(showTrend);
