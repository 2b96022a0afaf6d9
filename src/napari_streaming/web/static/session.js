// One publisher, however often the connection to it is made anew.

import { moment } from "./dom.js";
import { open, seal } from "./wire.js";

const WINDOW = 8 * 1024 * 1024; // bytes of items that may be under way: more would only be late
const ACK_AT_ONCE = 1024 * 1024;
const FIRST_RETRY = 0.25, LAST_RETRY = 5; // seconds
const SILENCE = 15;
const MOST_METRICS = 1024; // that a Subscribe may name
const SYSTEM = navigator.userAgentData?.platform || navigator.platform;
const LOOKS_ON = "view-"; // how a token begins that lets nobody steer
const UNCOUNTED = new Set(["welcome", "reject", "ping", "pong"]);

export const clock = () => (performance.timeOrigin + performance.now()) / 1000;

const secret = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

/**
 * Connects, shakes hands, acknowledges, and hands on what is left.
 *
 * `on` has `state(text, kind)`, `opened(isNewRun)`, `message(message, now)`.
 */
export class Session {
  constructor(address, on) {
    this.address = address;
    this.on = on;
    this.token = "";
    this.run = secret(); // of this viewer
    this.publisher = null;
    this.side = 0; // the most pixels along each side of a plane that are asked for
    this.seen = new Map(); // highest number of each stream of the publisher's run,
    this.metrics = new Map(); // of the values of each metric,
    this.line = 0; // and of its lines
    this.offset = 0; // seconds to add to our clock to get the publisher's
    this.roundTrip = Infinity;
    this.isOpen = false;
    this.hasEnded = false;
    this.goneSince = null; // when a program that was there was last heard
    this.told = ""; // where things stand, for people
    this.retry = FIRST_RETRY;
    setInterval(() => this.tick(), 1000);
  }

  /** Why the program does nothing of what is wished here; empty if it may. */
  get obstacle() {
    if (!this.isOpen) return this.told;
    return this.token.startsWith(LOOKS_ON) ? "this address is only for looking on" : "";
  }

  connect(token) {
    this.token = token;
    this.retry = FIRST_RETRY;
    this.start();
  }

  start() {
    clearTimeout(this.timer);
    this.drop();
    if (this.goneSince === null) this.tell("connecting", "wait");
    const socket = new WebSocket(this.address);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heard = clock();
    this.items = this.messages = 0;
    this.rejected = "";
    socket.onopen = () => this.send({ type: "hello", peer: this.me(), token: this.token });
    socket.onmessage = (event) => this.socket === socket && this.take(event.data);
    socket.onclose = () => this.socket === socket && this.lost("no connection");
  }

  me() {
    return {
      role: "view", program: `browser on ${SYSTEM}`, software: "napari-streaming page",
      host: "a browser", // which maps no shared memory
      pid: 0, run: this.run, window: WINDOW,
    };
  }

  /** Send a message, if there is a connection. */
  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(seal(message));
  }

  take(bytes) {
    const now = clock();
    this.heard = now;
    try {
      const message = open(bytes);
      this.converse(message, now);
      if (message.type === "item") this.received(message);
      else if (!UNCOUNTED.has(message.type)) this.acknowledgeSoon(++this.messages);
    } catch (error) {
      this.send({ type: "reject", code: "malformed", reason: String(error) });
      this.lost(String(error));
      throw error;
    }
  }

  converse(message, now) {
    if (message.type === "welcome") this.welcome(message.peer);
    else if (message.type === "reject") this.rejected = `${message.code}: ${message.reason}`;
    else if (message.type === "ping") this.send({ type: "pong", time: message.time, now });
    else if (message.type === "pong") this.measure(message, now);
    else if (message.type === "item" && this.isOld(message)) return;
    else if (message.type === "status" && this.isOldLine(message)) return;
    else if (message.type === "metric") this.on.message(this.newValues(message), now);
    else {
      if (message.type === "end") this.hasEnded = true;
      this.on.message(message, now);
    }
  }

  welcome(peer) {
    const isNewRun = this.publisher?.run !== peer.run;
    if (isNewRun) this.forget();
    this.publisher = peer;
    this.isOpen = true;
    this.hasEnded = false;
    this.goneSince = null;
    this.retry = FIRST_RETRY;
    this.send({ type: "ping", time: clock() });
    this.subscribe();
    this.on.opened(isNewRun);
    this.tell(peer.program || "connected", "open");
  }

  subscribe() {
    const metrics = new Map([...this.metrics].slice(-MOST_METRICS));
    this.send({
      type: "subscribe", history: null, have: this.seen, max_side: this.side, metrics, line: this.line,
    });
  }

  /** Ask for planes of at most so many pixels along each side from now on. */
  limit(side) {
    this.side = side;
    if (this.isOpen) this.subscribe();
  }

  measure(pong, now) {
    const roundTrip = now - pong.time;
    if (roundTrip < 0 || roundTrip > this.roundTrip) return;
    this.roundTrip = roundTrip;
    this.offset = pong.now - (pong.time + now) / 2;
  }

  /** Whether an item was here before: a publisher that reconnects sends again what may be lost. */
  isOld(item) {
    if (item.again) return false;
    const last = this.seen.get(item.stream) ?? -1;
    if (item.sequence <= last) return true;
    if (!item.preview) this.seen.set(item.stream, item.sequence);
    return false;
  }

  isOldLine({ number = 0 }) {
    if (number && number <= this.line) return true;
    this.line = Math.max(this.line, number);
    return false;
  }

  /** Return a metric without the values that were here before. */
  newValues(metric) {
    const { name, steps, values, times, first = 0, every = 1 } = metric;
    if (!(first && values.length)) return metric;
    const last = this.metrics.get(name) ?? 0;
    const known = Math.max(0, Math.floor((last - first) / every) + 1);
    this.metrics.set(name, Math.max(last, first + every * (values.length - 1)));
    const [newSteps, newValues, newTimes] = [steps, values, times].map((column) => column.slice(known));
    return { ...metric, steps: newSteps, values: newValues, times: newTimes };
  }

  forget() {
    this.seen.clear();
    this.metrics.clear();
    this.line = 0;
  }

  received(item) {
    this.items++;
    const size = item.arrays.reduce((sum, array) => sum + array.nbytes, 0);
    if (size >= ACK_AT_ONCE) this.acknowledge();
    else this.acknowledgeSoon();
  }

  acknowledgeSoon() {
    this.ackTimer ??= setTimeout(() => this.acknowledge(), 10);
  }

  acknowledge() {
    clearTimeout(this.ackTimer);
    this.ackTimer = undefined;
    if (this.isOpen) this.send({ type: "ack", items: this.items, messages: this.messages });
  }

  tick() {
    if (this.isOpen) this.send({ type: "ping", time: clock() });
    if (this.socket && clock() - this.heard > SILENCE) this.lost("the program does not answer");
  }

  lost(reason) {
    if (this.isOpen) this.goneSince = this.heard;
    this.drop();
    if (this.rejected.startsWith("token")) {
      this.tell("the token is wrong or missing", "token");
      return; // until there is another one
    }
    if (this.goneSince === null) this.tell(`${this.rejected || reason}; trying again`, "wait");
    else {
      const words = [this.farewell(), this.rejected].filter(Boolean).join("; ");
      this.tell(words, this.hasEnded ? "ended" : "gone");
    }
    this.timer = setTimeout(() => this.start(), this.retry * 1000);
    this.retry = Math.min(2 * this.retry, LAST_RETRY);
  }

  farewell() {
    const name = this.publisher.program || "the program";
    const at = moment(this.goneSince);
    return this.hasEnded ? `${name} ended at ${at}` : `${name} is gone since ${at}`;
  }

  tell(text, kind) {
    this.told = text;
    this.on.state(text, kind);
  }

  drop() {
    this.isOpen = false;
    this.roundTrip = Infinity;
    clearTimeout(this.ackTimer);
    this.ackTimer = undefined;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }
}
