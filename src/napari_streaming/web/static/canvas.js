// The canvas: the layers that are visible, at the coordinates where the sliders stand.

import { Camera } from "./camera.js";
import { short } from "./dom.js";
import { colourOf, drawSets, transform } from "./overlay.js";
import { Renderer } from "./renderer.js";
import { numbers } from "./wire.js";

const SAMPLES = 65536; // pixels that contrast limits are taken from

export class Canvas {
  constructor(view, planes, sets, store, readout) {
    this.store = store;
    this.view = view;
    this.planes = planes;
    this.sets = sets;
    this.readout = readout;
    this.renderer = new Renderer(planes);
    this.camera = new Camera(view, () => this.ask());
    this.shown = [];
    this.looked = () => {}; // called with what is shown and the zoom, whenever it was drawn
    this.drawn = 0; // how often
    this.renewed = 0; // how often something new was drawn
    this.latency = NaN; // of the newest item that is on the canvas, in seconds
    this.newest = 0; // number of the last item that was on the canvas
    new ResizeObserver(() => this.ask()).observe(view);
    view.addEventListener("pointermove", (event) => this.tell(event));
    view.addEventListener("pointerleave", () => { readout.textContent = ""; });
  }

  /** Have everything drawn before the screen shows its next picture. */
  ask() {
    this.asked ??= requestAnimationFrame(() => {
      this.asked = undefined;
      this.draw();
    });
  }

  draw() {
    const { store, camera } = this;
    const layers = [...store.layers.values()].filter((layer) => layer.visible && layer.isShown);
    const found = layers.map((layer) => [layer, layer.at(store.axes)]);
    this.shown = found.flatMap(([layer, pieces]) =>
      layer.hasPlanes ? pieces.map((piece) => this.slice(layer, piece)) : [],
    );
    for (const entry of this.shown) setLimits(entry);
    camera.fit(extent(this.shown.map(({ piece }) => piece)) ?? setsExtent(found) ?? [0, 0, 1, 1]);
    this.resize();
    this.renderer.keepOnly(new Set(store.layers.values()));
    this.renderer.draw(this.shown, (piece) => this.onScreen(piece));
    this.drawSets(found.filter(([layer]) => !layer.hasPlanes));
    this.note(found.flatMap(([, pieces]) => pieces));
    this.looked(this.shown, camera.zoom);
  }

  resize() {
    const { clientWidth, clientHeight } = this.view;
    const dense = window.devicePixelRatio;
    const [width, height] = [Math.round(clientWidth * dense), Math.round(clientHeight * dense)];
    for (const canvas of [this.planes, this.sets]) {
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
    }
  }

  drawSets(found) {
    this.sets.hidden = !found.length; // an empty canvas would still cost time
    if (!found.length) return;
    const context = this.sets.getContext("2d");
    context.setTransform(window.devicePixelRatio, 0, 0, window.devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.view.clientWidth, this.view.clientHeight);
    const place = (y, x) => this.camera.onCanvas(y, x);
    for (const [layer, pieces] of found) {
      const colour = colourOf(this.store.layers, layer);
      drawSets(context, layer, pieces, this.store.axes, place, this.camera.zoom, colour);
    }
  }

  /** Choose the slice of a volume that the sliders stand at. */
  slice(layer, piece) {
    const { position } = this.store.axes;
    const slice = layer.innerAxes.reduce((index, name, i) => {
      const at = Math.round((position.get(name) - piece.translate[i]) / piece.scale[i]);
      return index * piece.shape[i] + Math.max(0, Math.min(at, piece.shape[i] - 1));
    }, 0);
    return { layer, piece, slice };
  }

  /** Return a plane's edges from -1 to 1: left, top, right, bottom. */
  onScreen(piece) {
    const [top, left, bottom, right] = edges(piece);
    const { clientWidth: width, clientHeight: height } = this.view;
    const [y0, x0] = this.camera.onCanvas(top, left);
    const [y1, x1] = this.camera.onCanvas(bottom, right);
    return [(2 * x0) / width - 1, 1 - (2 * y0) / height, (2 * x1) / width - 1, 1 - (2 * y1) / height];
  }

  /** Note how late what is new on the canvas is; what was scrolled back to is not new. */
  note(pieces) {
    this.drawn++;
    const newest = Math.max(...pieces.map((piece) => piece.arrived), this.newest);
    if (newest === this.newest) return;
    this.newest = newest;
    this.renewed++;
    const { published } = pieces.find((piece) => piece.arrived === newest);
    this.latency = (performance.timeOrigin + performance.now()) / 1000 - published;
  }

  tell(event) {
    const [y, x] = this.camera.inWorld(event.offsetY, event.offsetX);
    const values = this.shown.map((entry) => valueAt(entry, y, x)).filter(Boolean);
    this.readout.textContent = [`y ${short(y)}, x ${short(x)}`, ...values].join("   ");
  }
}

/** Return the world's coordinates of a plane's edges: pixels are centred on theirs. */
export function edges(piece) {
  const [height, width] = piece.full;
  const [sy, sx] = piece.scale.slice(-2);
  const [ty, tx] = piece.translate.slice(-2);
  return [ty - sy / 2, tx - sx / 2, ty + sy * (height - 0.5), tx + sx * (width - 0.5)];
}

function lengths(piece) {
  const { rgb } = piece.layer.declare;
  return rgb ? piece.shape.slice(-3, -1) : piece.shape.slice(-2);
}

function extent(pieces) {
  return pieces.map(edges).reduce(union, null);
}

function union(all, one) {
  if (!all) return one;
  return [...all.slice(0, 2).map((v, i) => Math.min(v, one[i])),
    ...all.slice(2).map((v, i) => Math.max(v, one[i + 2]))];
}

function setsExtent(found) {
  let all = null;
  for (const [layer, pieces] of found) {
    const [scale, translate] = transform(layer.declare);
    const n = layer.declare.axes.length;
    const { length, lead } = layer.row;
    const add = (row) => {
      const [y, x] = [n - 2, n - 1].map((axis) => row(axis) * scale[axis] + translate[axis]);
      if (Number.isFinite(y + x)) all = union(all, [y - 5, x - 5, y + 5, x + 5]);
    };
    for (const { data } of pieces.flatMap((piece) => piece.parts)) {
      for (let i = lead; i < data.length; i += length) {
        add((axis) => data[i + axis]);
        if (layer.kind === "vectors") add((axis) => data[i + axis] + data[i + n + axis]);
      }
    }
  }
  return all;
}

/** Let contrast limits follow the data until somebody sets them. */
function setLimits({ layer, piece, slice }) {
  if (layer.kind !== "image" || layer.declare.rgb) return;
  if (!layer.isAuto && layer.range) return widen(layer);
  if (piece.limited === slice && layer.limits) return undefined;
  piece.limited = slice;
  const [height, width] = lengths(piece);
  const all = piece.data.subarray(slice * height * width, (slice + 1) * height * width);
  const step = Math.max(1, Math.floor(all.length / SAMPLES) | 1);
  let low = Infinity, high = -Infinity;
  const values = step > 1 ? all.filter((_, i) => i % step === 0) : all;
  for (const value of numbers(values, layer.declare.dtype)) {
    if (value < low) low = value;
    if (value > high && value < Infinity) high = value;
  }
  if (!(low <= high)) return undefined;
  const [before, after] = layer.limits ?? [low, high];
  layer.limits = [Math.min(low, before), Math.max(high, after)];
  if (layer.limits[0] === layer.limits[1]) layer.limits[1] = layer.limits[0] + 1;
  layer.range = layer.limits;
  return undefined;
}

function widen(layer) {
  const [low, high] = layer.limits;
  layer.range = [Math.min(low, layer.range[0]), Math.max(high, layer.range[1])];
}

function valueAt({ layer, piece, slice }, y, x) {
  const [top, left, bottom, right] = edges(piece);
  const [height, width] = lengths(piece);
  const [rows, columns] = piece.full;
  const row = Math.floor((((y - top) / (bottom - top)) * rows) / piece.step);
  const column = Math.floor((((x - left) / (right - left)) * columns) / piece.step);
  if (!(row >= 0 && row < height && column >= 0 && column < width)) return "";
  const channels = layer.declare.rgb ? piece.shape.at(-1) : 1;
  const at = ((slice * height + row) * width + column) * channels;
  const pixel = numbers(piece.data.subarray(at, at + channels), layer.declare.dtype);
  return `${layer.name} ${Array.from(pixel, short).join(", ")}`;
}
