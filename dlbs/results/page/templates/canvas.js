// A uPlot plot in the colours of the page: redrawn when its width, the theme or the medium changes.
// Colours are distinct for all common kinds of colour blindness (Okabe and Ito 2008); markers also distinguish lines.
const LINE_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8A8A8A", "#7A5195"];
const MARKERS = ["circle", "square", "triangle", "diamond"];
const lineColour = (index) => LINE_COLOURS[index % LINE_COLOURS.length];
const markerOf = (index) => MARKERS[(index + Math.floor(index / LINE_COLOURS.length)) % MARKERS.length];

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

const axisOf = (label, more) => ({
  label, labelSize: 22, stroke: ink("--ink"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
  grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line"), width: 1 }, ...more,
});
