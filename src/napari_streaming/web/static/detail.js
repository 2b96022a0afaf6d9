// How many pixels of each plane the page asks for: as many as the screen shows.

const REST = 300; // milliseconds until what somebody looks at is asked for
const MOST = 2 ** 31;

export class Detail {
  constructor(view, session, store) {
    this.view = view;
    this.session = session;
    this.store = store;
    this.coarse = [];
    session.side = this.side = this.needed([], 1);
  }

  /** Take note of what is on the canvas: `zoom` is pixels of the page for one of the world. */
  look(shown, zoom) {
    const side = this.needed(shown, zoom);
    if (side !== this.side) {
      this.side = side;
      clearTimeout(this.change);
      this.change = setTimeout(() => this.session.limit(side), REST);
    }
    const coarse = shown.map(({ piece }) => piece).filter((piece) => this.isCoarse(piece));
    if (coarse.length === this.coarse.length && coarse.every((one, i) => one === this.coarse[i])) return;
    this.coarse = coarse;
    clearTimeout(this.wish);
    this.wish = setTimeout(() => this.want(coarse), REST);
  }

  /** Return the power of two that neither the canvas nor a plane on the screen exceeds. */
  needed(shown, zoom) {
    const { clientWidth, clientHeight } = this.view;
    const sides = shown.map(({ piece }) => {
      const [height, width] = piece.full;
      const [sy, sx] = piece.scale.slice(-2);
      return Math.max(height * Math.abs(sy), width * Math.abs(sx)) * zoom;
    });
    const most = Math.max(clientWidth, clientHeight, 1, ...sides) * window.devicePixelRatio;
    return Math.min(MOST, 2 ** Math.ceil(Math.log2(most)));
  }

  isCoarse({ step, full }) {
    return step > Math.ceil(Math.max(...full) / this.side);
  }

  want(pieces) {
    for (const { layer, stream, at } of pieces) {
      if (this.store.streams.get(stream) === layer) this.session.send({ type: "want", stream, at });
    }
  }
}
