// Elements, made from names and texts. What others say becomes text and never markup.

/** Make an element: properties, `aria-` attributes, `on` for listeners, and what is inside. */
export function make(tag, properties = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-")) element.setAttribute(name, value);
    else if (name === "on") {
      for (const [kind, call] of Object.entries(value)) element.addEventListener(kind, call);
    } else element[name] = value;
  }
  element.append(...inside); // strings become text
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Return a time, in seconds since 1970, as people write it: with its day unless it is today's. */
export function moment(time) {
  const at = new Date(time * 1000);
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? at.toLocaleTimeString() : at.toLocaleString();
}

/** Return a number as people write it, short. */
export function short(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  return String(Number(value.toPrecision(4)));
}
