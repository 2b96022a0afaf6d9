// A slider for each axis that has more than one value.

import { make, short } from "./dom.js";

export class Sliders {
  constructor(parent, axes, changed) {
    this.parent = parent;
    this.axes = axes;
    this.changed = changed;
    this.rows = new Map();
  }

  /** Show what there is and where it stands. */
  update() {
    for (const [name, axis] of this.axes.axes) {
      if (axis.values.length > 1 && !this.rows.has(name)) this.add(name);
    }
    const order = [...this.axes.axes.keys()].filter((name) => this.rows.has(name));
    order.forEach((name, i) => {
      const { row } = this.rows.get(name);
      if (this.parent.children[i] !== row) this.parent.insertBefore(row, this.parent.children[i]);
      this.show(name);
    });
  }

  add(name) {
    const choose = (index) => {
      this.axes.choose(name, index);
      this.show(name);
      this.changed();
    };
    const slider = make("input", {
      type: "range", min: 0, step: 1, "aria-label": name,
      on: { input: () => choose(slider.valueAsNumber) },
    });
    const value = make("output");
    const label = make("span", { className: "name", textContent: name, title: name });
    const row = make("label", { className: "slider" }, label, slider, value);
    this.rows.set(name, { row, slider, value });
  }

  show(name) {
    const { slider, value } = this.rows.get(name);
    const axis = this.axes.axes.get(name);
    const position = this.axes.position.get(name);
    slider.max = axis.values.length - 1;
    slider.valueAsNumber = axis.indexOf(position);
    const text = `${short(position)} · ${slider.valueAsNumber + 1}/${axis.values.length}`;
    if (value.textContent !== text) value.textContent = text;
    slider.setAttribute("aria-valuetext", short(position));
  }
}
