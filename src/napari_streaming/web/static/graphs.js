// Metrics as lines: every pixel column shows the least and the greatest value in it.

import { make, short } from "./dom.js";

const HEIGHT = 60;
const DOT = 2.5; // radius
const COLOURS = ["#4fc3f7", "#ffb74d", "#aed581", "#f06292", "#ba68c8", "#fff176"];

export class Graphs {
  constructor(parent, metrics) {
    this.parent = parent;
    this.metrics = metrics;
    this.rows = new Map();
    new ResizeObserver(() => this.update()).observe(parent); // also when it is unfolded
  }

  update() {
    for (const [name, row] of this.rows) {
      if (this.metrics.has(name)) continue;
      row.figure.remove();
      this.rows.delete(name);
    }
    for (const [name, series] of this.metrics) {
      if (!this.rows.has(name)) this.add(name);
      this.show(this.rows.get(name), name, series);
    }
  }

  add(name) {
    const canvas = make("canvas", { height: HEIGHT, "aria-label": `graph of ${name}` });
    canvas.setAttribute("role", "img");
    const last = make("output");
    const log = make("input", { type: "checkbox", on: { change: () => this.update() } });
    const caption = make(
      "figcaption", {},
      make("span", { className: "name", textContent: name, title: name }), last,
      make("label", { className: "small" }, log, "log"),
    );
    const colour = COLOURS[this.rows.size % COLOURS.length];
    const figure = make("figure", {}, caption, canvas);
    this.rows.set(name, { figure, canvas, last, log, colour });
    this.parent.append(figure);
  }

  show({ canvas, last, log, colour }, name, { steps, values }) {
    last.textContent = short(values.at(-1));
    canvas.setAttribute("aria-label", `graph of ${name}, now ${short(values.at(-1))}`);
    const dense = window.devicePixelRatio;
    const width = canvas.clientWidth;
    if (!width) return; // folded away
    canvas.width = width * dense;
    canvas.height = HEIGHT * dense;
    const context = canvas.getContext("2d");
    context.scale(dense, dense);
    const heights = log.checked ? (v) => (v > 0 ? Math.log10(v) : NaN) : (v) => v;
    plot(context, width, steps, values, heights, colour);
  }
}

function plot(context, width, steps, values, heights, colour) {
  const [least, most] = extent(values.filter((value) => Number.isFinite(heights(value))));
  const left = labels(context, [most, least]);
  width -= left;
  const columns = Array.from({ length: width }, () => null);
  const [first, last] = extent(steps);
  const [low, high] = [heights(least), heights(most)];
  const room = width - DOT; // the newest value has a dot, which is not to be cut
  const place = (step) => (last > first ? Math.round(((step - first) / (last - first)) * (room - 1)) : 0);
  const y = (v) => 4 + (HEIGHT - 8) * (high > low ? 1 - (v - low) / (high - low) : 0.5);
  for (let i = 0; i < values.length; i++) {
    const value = heights(values[i]);
    if (!Number.isFinite(value)) continue;
    const column = (columns[place(steps[i])] ??= [value, value]);
    column[0] = Math.min(column[0], value);
    column[1] = Math.max(column[1], value);
  }
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  columns.forEach((column, x) => {
    if (!column) return;
    context.lineTo(left + x, y(column[0]));
    context.lineTo(left + x, y(column[1]));
  });
  context.stroke();
  const newest = heights(values.at(-1));
  if (!Number.isFinite(newest)) return;
  context.beginPath();
  context.arc(left + place(steps.at(-1)), y(newest), DOT, 0, 2 * Math.PI);
  context.fill();
}

/** Write the greatest and the least value; return how much room that takes on the left. */
function labels(context, [most, least]) {
  if (!(most >= least)) return 0;
  context.fillStyle = "#9aa3ad";
  context.font = "10px system-ui, sans-serif";
  const [above, below] = [short(most), short(least)];
  context.fillText(above, 3, 11);
  context.fillText(below, 3, HEIGHT - 4);
  return Math.ceil(Math.max(context.measureText(above).width, context.measureText(below).width)) + 8;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
