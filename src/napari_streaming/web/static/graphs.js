// Metrics as lines: every pixel column shows the least and the greatest value in it.

import { make, short } from "./dom.js";

const HEIGHT = 72;
const COLOURS = ["#4fc3f7", "#ffb74d", "#aed581", "#f06292", "#ba68c8", "#fff176"];

export class Graphs {
  constructor(parent, metrics) {
    this.parent = parent;
    this.metrics = metrics;
    this.rows = new Map();
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
  const columns = Array.from({ length: width }, () => null);
  const [first, last] = extent(steps);
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = heights(values[i]);
    if (!Number.isFinite(value)) continue;
    const x = last > first ? Math.round(((steps[i] - first) / (last - first)) * (width - 1)) : 0;
    const column = (columns[x] ??= [value, value]);
    column[0] = Math.min(column[0], value);
    column[1] = Math.max(column[1], value);
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const y = (v) => 4 + (HEIGHT - 8) * (high > low ? 1 - (v - low) / (high - low) : 0.5);
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  columns.forEach((column, x) => {
    if (!column) return;
    context.lineTo(x, y(column[0]));
    context.lineTo(x, y(column[1]));
  });
  context.stroke();
  const undo = (v) => (heights(10) === 1 ? 10 ** v : v);
  context.fillStyle = "#9aa3ad";
  context.font = "10px system-ui, sans-serif";
  if (high >= low) {
    context.fillText(short(undo(high)), 2, 10);
    context.fillText(short(undo(low)), 2, HEIGHT - 2);
  }
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
