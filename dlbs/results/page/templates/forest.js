// Intervals drawn against the threshold: a forest plot, one line in each row of the table. Ratios are on a logarithmic scale, 1 in the middle.
const FOREST_WIDTH = 130, FOREST_HEIGHT = 18, WIDEST_RATIO = 16;

class Forest {
  constructor(data) {
    this.threshold = data.threshold;
    const found = data.rows.flatMap((row) => [row.low, row.high, row.ratio]).filter((value) => value > 0).map((value) => Math.abs(Math.log(value))).sort((a, b) => a - b);
    // A few very wide intervals must not shrink all others to points: they end in an arrow.
    const usual = found.length ? found[Math.floor(0.98 * (found.length - 1))] : 0;
    this.most = Math.min(Math.log(WIDEST_RATIO), Math.max(1.15 * usual, 2.5 * Math.log(1 + this.threshold), Math.log(1.02)));
  }

  at(ratio) {
    const share = Math.log(ratio) / this.most;
    return FOREST_WIDTH / 2 * (1 + Math.max(-1, Math.min(1, share)) * 0.96);
  }

  frame(height, ...inside) {
    return drawn("svg", { class: "forest", width: FOREST_WIDTH, height, viewBox: `0 0 ${FOREST_WIDTH} ${height}`, "aria-hidden": "true" }, ...inside);
  }

  ground(height) {
    const [low, high] = [this.at(1 - this.threshold), this.at(1 + this.threshold)];
    return [drawn("rect", { class: "band", x: low, y: 0, width: high - low, height }), drawn("line", { class: "one", x1: this.at(1), x2: this.at(1), y1: 0, y2: height })];
  }

  // Round ratios that fit, and 1.
  scale() {
    const steps = [1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 4, 8, 16].filter((ratio) => Math.log(ratio) <= 0.9 * this.most);
    const chosen = steps.length > 1 ? [steps[steps.length - 1]] : steps;
    const ticks = [1, ...chosen.flatMap((ratio) => [ratio, 1 / ratio])];
    const texts = ticks.map((ratio) => drawn("text", { x: this.at(ratio), y: 11, "text-anchor": "middle" }, String(Number(ratio.toPrecision(3)))));
    return this.frame(14, ...texts);
  }

  draw(row, tone) {
    const middle = FOREST_HEIGHT / 2;
    const parts = this.ground(FOREST_HEIGHT);
    if (row.ratio > 0) {
      if (row.low > 0 && row.high > 0) {
        const [low, high] = [this.at(row.low), this.at(row.high)];
        parts.push(drawn("line", { class: `interval ${tone}`, x1: low, x2: high, y1: middle, y2: middle }));
        const edge = (ratio, x, sign) => (Math.abs(Math.log(ratio)) > this.most
          ? drawn("path", { class: `arrow ${tone}`, d: `M${x + sign * 5},${middle}l${-sign * 6},-4v8z` })
          : drawn("line", { class: `interval ${tone}`, x1: x, x2: x, y1: middle - 4, y2: middle + 4 }));
        parts.push(edge(row.low, low, -1), edge(row.high, high, 1));
      }
      const x = this.at(row.ratio);
      parts.push(drawn("path", { class: `ratio ${tone}`, d: `M${x},${middle - 5}l5,5l-5,5l-5,-5z` }));
    }
    return this.frame(FOREST_HEIGHT, ...parts);
  }
}
