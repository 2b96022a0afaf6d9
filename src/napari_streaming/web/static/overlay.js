// Points, shapes, vectors and tracks, drawn over the planes.

const COLOURS = ["#ffffff", "#4fc3f7", "#ffb74d", "#aed581", "#f06292", "#ba68c8"];
const RADIUS = 5; // of a point, in the world, as napari has it
const MOST = 200000; // points or rows of one set
const TAIL = 30; // of a track, along its time
const ELLIPSE = 1;
const OPEN = new Set([2, 3]); // line, path

export function colourOf(layers, layer) {
  const drawn = [...layers.values()].filter((one) => !one.hasPlanes);
  return COLOURS[drawn.indexOf(layer) % COLOURS.length];
}

/** Draw the sets of a layer; `place` says where a point of the world is. */
export function drawSets(context, layer, pieces, axes, place, zoom, colour) {
  context.globalAlpha = layer.opacity;
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.5;
  const [scale, translate] = transform(layer.declare);
  const n = layer.declare.axes.length;
  const at = (data, start) => {
    const y = data[start + n - 2] * scale[n - 2] + translate[n - 2];
    const x = data[start + n - 1] * scale[n - 1] + translate[n - 1];
    return place(y, x);
  };
  const stand = layer.innerAxes.map((name) => axes.position.get(name));
  const here = (data, start, end = start + n) => stand.every((at, i) => {
    let least = Infinity, most = -Infinity;
    for (let k = start + i; k < end; k += n) {
      least = Math.min(least, data[k]);
      most = Math.max(most, data[k]);
    }
    return least - 0.5 <= at && at <= most + 0.5;
  });
  for (const part of pieces.flatMap((piece) => piece.parts)) {
    const draw = { points, shapes, vectors, tracks }[layer.kind];
    draw(context, part, { n, at, here, radius: Math.max(2, RADIUS * scale[n - 1] * zoom), axes, layer });
  }
  context.globalAlpha = 1;
}

export function transform({ axes, scale, translate }) {
  return [scale?.length ? scale : axes.map(() => 1), translate?.length ? translate : axes.map(() => 0)];
}

function points(context, { data }, { n, at, here, radius }) {
  context.beginPath();
  for (let i = 0; i < Math.min(data.length, MOST * n); i += n) {
    if (!here(data, i)) continue;
    const [y, x] = at(data, i);
    context.moveTo(x + radius, y);
    context.arc(x, y, radius, 0, 2 * Math.PI);
  }
  context.globalAlpha *= 0.35;
  context.fill();
  context.globalAlpha /= 0.35;
  context.stroke();
}

function shapes(context, { data, offsets, types }, { n, at, here }) {
  for (let i = 0; i < types.length; i++) {
    const corners = [];
    const end = Math.min(offsets[i + 1], data.length / n);
    if (!here(data, offsets[i] * n, end * n)) continue;
    for (let v = offsets[i]; v < end; v++) corners.push(at(data, v * n));
    context.beginPath();
    if (types[i] === ELLIPSE) ellipse(context, corners);
    else corners.forEach(([y, x]) => context.lineTo(x, y));
    if (!OPEN.has(types[i])) context.closePath();
    context.stroke();
  }
}

function ellipse(context, [a, b, c, d]) {
  const middle = [(a[0] + c[0]) / 2, (a[1] + c[1]) / 2];
  const side = [(b[0] - a[0]) / 2, (b[1] - a[1]) / 2];
  const other = [(d[0] - a[0]) / 2, (d[1] - a[1]) / 2];
  const angle = Math.atan2(side[0], side[1]);
  const radii = [Math.hypot(...side), Math.hypot(...other)];
  context.ellipse(middle[1], middle[0], ...radii, angle, 0, 2 * Math.PI);
}

function vectors(context, { data }, { n, at, here }) {
  context.beginPath();
  const end = new Float64Array(n);
  for (let i = 0; i < Math.min(data.length, 2 * MOST * n); i += 2 * n) {
    if (!here(data, i)) continue;
    for (let k = 0; k < n; k++) end[k] = data[i + k] + data[i + n + k];
    const [y, x] = at(data, i);
    const [toY, toX] = at(end, 0);
    context.moveTo(x, y);
    context.lineTo(toX, toY);
  }
  context.stroke();
}

function tracks(context, { data }, { n, at, axes, layer }) {
  const now = axes.position.get(layer.declare.axes[0]);
  context.beginPath();
  let before = NaN;
  for (let i = 0; i < Math.min(data.length, MOST * (n + 1)); i += n + 1) {
    const age = now - data[i + 1];
    if (age < 0 || age > TAIL) continue;
    const [y, x] = at(data, i + 1);
    if (data[i] === before) context.lineTo(x, y);
    else context.moveTo(x, y);
    before = data[i];
  }
  context.stroke();
}
