// Planes, drawn by WebGL2: the pixels go to the graphics card as they came, and the colours
// are made there.

import { colours } from "./colormaps.js";

const VERTEX = `#version 300 es
uniform vec4 rect; // left, top, right, bottom, from -1 to 1
out vec2 at;
void main() {
  at = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  gl_Position = vec4(mix(rect.xy, rect.zw, at), 0, 1);
}`;

// Colours of labels: the golden ratio spreads the hues, for numbers that are neighbours too.
const FRAGMENT = (sampler) => `#version 300 es
precision highp float;
precision highp int;
uniform highp ${sampler} plane;
uniform sampler2D lut;
uniform ivec2 size;
uniform vec2 reach; // how many of these pixels there are, where the last stand for fewer
uniform vec2 limits;
uniform float opacity;
uniform float white; // of what has colours of its own
uniform int mode;
const int LABELS = 1, RGB = 2, RGBA = 3;
in vec2 at;
out vec4 colour;

vec3 hue(uint label) {
  uint spread = label * 2654435769u;
  float h = float(spread >> 8) / 16777216.0;
  float value = 1.0 - 0.3 * float((spread >> 4) & 3u) / 3.0;
  vec3 wheel = clamp(abs(fract(h + vec3(1.0, 2.0 / 3.0, 1.0 / 3.0)) * 6.0 - 3.0) - 1.0, 0.0, 1.0);
  return value * mix(vec3(1.0), wheel, 0.75);
}

void main() {
  ivec2 where = clamp(ivec2(at * reach), ivec2(0), size - 1);
  vec4 pixel = vec4(texelFetch(plane, where, 0));
  if (mode == RGB || mode == RGBA) {
    float alpha = mode == RGB ? 1.0 : clamp(pixel.a / white, 0.0, 1.0);
    colour = vec4(pixel.rgb / white, alpha * opacity);
  } else if (mode == LABELS) {
    uint label = uint(texelFetch(plane, where, 0).r);
    colour = vec4(hue(label), label == 0u ? 0.0 : opacity);
  } else {
    float value = (pixel.r - limits.x) / (limits.y - limits.x);
    bool missing = isnan(value);
    int index = missing ? 0 : int(clamp(value, 0.0, 1.0) * 255.0 + 0.5);
    colour = vec4(texelFetch(lut, ivec2(index, 0), 0).rgb, missing ? 0.0 : opacity);
  }
}`;

const SCALARS = 0, LABELS = 1, RGB = 2, RGBA = 3;
const SAMPLERS = { u: "usampler2D", i: "isampler2D", f: "sampler2D" };

/** How a dtype lies in a texture: kind of sampler, bits. 64 bits become floats of 32. */
const NATIVE = {
  "|b1": ["u", 8], "|u1": ["u", 8], "<u2": ["u", 16], "<u4": ["u", 32],
  "|i1": ["i", 8], "<i2": ["i", 16], "<i4": ["i", 32], "<f2": ["f", 16], "<f4": ["f", 32],
};
const WHITE = { "|b1": 1, "|u1": 255, "<u2": 65535, "<u4": 4294967295 };

export class Renderer {
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
    if (!gl) throw new Error("this browser has no WebGL2, which images are drawn with");
    this.canvas = canvas;
    this.gl = gl;
    this.most = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    this.programs = {};
    this.textures = new Map(); // by layer
    this.luts = new Map(); // by colormap
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.enable(gl.BLEND);
  }

  /** Draw planes from the lowest; `place` says where a plane lies on the canvas. */
  draw(shown, place) {
    const { gl, canvas } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    for (const entry of shown) this.drawPlane(entry, place(entry.piece));
  }

  /** Let go of the textures of layers that are not there any more. */
  keepOnly(layers) {
    for (const [layer, held] of this.textures) {
      if (layers.has(layer)) continue;
      this.gl.deleteTexture(held.texture);
      this.textures.delete(layer);
    }
  }

  drawPlane({ layer, piece, slice }, rect) {
    const { gl } = this;
    const held = this.upload(layer, piece, slice);
    const { program, at } = this.program(held.sampler);
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, held.texture);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.lut(layer.colormap));
    gl.uniform1i(at.plane, 0);
    gl.uniform1i(at.lut, 1);
    gl.uniform4fv(at.rect, rect);
    gl.uniform2i(at.size, held.width, held.height);
    gl.uniform2fv(at.reach, held.reach);
    gl.uniform2fv(at.limits, layer.limits ?? [0, 1]);
    gl.uniform1f(at.opacity, layer.opacity);
    gl.uniform1f(at.white, held.sampler === "f" ? 1 : WHITE[layer.declare.dtype]);
    gl.uniform1i(at.mode, modeOf(layer));
    gl.blendFunc(...this.blending(layer.blending));
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  blending(name) {
    const { gl } = this;
    if (name === "opaque") return [gl.ONE, gl.ZERO];
    return [gl.SRC_ALPHA, name === "additive" ? gl.ONE : gl.ONE_MINUS_SRC_ALPHA];
  }

  program(sampler) {
    return (this.programs[sampler] ??= this.compile(FRAGMENT(SAMPLERS[sampler])));
  }

  compile(fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(`a shader: ${gl.getProgramInfoLog(program)}`);
    }
    const names = ["rect", "plane", "lut", "size", "reach", "limits", "opacity", "white", "mode"];
    const at = Object.fromEntries(names.map((n) => [n, gl.getUniformLocation(program, n)]));
    return { program, at };
  }

  lut(name) {
    if (!this.luts.has(name)) {
      const texture = this.makeTexture();
      const { gl } = this;
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colours(name));
      this.luts.set(name, texture);
    }
    return this.luts.get(name);
  }

  makeTexture() {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return texture;
  }

  /** Return a layer's texture with a slice of a plane in it. */
  upload(layer, piece, slice) {
    const known = this.textures.get(layer);
    if (known && known.piece === piece && known.slice === slice) return known;
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0);
    const pixels = this.pixels(layer, piece, slice);
    const { sampler, format, internal, type, data, width, height, reach } = pixels;
    const size = `${internal} ${width} ${height}`;
    let texture = known?.texture;
    if (known?.size !== size) {
      gl.deleteTexture(texture ?? null);
      texture = this.makeTexture();
      gl.texStorage2D(gl.TEXTURE_2D, 1, internal, width, height);
    }
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, format, type, data);
    const held = { texture, size, sampler, width, height, reach, piece, slice };
    this.textures.set(layer, held);
    return held;
  }

  pixels(layer, piece, slice) {
    const { dtype, rgb } = layer.declare;
    const channels = rgb ? piece.shape.at(-1) : 1;
    let [height, width] = rgb ? piece.shape.slice(-3, -1) : piece.shape.slice(-2);
    const length = height * width * channels;
    let data = piece.data.subarray(slice * length, (slice + 1) * length);
    let [sampler, bits] = NATIVE[dtype] ?? ["f", 32];
    if (layer.kind === "labels" && !NATIVE[dtype]) {
      data = Uint32Array.from(data, (value) => Number(BigInt.asUintN(32, value)));
      [sampler, bits] = ["u", 32];
    } else if (!NATIVE[dtype] || (rgb && sampler === "i")) {
      data = Float32Array.from(data, Number);
      [sampler, bits] = ["f", 32];
    }
    const step = Math.ceil(Math.max(width, height) / this.most);
    let reach = [piece.full[1] / piece.step, piece.full[0] / piece.step];
    if (step > 1) {
      ({ data, width, height } = thinned(data, width, height, channels, step));
      reach = [width, height];
    }
    const gl = this.gl;
    const name = ["R", "", "RGB", "RGBA"][channels - 1] + bits + { u: "UI", i: "I", f: "F" }[sampler];
    const family = channels === 1 ? "RED" : name.startsWith("RGBA") ? "RGBA" : "RGB";
    const types = {
      u: { 8: gl.UNSIGNED_BYTE, 16: gl.UNSIGNED_SHORT, 32: gl.UNSIGNED_INT },
      i: { 8: gl.BYTE, 16: gl.SHORT, 32: gl.INT },
      f: { 16: gl.HALF_FLOAT, 32: gl.FLOAT },
    };
    return {
      sampler, data, width, height, reach,
      internal: gl[name],
      format: gl[sampler === "f" ? family : `${family}_INTEGER`],
      type: types[sampler][bits],
    };
  }
}

function modeOf({ kind, declare }) {
  if (declare.rgb) return declare.shape.at(-1) === 3 ? RGB : RGBA;
  return kind === "labels" ? LABELS : SCALARS;
}

/** Return every so many pixels of a plane that is larger than textures may be. */
function thinned(data, width, height, channels, step) {
  const [w, h] = [Math.floor(width / step), Math.floor(height / step)];
  const made = new data.constructor(w * h * channels);
  for (let y = 0, to = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const from = (y * width + x) * step * channels;
      for (let c = 0; c < channels; c++) made[to++] = data[from + c];
    }
  }
  return { data: made, width: w, height: h };
}
