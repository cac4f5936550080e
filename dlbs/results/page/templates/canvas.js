// A uPlot plot in the colours of the page: redrawn when its width, the theme or the medium changes.
// Colours are distinct for all common kinds of colour blindness (Okabe and Ito 2008); markers also distinguish lines.
const COLOURS = 8;
const MARKERS = ["circle", "square", "triangle", "diamond"];
const seriesOf = (index) => `--series${index % COLOURS}`;
const lineColour = (index) => ink(seriesOf(index));
const markerOf = (index) => MARKERS[(index + Math.floor(index / COLOURS)) % MARKERS.length];

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawMarker(context, marker, x, y, size) {
  context.beginPath();
  if (marker === "circle") context.arc(x, y, size, 0, 2 * Math.PI);
  else if (marker === "square") context.rect(x - 0.9 * size, y - 0.9 * size, 1.8 * size, 1.8 * size);
  else if (marker === "triangle") { context.moveTo(x, y - 1.2 * size); context.lineTo(x + 1.1 * size, y + size); context.lineTo(x - 1.1 * size, y + size); context.closePath(); }
  else { context.moveTo(x, y - 1.3 * size); context.lineTo(x + 1.3 * size, y); context.lineTo(x, y + 1.3 * size); context.lineTo(x - 1.3 * size, y); context.closePath(); }
}

class Canvas {
  // host: an empty element; make: returns {options, data} for uPlot, called for each drawing
  constructor(host, height) {
    Object.assign(this, { host, height, plot: null, maker: null, width: 0 });
    const again = () => { if (this.maker && this.host.isConnected) this.show(this.maker); };
    new ResizeObserver(() => { if (Math.abs(this.host.clientWidth - this.width) > 1) again(); }).observe(host);
    for (const media of [isPrinted, matchMedia("(prefers-color-scheme: dark)")]) media.addEventListener("change", again);
    document.addEventListener("theme", again);
  }

  show(maker) {
    this.maker = maker;
    this.width = this.host.clientWidth;  // makes the browser lay out the page: with the old plot, or the page would become shorter and scroll
    if (this.width) this.host.style.minHeight = `${this.height}px`;  // uPlot takes its size after the script has ended: until then, what follows would be too high
    this.destroy();
    if (!this.width) return;
    const { options, data } = maker();
    this.plot = new uPlot({ width: this.width, height: this.height, legend: { show: false }, ...options }, data, this.host);
  }

  destroy() {
    if (this.plot) this.plot.destroy();
    this.plot = null;
  }

  clear() {
    this.destroy();
    this.maker = null;
    this.host.style.minHeight = "";
  }
}

// Whether values are better shown on a logarithmic axis, as in plots of files.
const isWide = (values) => values.length > 0 && Math.min(...values) > 0 && Math.max(...values) > 30 * Math.min(...values);

// A few round numbers on a logarithmic axis: powers of ten or, if these are fewer than three, also 2 and 5 times these.
function logTicks(plot, axis, low, high) {
  const powers = Array.from({ length: Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1 }, (_, at) => Math.floor(Math.log10(low)) + at);
  let ticks = [];
  for (const digits of [[1], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    ticks = powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`))).filter((tick) => tick >= low && tick <= high);
    if (ticks.length >= 3) break;
  }
  const step = Math.ceil(ticks.length / 8);
  return ticks.filter((_, at) => at % step === 0);
}
const logAxis = { splits: logTicks, filter: (_, splits) => splits, values: (_, splits) => splits.map((value) => value.toLocaleString("en-US", { maximumSignificantDigits: 6 })) };

const axisOf = (label, more) => ({
  label, labelSize: 22, stroke: ink("--ink"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
  grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line"), width: 1 }, ...more,
});

// A vertical axis with room for the longest number.
const sideAxis = (label, more) => axisOf(label, {
  size: (plot, values) => 28 + 7 * Math.max(2, ...(values || []).map((value) => String(value ?? "").length)), ...more,
});
