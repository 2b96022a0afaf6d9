// The named coordinates that came, and where the sliders stand.

const WELL = /^([A-Z]{1,2})([0-9]{1,3})$/;

/** Return what sorts wells row by row; nothing, if a word is not called like one. */
function wellKey(word) {
  const found = WELL.exec(word);
  return found && found[1].length * 1e6 + parseInt(found[1], 36) * 1e3 + Number(found[2]);
}

/** Numbers are kept sorted, before words in the order of their arrival; wells as on a plate. */
class Axis {
  constructor(name) {
    this.name = name;
    this.values = [];
    this.known = new Set();
    this.numbers = 0; // how many of the values are
    this.hasOthers = false; // whether some word is no well
  }

  add(value) {
    if (this.known.has(value)) return false;
    this.known.add(value);
    if (typeof value === "number") this.values.splice(this.placeOf(value), 0, value), this.numbers++;
    else this.values.splice(this.placeOfWord(value), 0, value);
    return true;
  }

  placeOfWord(word) {
    const key = wellKey(word);
    if (key === null) this.hasOthers = true;
    if (this.hasOthers) return this.values.length;
    let place = this.values.length;
    while (place > this.numbers && wellKey(this.values[place - 1]) > key) place--;
    return place;
  }

  placeOf(number) {
    let low = 0, high = this.numbers;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.values[middle] < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  indexOf(value) {
    if (typeof value !== "number") return Math.max(0, this.values.indexOf(value));
    return Math.min(this.placeOf(value), this.values.length - 1);
  }
}

export class Axes {
  constructor() {
    this.axes = new Map(); // the ones that came last stand first
    this.position = new Map(); // the value of each axis that is looked at
    this.isLive = true;
    this.version = 0; // of the axes, not of where they stand
  }

  /** Note that a value exists; an axis that is new stands there. */
  add(name, value) {
    let axis = this.axes.get(name);
    if (!axis) {
      axis = new Axis(name);
      this.axes = new Map([[name, axis], ...this.axes]);
      this.position.set(name, value);
    }
    if (axis.add(value)) this.version++;
  }

  /** Note where an item came, and go there if the newest is what is looked at. */
  came(at) {
    for (const [name, value] of Object.entries(at)) {
      this.add(name, value);
      if (this.isLive) this.position.set(name, value);
    }
  }

  /** Look at the value of an axis that stands at an index. */
  choose(name, index) {
    this.isLive = false;
    this.position.set(name, this.axes.get(name).values[index]);
  }
}
