// The list of layers, and how each is shown: the one on top comes first, as on the canvas.

import { NAMES, swatch } from "./colormaps.js";
import { make, short } from "./dom.js";
import { colourOf } from "./overlay.js";

const SYMBOLS = {
  image: "▦", labels: "◕", points: "⁘", shapes: "⬠", tracks: "⤳", vectors: "↗", surface: "△",
};
const BLENDINGS = ["translucent", "additive", "opaque"];

export class LayerList {
  constructor(parent, layers, changed) {
    this.parent = parent;
    this.layers = layers;
    this.changed = changed;
    this.rows = new Map();
  }

  update() {
    for (const layer of this.layers.values()) {
      if (!this.rows.has(layer)) this.add(layer);
      this.rows.get(layer)();
    }
  }

  add(layer) {
    const visible = make("input", {
      type: "checkbox", checked: layer.visible && layer.isShown, disabled: !layer.isShown,
      "aria-label": `show ${layer.name}`,
      on: { change: () => this.set(layer, { visible: visible.checked }) },
    });
    const chip = make("span", { className: "chip" });
    const symbol = make("span", {
      className: "symbol", textContent: SYMBOLS[layer.kind], title: layer.kind,
      role: "img", "aria-label": layer.kind,
    });
    const name = make("span", { className: "name", textContent: layer.name, title: layer.name });
    const head = make("summary", {}, chip, symbol, name);
    const details = make("details", { open: !layer.isShown }, head);
    const [fields, show] = this.fields(layer);
    details.append(...fields);
    this.parent.prepend(make("li", {}, visible, details));
    this.rows.set(layer, () => {
      chip.style.background = layer.kind === "image" && !layer.declare.rgb
        ? swatch(layer.colormap)
        : layer.hasPlanes ? "conic-gradient(#e55, #ee5, #5e5, #5ee, #55e, #e5e, #e55)"
        : colourOf(this.layers, layer);
      show();
    });
  }

  /** Return a layer's fields, and what brings them up to date. */
  fields(layer) {
    if (!layer.isShown) {
      const why = `The browser draws no ${layer.kind}s; napari does.`;
      return [[make("p", { className: "faint", textContent: why })], () => {}];
    }
    const opacity = this.slider("opacity", 0, 1, () => layer.opacity, (v) => ({ opacity: v }), layer);
    const all = [opacity];
    if (layer.hasPlanes) all.push(this.choice("blending", BLENDINGS, layer));
    if (layer.kind === "image" && !layer.declare.rgb) {
      const names = NAMES.includes(layer.colormap) ? NAMES : [layer.colormap, ...NAMES];
      all.push(this.choice("colormap", names, layer), ...this.limits(layer));
    }
    return [all.map((one) => one.row), () => all.forEach((one) => one.show())];
  }

  limits(layer) {
    const low = () => layer.limits?.[0] ?? 0;
    const high = () => layer.limits?.[1] ?? 1;
    const set = (a, b) => ({ limits: a < b ? [a, b] : layer.limits, isAuto: false });
    const auto = make("button", {
      type: "button", textContent: "auto", "aria-label": `contrast of ${layer.name} from the data`,
      on: { click: () => this.set(layer, { limits: null, range: null, isAuto: true }) },
    });
    return [
      this.slider("darkest", 0, 1, low, (v) => set(v, high()), layer, () => layer.range),
      this.slider("brightest", 0, 1, high, (v) => set(low(), v), layer, () => layer.range),
      { row: make("div", { className: "field" }, make("span", { textContent: "contrast" }), auto),
        show: () => auto.setAttribute("aria-pressed", layer.isAuto) },
    ];
  }

  slider(title, min, max, get, change, layer, range = () => [min, max]) {
    const value = make("output");
    const input = make("input", {
      type: "range", step: "any", "aria-label": `${title} of ${layer.name}`,
      on: { input: () => this.set(layer, change(input.valueAsNumber)) },
    });
    const row = make("label", { className: "field" }, make("span", { textContent: title }), input, value);
    const show = () => {
      [input.min, input.max] = range() ?? [0, 1];
      input.valueAsNumber = get();
      value.textContent = short(get());
    };
    return { row, show };
  }

  choice(title, names, layer) {
    const options = names.map((name) => make("option", { value: name, textContent: name }));
    const select = make("select", {
      "aria-label": `${title} of ${layer.name}`,
      on: { change: () => this.set(layer, { [title]: select.value }) },
    }, ...options);
    const row = make("label", { className: "field" }, make("span", { textContent: title }), select);
    return { row, show: () => { select.value = layer[title]; } };
  }

  set(layer, properties) {
    Object.assign(layer, properties);
    this.update();
    this.changed();
  }
}
