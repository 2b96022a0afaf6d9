// MessagePack, as much of it as the protocol has: nil, bool, numbers, text, arrays and maps.

const utf8 = new TextDecoder("utf-8", { fatal: true });
const DEPTH = 16;

/** Return the value that bytes hold, all of them. Integers beyond 2^53 are rounded. */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new Error("bytes behind the message");
  return value;
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /** Step over `size` bytes and return where they began. */
  skip(size) {
    const start = this.at;
    if (start + size > this.bytes.length) throw new Error("the message ends too early");
    this.at += size;
    return start;
  }

  text(length) {
    const start = this.skip(length);
    return utf8.decode(this.bytes.subarray(start, start + length));
  }

  array(length, depth) {
    if (length > this.bytes.length - this.at) throw new Error("the message ends too early");
    return Array.from({ length }, () => this.value(depth + 1));
  }

  map(length, depth) {
    if (2 * length > this.bytes.length - this.at) throw new Error("the message ends too early");
    const made = Object.create(null); // so that no key means anything by itself
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      if (typeof key !== "string" && typeof key !== "number") throw new Error("a strange key");
      made[key] = this.value(depth + 1);
    }
    return made;
  }

  value(depth) {
    if (depth > DEPTH) throw new Error("nested too deeply");
    const { view } = this;
    const tag = view.getUint8(this.skip(1));
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.map(tag & 15, depth);
    if (tag < 0xa0) return this.array(tag & 15, depth);
    if (tag < 0xc0) return this.text(tag & 31);
    if (tag >= 0xe0) return tag - 256;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xca: return view.getFloat32(this.skip(4));
      case 0xcb: return view.getFloat64(this.skip(8));
      case 0xcc: return view.getUint8(this.skip(1));
      case 0xcd: return view.getUint16(this.skip(2));
      case 0xce: return view.getUint32(this.skip(4));
      case 0xcf: return Number(view.getBigUint64(this.skip(8)));
      case 0xd0: return view.getInt8(this.skip(1));
      case 0xd1: return view.getInt16(this.skip(2));
      case 0xd2: return view.getInt32(this.skip(4));
      case 0xd3: return Number(view.getBigInt64(this.skip(8)));
      case 0xd9: return this.text(view.getUint8(this.skip(1)));
      case 0xda: return this.text(view.getUint16(this.skip(2)));
      case 0xdb: return this.text(view.getUint32(this.skip(4)));
      case 0xdc: return this.array(view.getUint16(this.skip(2)), depth);
      case 0xdd: return this.array(view.getUint32(this.skip(4)), depth);
      case 0xde: return this.map(view.getUint16(this.skip(2)), depth);
      case 0xdf: return this.map(view.getUint32(this.skip(4)), depth);
      default: throw new Error(`0x${tag.toString(16)} means nothing here`);
    }
  }
}

/** Return a value as bytes. Integers are integers, other numbers floats of 64 bits. */
export function encode(value) {
  const out = [];
  write(value, out);
  return Uint8Array.from(out);
}

function write(value, out) {
  if (value === null || value === undefined) out.push(0xc0);
  else if (typeof value === "boolean") out.push(value ? 0xc3 : 0xc2);
  else if (typeof value === "number") writeNumber(value, out);
  else if (typeof value === "string") {
    const bytes = new TextEncoder().encode(value);
    writeLength(bytes.length, out, 0xa0, 32, 0xda);
    for (const byte of bytes) out.push(byte);
  } else if (Array.isArray(value)) {
    writeLength(value.length, out, 0x90, 16, 0xdc);
    for (const one of value) write(one, out);
  } else {
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    writeLength(entries.length, out, 0x80, 16, 0xde);
    for (const [key, one] of entries) {
      write(key, out);
      write(one, out);
    }
  }
}

function writeLength(length, out, short, below, long) {
  if (length < below) out.push(short | length);
  else if (length < 65536) out.push(long, length >> 8, length & 255);
  else writeBytes(long + 1, 4, (view) => view.setUint32(1, length), out);
}

function writeNumber(value, out) {
  if (!Number.isSafeInteger(value)) writeBytes(0xcb, 8, (view) => view.setFloat64(1, value), out);
  else if (value >= 0 && value < 128) out.push(value);
  else if (value < 0 && value >= -32) out.push(value + 256);
  else writeBytes(0xd3, 8, (view) => view.setBigInt64(1, BigInt(value)), out);
}

function writeBytes(tag, size, set, out) {
  const bytes = new Uint8Array(1 + size);
  bytes[0] = tag;
  set(new DataView(bytes.buffer));
  for (const byte of bytes) out.push(byte);
}
