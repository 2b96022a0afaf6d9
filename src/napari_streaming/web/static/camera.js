// What part of the world is on the canvas, and how mouse, fingers and keys move it.

const STEP = 1.15;

export class Camera {
  /** `moved` is called when something is to be drawn anew. */
  constructor(view, moved) {
    this.view = view;
    this.moved = moved;
    this.y = this.x = 0; // of the world, in the middle of the view
    this.zoom = 1; // pixels of the page for one of the world
    this.isMoved = false; // until somebody moves it, all is shown
    this.pointers = new Map();
    view.addEventListener("pointerdown", (event) => this.press(event));
    view.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      view.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    view.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    view.addEventListener("dblclick", () => this.refit());
    view.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show all of a rectangle of the world, unless somebody chose another part. */
  fit([top, left, bottom, right]) {
    if (this.isMoved) return;
    const { clientWidth: width, clientHeight: height } = this.view;
    this.y = (top + bottom) / 2;
    this.x = (left + right) / 2;
    this.zoom = Math.min(width / (right - left), height / (bottom - top)) || 1;
  }

  refit() {
    this.isMoved = false;
    this.moved();
  }

  /** Return where a point of the world is on the view, in pixels of the page. */
  onCanvas(y, x) {
    const { clientWidth: width, clientHeight: height } = this.view;
    return [(y - this.y) * this.zoom + height / 2, (x - this.x) * this.zoom + width / 2];
  }

  /** Return the point of the world under a place on the view. */
  inWorld(top, left) {
    const { clientWidth: width, clientHeight: height } = this.view;
    return [(top - height / 2) / this.zoom + this.y, (left - width / 2) / this.zoom + this.x];
  }

  zoomAt(factor, top, left) {
    const [y, x] = this.inWorld(top, left);
    this.zoom *= factor;
    const [newY, newX] = this.inWorld(top, left);
    this.move(y - newY, x - newX);
  }

  move(y, x) {
    this.isMoved = true;
    this.y += y;
    this.x += x;
    this.moved();
  }

  press(event) {
    this.view.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (!other) {
      const [dy, dx] = [before.offsetY - event.offsetY, before.offsetX - event.offsetX];
      this.move(dy / this.zoom, dx / this.zoom);
      return;
    }
    const apart = (one) => Math.hypot(one.offsetX - other.offsetX, one.offsetY - other.offsetY);
    const middle = [(event.offsetY + other.offsetY) / 2, (event.offsetX + other.offsetX) / 2];
    this.zoomAt(apart(event) / Math.max(1, apart(before)), ...middle);
  }

  wheel(event) {
    event.preventDefault();
    this.zoomAt(STEP ** (-event.deltaY / 100), event.offsetY, event.offsetX);
  }

  key(event) {
    const { clientWidth: width, clientHeight: height } = this.view;
    const pan = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const direction = pan[event.key];
    if (direction) this.move(...direction.map((one) => (one * 0.1 * height) / this.zoom));
    else if (event.key === "+" || event.key === "=") this.zoomAt(STEP, height / 2, width / 2);
    else if (event.key === "-") this.zoomAt(1 / STEP, height / 2, width / 2);
    else if (event.key === "0") this.refit();
    else return;
    event.preventDefault();
  }
}
