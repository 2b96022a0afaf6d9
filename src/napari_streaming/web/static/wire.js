// Messages and their arrays, in and out of the bytes of one WebSocket message.

import { decode, encode } from "./msgpack.js";

const MAGIC = [0x4e, 0x50, 0x53, 0x54, 1, 0]; // "NPST" and the version
const MAX_FRAMES = 261;
const HALF = "<f2";

/** How the elements of a dtype lie in memory. Those of 64 bits are read as floats. */
const TYPES = {
  "|b1": Uint8Array, "|u1": Uint8Array, "|i1": Int8Array,
  "<u2": Uint16Array, "<i2": Int16Array, "<u4": Uint32Array, "<i4": Int32Array,
  "<u8": BigUint64Array, "<i8": BigInt64Array,
  [HALF]: Uint16Array, "<f4": Float32Array, "<f8": Float64Array,
};

/** Return the bytes of a message without arrays. */
export function seal(message) {
  const body = encode(message);
  const length = MAGIC.length + body.length;
  const bytes = new Uint8Array(16 + Math.ceil(length / 8) * 8);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 1n, true);
  view.setBigUint64(8, BigInt(length), true);
  bytes.set(MAGIC, 16);
  bytes.set(body, 16 + MAGIC.length);
  return bytes;
}

/** Return the message that an ArrayBuffer holds; the arrays of an item are views of it. */
export function open(buffer) {
  const view = new DataView(buffer);
  const count = Number(view.getBigUint64(0, true));
  if (!(count >= 1 && count <= MAX_FRAMES)) throw new Error(`a message of ${count} frames`);
  let at = 8 * (1 + count);
  const frames = Array.from({ length: count }, (_, i) => {
    const length = Number(view.getBigUint64(8 * (i + 1), true));
    if (at + length > buffer.byteLength) throw new Error("a message that ends too early");
    const frame = new Uint8Array(buffer, at, length);
    at += Math.ceil(length / 8) * 8;
    return frame;
  });
  const [header, ...buffers] = frames;
  if (MAGIC.some((byte, i) => header[i] !== byte)) {
    throw new Error("the other side speaks another version of the protocol");
  }
  const message = decode(header.subarray(MAGIC.length));
  if (message.type === "item") message.arrays.forEach((array, i) => fill(array, buffers[i]));
  return message;
}

function fill(array, bytes) {
  const length = array.shape.reduce((product, n) => product * n, 1);
  const size = itemSize(array.dtype) * length;
  if (array.block || !bytes || bytes.length !== size) {
    throw new Error(`array ${array.name}: not as long as it should be`);
  }
  array.nbytes = size;
  array.data = TYPES[array.dtype]
    ? new TYPES[array.dtype](bytes.buffer, bytes.byteOffset, length)
    : texts(bytes, length);
}

function itemSize(dtype) {
  return dtype.startsWith("<U") ? 4 * Number(dtype.slice(2)) : Number(dtype[2]);
}

function texts(bytes, length) {
  const codes = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const width = length ? codes.length / length : 0;
  return Array.from({ length }, (_, i) => {
    const points = [...codes.subarray(i * width, (i + 1) * width)].filter((code) => code);
    return String.fromCodePoint(...points);
  });
}

/** Return the numbers of an array as what can be calculated with; half floats, too. */
export function numbers(data, dtype) {
  if (dtype === HALF) return Float32Array.from(data, fromHalf);
  return dtype === "<u8" || dtype === "<i8" ? Float64Array.from(data, Number) : data;
}

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * 2 ** -24 * fraction;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}
