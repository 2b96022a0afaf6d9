// The page: a session, what came of it, and the parts that show it.

import { Canvas } from "./canvas.js";
import { Detail } from "./detail.js";
import { byId, make, short } from "./dom.js";
import { Graphs } from "./graphs.js";
import { LayerList } from "./layers.js";
import { Program } from "./program.js";
import { clock, Session } from "./session.js";
import { Sliders } from "./sliders.js";
import { Store } from "./store.js";

const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`;
const store = new Store();
const session = new Session(address, { state: showState, opened, message: take });
const canvas = new Canvas(byId("view"), byId("planes"), byId("sets"), store, byId("readout"));
const detail = new Detail(byId("view"), session, store);
const layers = new LayerList(byId("layer-list"), store.layers, () => canvas.ask());
const sliders = new Sliders(byId("sliders"), store.axes, changedPosition);
const graphs = new Graphs(byId("graphs"), store.metrics);
const program = new Program(byId("parameters"), store, session);
const shown = { axes: -1, layers: -1, metrics: -1, log: -1, program: -1 };
const isWide = matchMedia("(min-width: 801px)");

/** For whoever looks from outside: tests, and the console. */
export const viewer = { store, session, canvas };

canvas.looked = (planes, zoom) => detail.look(planes, zoom);

function take(message, now) {
  const complaint = store.take(message, now, session.offset);
  if (complaint) session.send({ type: "problem", code: "mismatch", text: complaint });
  if (message.type === "item") canvas.ask();
  schedule();
}

function opened(isNewRun) {
  store.opened(isNewRun, clock());
  schedule();
}

function showState(text, kind) {
  byId("state").textContent = text;
  document.title = `${text} · napari-streaming`;
  document.body.dataset.state = kind;
  program.update();
  showNumbers();
  if (kind === "token") byId("token-dialog").showModal();
  else if (byId("token-dialog").open) byId("token-dialog").close();
}

/** Show what is no image, ten times a second at most. */
function schedule() {
  schedule.timer ??= setTimeout(() => {
    schedule.timer = undefined;
    update();
  }, 100);
}

function update() {
  sliders.update();
  const { version, axes } = store;
  if (changed("layers", version.layers + canvas.drawn)) layers.update();
  if (changed("metrics", version.metrics)) graphs.update();
  if (changed("log", version.log)) showLog();
  if (changed("program", version.program)) program.update();
  byId("live").setAttribute("aria-pressed", axes.isLive);
  byId("live").hidden = axes.axes.size === 0;
  const layersHere = [...store.layers.values()];
  byId("empty").hidden = layersHere.some((layer) => layer.isShown);
  byId("empty").textContent = layersHere.length
    ? "What came is only drawn in napari."
    : "Nothing has been published yet.";
  byId("metrics").hidden = store.metrics.size === 0;
}

function changed(what, version) {
  const is = shown[what] !== version;
  shown[what] = version;
  return is;
}

function changedPosition() {
  canvas.ask();
  update();
}

function showLog() {
  const lines = store.log.map(({ level, text, time }) => {
    const at = new Date(time * 1000);
    return make(
      "li", { className: level },
      make("time", { textContent: at.toLocaleTimeString(), dateTime: at.toISOString() }), " ", text,
    );
  });
  const list = byId("log");
  list.replaceChildren(...lines);
  list.scrollTop = list.scrollHeight;
}

function showNumbers() {
  const { items, bytes } = store.rate(clock());
  byId("rate").textContent = session.isOpen
    ? `${short(items)}/s · ${(bytes / 1e6).toFixed(1)} MB/s`
    : "–";
  byId("latency").textContent = Number.isNaN(canvas.latency) || !session.isOpen
    ? "–"
    : `${Math.max(0, canvas.latency * 1000).toFixed(0)} ms`;
  byId("drops").textContent = String(store.dropped);
}

function goLive() {
  store.axes.isLive = true;
  const all = [...store.order];
  if (all.length) {
    const newest = all.reduce((last, one) => (one.published >= last.published ? one : last));
    store.axes.came(newest.at);
  }
  changedPosition();
}

function connectWith(text) {
  const token = text.includes("#") ? text.slice(text.indexOf("#") + 1) : text;
  history.replaceState(null, "", `#${encodeURIComponent(decodeURIComponent(token.trim()))}`);
  session.connect(decodeURIComponent(token.trim()));
}

function onKey(event) {
  if (event.target.closest("input, button, select, textarea, summary, dialog")) return;
  if (event.key === " ") program.toggle();
  else if (event.key === "Home") goLive();
  else return;
  event.preventDefault();
}

byId("live").addEventListener("click", goLive);
byId("fit").addEventListener("click", () => canvas.camera.refit());
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  connectWith(byId("token").value);
});
addEventListener("hashchange", () => connectWith(location.hash.slice(1)));
addEventListener("keydown", onKey);
setInterval(showNumbers, 500);
byId("layers").open = isWide.matches;
connectWith(location.hash.slice(1));
