// The program itself: its progress, the buttons that steer it, and its parameters.

import { byId, make, short } from "./dom.js";

/** Say whether a program runs, and who stopped or paused it. */
const told = ({ state, by }) => (by && state !== "running" ? `${state} by ${by}` : state);

/** The buttons, and what they are for. */
const ACTIONS = {
  pause: "Pause the program (space)",
  resume: "Let the program go on (space)",
  step: "Let the program take one step, and wait",
  stop: "Have the program end, for good",
};

export class Program {
  constructor(parent, store, session) {
    this.parent = parent;
    this.store = store;
    this.session = session;
    this.rows = new Map();
    for (const action of Object.keys(ACTIONS)) {
      byId(action).addEventListener("click", () => this.control(action));
    }
  }

  wish(message) {
    if (!this.session.obstacle) this.session.send(message);
  }

  control(action) {
    this.wish({ type: "control", action });
  }

  /** Pause a program that runs, and let one that is paused go on. */
  toggle() {
    const state = this.store.program.running?.state;
    if (state === "running") this.control("pause");
    if (state === "paused") this.control("resume");
  }

  update() {
    const { running, progress, parameters } = this.store.program;
    byId("steering").hidden = !running;
    byId("running").textContent = running && this.session.isOpen
      ? [told(running), running.note].filter(Boolean).join(": ")
      : "";
    this.showPauseOrResume(running);
    byId("step").disabled = byId("stop").disabled = running?.state === "stopping";
    this.showObstacle();
    this.showProgress(progress);
    for (const [name, row] of this.rows) {
      if (parameters.has(name)) continue;
      row.element.remove();
      this.rows.delete(name);
    }
    for (const parameter of parameters.values()) this.parameter(parameter);
    byId("program").hidden = !(running || progress || parameters.size);
  }

  /** Show one of the two; who pressed the other one by keyboard is on this one then. */
  showPauseOrResume(running) {
    const [pause, resume] = [byId("pause"), byId("resume")];
    const had = document.activeElement;
    pause.hidden = running?.state !== "running";
    resume.hidden = running?.state !== "paused";
    if (had === pause && pause.hidden) resume.focus();
    if (had === resume && resume.hidden) pause.focus();
  }

  /** Say why nothing can be wished now. */
  showObstacle() {
    const { obstacle } = this.session;
    byId("wishes").disabled = Boolean(obstacle);
    byId("obstacle").textContent = obstacle;
    for (const [action, about] of Object.entries(ACTIONS)) byId(action).title = obstacle || about;
  }

  showProgress(progress) {
    byId("progress").hidden = !progress;
    if (!progress) return;
    const bar = byId("bar");
    const { done, total = 0, text = "" } = progress;
    if (total > 0) {
      bar.max = total;
      bar.value = Math.min(done, total);
    } else bar.removeAttribute("value");
    const share = total > 0 ? `${Math.round((100 * done) / total)} %` : "";
    byId("progress-text").textContent = [`${short(done)}${total ? ` of ${short(total)}` : ""}`, share, text]
      .filter(Boolean).join(" · ");
  }

  parameter(parameter) {
    if (!this.rows.has(parameter.name)) {
      const row = this.makeRow(parameter);
      this.rows.set(parameter.name, row);
      this.parent.append(row.element);
    }
    const { element, show } = this.rows.get(parameter.name);
    const { name, by } = parameter;
    element.title = this.session.obstacle || (by ? `${name}: set by ${by}` : name);
    show(parameter);
  }

  makeRow({ name, kind, minimum, maximum, choices = [] }) {
    const value = make("output");
    const set = (given) => this.wish({ type: "setparameter", name, value: given });
    const label = make("span", { className: "name", textContent: name });
    const [input, show] = this.input(kind, set, { name, minimum, maximum, choices });
    const both = input.type === "range" ? [input, value] : [input];
    const element = make(kind === "button" ? "div" : "label", { className: "field" }, label, ...both);
    return {
      element,
      show: (parameter) => {
        if (document.activeElement !== input || input.type === "range") show(parameter);
        value.textContent = short(parameter.value);
      },
    };
  }

  /** Return the element that sets a parameter, and what shows its value there. */
  input(kind, set, { name, minimum, maximum, choices }) {
    const about = { "aria-label": name };
    if (kind === "button") {
      const button = make("button", {
        type: "button", textContent: "press", "aria-label": `press ${name}`,
        on: { click: () => set(true) },
      });
      return [button, () => {}];
    }
    if (kind === "bool") {
      const box = make("input", { ...about, type: "checkbox", on: { change: () => set(box.checked) } });
      return [box, ({ value }) => { box.checked = value; }];
    }
    if (kind === "choice") {
      const options = choices.map((one) => make("option", { value: one, textContent: one }));
      const select = make("select", { ...about, on: { change: () => set(select.value) } }, ...options);
      return [select, ({ value }) => { select.value = value; }];
    }
    if (kind === "text") {
      const text = make("input", { ...about, type: "text", on: { change: () => set(text.value) } });
      return [text, ({ value }) => { text.value = value; }];
    }
    const isSlider = minimum !== null && maximum !== null;
    const number = make("input", {
      ...about, type: isSlider ? "range" : "number", step: kind === "int" ? 1 : "any",
      min: minimum ?? "", max: maximum ?? "",
      on: { [isSlider ? "input" : "change"]: () => number.value !== "" && set(number.valueAsNumber) },
    });
    return [number, ({ value }) => { number.valueAsNumber = value; }];
  }
}
