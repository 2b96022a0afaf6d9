// What came: layers with their planes and sets, metrics, the log, and what was lost.

import { Axes } from "./axes.js";
import { numbers } from "./wire.js";

const BUDGET = (navigator.deviceMemory ?? 4) * 96 * 1024 * 1024; // of planes and sets
const MOST_VALUES = 200000; // of a metric
const MOST_LINES = 500; // of the log
const PLANES = new Set(["image", "labels"]);
const SHOWN = new Set(["image", "labels", "points", "shapes", "vectors", "tracks"]);
const COLORS = ["magenta", "green", "cyan", "yellow", "blue", "red"];

const keyOf = (at, set = "") => JSON.stringify([set, ...Object.entries(at).sort(byName)]);
const byName = ([a], [b]) => (a < b ? -1 : 1);

/** A layer: what was declared, how it is shown, and the planes or sets that are here. */
class Layer {
  constructor(name, declare) {
    this.name = name;
    this.declare = declare;
    this.kind = declare.kind;
    this.hasPlanes = PLANES.has(declare.kind);
    this.isShown = SHOWN.has(declare.kind);
    this.pieces = new Map(); // by their coordinates and the key of their set
    this.sorts = new Map(); // names of coordinates and keys that pieces have, most names first
    this.visible = true;
    this.opacity = declare.kind === "labels" ? 0.7 : 1;
    this.colormap = declare.colormap || "gray";
    this.blending = "translucent";
    this.limits = declare.contrast_limits;
    this.range = declare.contrast_limits; // that the sliders have
    this.isAuto = !declare.contrast_limits;
  }

  takes(declare) {
    const same = (name) => JSON.stringify(this.declare[name]) === JSON.stringify(declare[name]);
    return ["kind", "dtype", "shape", "axes", "rgb"].every(same);
  }

  /** Return the names of a plane's own axes that sliders move along. */
  get innerAxes() {
    return this.isShown ? this.declare.axes.slice(0, -2) : [];
  }

  /** Return how many numbers a row of a set has, and how many of them stand before its place. */
  get row() {
    const n = this.declare.axes.length;
    if (this.kind === "tracks") return { length: n + 1, lead: 1 };
    return { length: this.kind === "vectors" ? 2 * n : n, lead: 0 };
  }

  add(piece) {
    const names = Object.keys(piece.at).sort();
    const sort = JSON.stringify([piece.set, names]);
    if (!this.sorts.has(sort)) {
      const all = [...this.sorts.values(), { names, set: piece.set }];
      this.sorts = new Map(
        all
          .sort((a, b) => b.names.length - a.names.length)
          .map((one) => [JSON.stringify([one.set, one.names]), one]),
      );
    }
    this.pieces.set(piece.key, piece);
  }

  /** Return the pieces at a position; of planes the one that says most about where it is. */
  at({ position }) {
    const found = [];
    for (const { names, set } of this.sorts.values()) {
      const at = Object.fromEntries(names.map((name) => [name, position.get(name)]));
      const piece = this.pieces.get(keyOf(at, set));
      if (piece) found.push(piece);
    }
    return this.hasPlanes ? found.slice(0, 1) : found;
  }
}

export class Store {
  constructor() {
    this.axes = new Axes();
    this.layers = new Map();
    this.streams = new Map(); // layers, by the number of the stream
    this.metrics = new Map();
    this.log = [];
    this.program = { running: null, progress: null, parameters: new Map() };
    this.arrivals = []; // [time, bytes] of the last seconds
    this.count = 0; // of items that ever came
    this.connected = 0; // when, in seconds of our clock
    this.dropped = 0;
    this.held = 0;
    this.budget = BUDGET;
    this.order = new Set(); // of all pieces, the oldest first
    this.version = { layers: 0, metrics: 0, log: 0, program: 0 };
  }

  opened(isNewRun, now) {
    this.connected = now;
    this.streams.clear();
    if (!isNewRun) return;
    this.metrics.clear();
    this.program = { running: null, progress: null, parameters: new Map() };
    this.version.program++;
  }

  /** Take in a message; return a complaint about it, if there is one. */
  take(message, now, offset) {
    switch (message.type) {
      case "declare": return this.declare(message);
      case "item": return this.item(message, now, offset);
      case "metric": return this.metric(message);
      case "status": return this.say(message.level, message.text, message.time - offset);
      case "problem":
        return this.say(message.code === "gone" ? "info" : "warning", message.text, now);
      case "gap": return this.gap(message);
      case "end": return this.say("complete", "the program has ended", now);
      case "running": return this.running(message, now);
      case "progress": this.program.progress = message; break;
      case "parameter": this.program.parameters.set(message.name, message); break;
      default: return undefined; // an outline, another publisher
    }
    this.version.program++;
    return undefined;
  }

  declare(message) {
    let name = message.name, revision = 1;
    while (this.layers.has(name) && !this.layers.get(name).takes(message)) {
      name = `${message.name} [${++revision}]`;
    }
    if (!this.layers.has(name)) this.addLayer(new Layer(name, message));
    this.streams.set(message.stream, this.layers.get(name));
  }

  addLayer(layer) {
    const images = [...this.layers.values()].filter((other) => other.kind === "image");
    if (layer.kind === "image" && images.length && !layer.declare.rgb) {
      layer.blending = "additive";
      if (!layer.declare.colormap) layer.colormap = COLORS[(images.length - 1) % COLORS.length];
    }
    this.layers.set(layer.name, layer);
    this.version.layers++;
  }

  item(message, now, offset) {
    const layer = this.streams.get(message.stream);
    if (!layer) throw new Error(`stream ${message.stream} was never declared`);
    const size = message.arrays.reduce((sum, array) => sum + array.nbytes, 0);
    this.arrivals.push([now, size]);
    const arrived = message.again ? 0 : ++this.count; // what comes again is not new
    const arrays = Object.fromEntries(message.arrays.map((array) => [array.name, array]));
    const problem = mismatch(layer, message, arrays);
    if (problem) return `${layer.name}, item ${message.sequence}: ${problem}`;
    // What was published before there was a connection did not wait for this viewer.
    const published = Math.max(message.time - offset, this.connected);
    const pieces = layer.hasPlanes
      ? planes(layer, message, arrays.data)
      : [set(layer, message, arrays)];
    for (const piece of pieces) this.keep(layer, Object.assign(piece, { published, arrived, layer }));
    return undefined;
  }

  keep(layer, piece) {
    const before = layer.pieces.get(piece.key);
    if (before) {
      this.forget(before);
      if (piece.offset?.length) patch(piece, before);
      if (piece.isAppended) piece.parts = [...before.parts, ...piece.parts];
    } else if (piece.offset?.length) patch(piece, null);
    piece.nbytes = piece.data?.byteLength ?? piece.parts.reduce((sum, part) => sum + part.nbytes, 0);
    layer.add(piece);
    this.order.add(piece);
    this.held += piece.nbytes;
    for (const oldest of this.order) {
      if (this.held <= this.budget || this.order.size === 1) break;
      this.forget(oldest);
    }
    noteInner(this.axes, layer, piece);
    if (piece.arrived) this.axes.came(piece.at);
  }

  forget(piece) {
    if (!this.order.delete(piece)) return;
    this.held -= piece.nbytes;
    piece.layer.pieces.delete(piece.key);
  }

  metric({ name, steps, values }) {
    const known = this.metrics.get(name) ?? { steps: [], values: [] };
    this.metrics.set(name, known);
    for (let i = 0; i < steps.length; i++) {
      known.steps.push(steps[i]);
      known.values.push(values[i]);
    }
    const excess = known.steps.length - MOST_VALUES;
    if (excess > 0) {
      known.steps.splice(0, excess + MOST_VALUES / 10);
      known.values.splice(0, excess + MOST_VALUES / 10);
    }
    this.version.metrics++;
  }

  running(message, now) {
    const before = this.program.running;
    this.program.running = message;
    this.version.program++;
    const { state, by, note } = message;
    if (before && (by || note) && before.state !== state) {
      const did = state === "running" ? "resumed" : state;
      this.say("info", [by ? `${did} by ${by}` : did, note].filter(Boolean).join(": "), now);
    }
  }

  gap({ count }) {
    this.dropped += count;
  }

  say(level, text, time) {
    this.log.push({ level, text, time });
    if (this.log.length > MOST_LINES) this.log.shift();
    this.version.log++;
  }

  /** Return how many items and bytes came in each of the last two seconds. */
  rate(now) {
    while (this.arrivals.length && this.arrivals[0][0] < now - 2) this.arrivals.shift();
    const bytes = this.arrivals.reduce((sum, [, size]) => sum + size, 0);
    return { items: this.arrivals.length / 2, bytes: bytes / 2 };
  }
}

/** Return why an item is none of its stream; nothing if it is one. */
function mismatch({ declare, hasPlanes }, { along, offset, step }, { data }) {
  if (data?.dtype !== declare.dtype) return `data of ${data?.dtype}, not ${declare.dtype}`;
  if (!hasPlanes) return "";
  const steps = stepsOf(declare, step);
  const lead = Object.values(along ?? {}).map((values) => values.length);
  const own = data.shape.slice(lead.length);
  const end = own.map((n, i) => (n - 1) * steps[i] + 1 + (offset?.[i] ?? 0));
  const whole = declare.shape.map((n, i) => Math.ceil(n / steps[i]));
  const fits = offset?.length
    ? end.every((n, i) => n <= declare.shape[i])
    : String(own) === String(whole);
  const isWhole = own.length === declare.shape.length && lead.every((n, i) => n === data.shape[i]);
  return fits && isWhole ? "" : `a shape of ${data.shape} instead of ${declare.shape}`;
}

/** Return how many pixels along each axis of a plane one pixel of an item stands for. */
function stepsOf({ shape, axes }, step = 1) {
  return shape.map((_, i) => (i === axes.length - 2 || i === axes.length - 1 ? step : 1));
}

function planes(layer, item, array) {
  const { declare } = layer;
  const along = Object.entries(item.along ?? {});
  const shape = array.shape.slice(along.length);
  const size = shape.reduce((product, n) => product * n, 1);
  return places(along).map((place, i) => {
    const at = { ...item.at, ...place };
    return {
      at, shape, set: "", key: keyOf(at), offset: item.offset, layer,
      stream: item.stream, step: item.step ?? 1,
      full: declare.shape.slice(declare.axes.length - 2, declare.axes.length),
      data: array.data.subarray(i * size, (i + 1) * size),
      scale: pick(item.scale, declare.scale, declare.axes, 1),
      translate: pick(item.translate, declare.translate, declare.axes, 0),
    };
  });
}

/** Return all combinations of named values, the last name fastest. */
function places(along) {
  return along.reduce(
    (made, [name, values]) => made.flatMap((one) => values.map((v) => ({ ...one, [name]: v }))),
    [{}],
  );
}

function pick(own, declared, axes, otherwise) {
  if (own?.length) return own;
  return declared?.length ? declared : axes.map(() => otherwise);
}

/** Make a part of a plane a whole one, over what was there. */
function patch(piece, before) {
  const whole = piece.layer.declare.shape;
  const { offset } = piece;
  const { shape, data } = enlarged(piece, offset);
  const result = new data.constructor(whole.reduce((product, n) => product * n, 1));
  if (before) result.set(enlarged(before, []).data);
  const inner = shape.slice(offset.length).reduce((product, n) => product * n, 1);
  const run = shape[offset.length - 1] * inner;
  const rows = shape.slice(0, offset.length - 1);
  const count = rows.reduce((product, n) => product * n, 1);
  for (let row = 0; row < count; row++) {
    let rest = row, target = 0, stride = 1;
    const indices = rows.map(() => 0);
    for (let axis = rows.length - 1; axis >= 0; axis--) {
      indices[axis] = offset[axis] + (rest % rows[axis]);
      rest = Math.floor(rest / rows[axis]);
    }
    [...indices, offset.at(-1)].reverse().forEach((index, i) => {
      target += index * stride * inner;
      stride *= whole[offset.length - 1 - i];
    });
    result.set(data.subarray(row * run, (row + 1) * run), target);
  }
  Object.assign(piece, { data: result, shape: whole, step: 1 });
}

/** Return the pixels of a piece with one for each that they stand for, and their shape. */
function enlarged({ layer: { declare }, data, shape, step }, offset) {
  if (step === 1) return { data, shape };
  const steps = stepsOf(declare, step);
  const full = shape.map((n, i) => Math.min(n * steps[i], declare.shape[i] - (offset[i] ?? 0)));
  const y = declare.axes.length - 2;
  const inner = shape.slice(y + 2).reduce((product, n) => product * n, 1);
  const [rows, columns] = full.slice(y);
  const count = full.slice(0, y).reduce((product, n) => product * n, 1);
  const made = new data.constructor(count * rows * columns * inner);
  for (let plane = 0, to = 0; plane < count; plane++) {
    for (let row = 0; row < rows; row++) {
      const line = (plane * shape[y] + Math.floor(row / step)) * shape[y + 1];
      for (let column = 0; column < columns; column++) {
        const from = (line + Math.floor(column / step)) * inner;
        for (let channel = 0; channel < inner; channel++) made[to++] = data[from + channel];
      }
    }
  }
  return { data: made, shape: full };
}

function set(layer, item, arrays) {
  const name = item.key ?? "";
  const part = { nbytes: 0 };
  for (const [column, array] of Object.entries(arrays)) {
    if (column.startsWith("features/")) continue;
    part[column] = numbers(array.data, array.dtype);
    part.nbytes += part[column].byteLength;
  }
  return { at: item.at, set: name, key: keyOf(item.at, name), parts: [part], isAppended: item.append };
}

/** Note the places of a volume's slices, or of sets along axes that sliders have. */
function noteInner(axes, layer, piece) {
  layer.innerAxes.forEach((name, i) => {
    if (layer.hasPlanes) {
      for (let n = 0; n < piece.shape[i]; n++) {
        axes.add(name, piece.translate[i] + n * piece.scale[i]);
      }
      return;
    }
    const { length, lead } = layer.row;
    const { data } = piece.parts.at(-1);
    for (let at = lead + i; at < data.length; at += length) {
      if (Number.isFinite(data[at])) axes.add(name, Math.round(data[at]));
    }
  });
}
