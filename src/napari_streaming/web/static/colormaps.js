// Colormaps by napari's names, as 256 colours each.

const STOPS = {
  gray: "000000 ffffff", gray_r: "ffffff 000000",
  red: "000000 ff0000", green: "000000 00ff00", blue: "000000 0000ff",
  cyan: "000000 00ffff", magenta: "000000 ff00ff", yellow: "000000 ffff00",
  "bop blue": "000000 20adf8", "bop orange": "000000 f8ad20", "bop purple": "000000 942094",
  viridis: "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26818e 21908c 1f9f88 28ae80 3ebc74 " +
    "5dc963 82d34c abdc32 d5e21a fde725",
  magma: "000004 0a0822 1d1146 36106a 50127c 691c81 822681 9c2e7f b63779 cf4170 e65163 f5695c " +
    "fb8761 fea571 fec387 fde0a2 fcfdbf",
  inferno: "000004 0b0724 210c4a 3c0965 57106d 70196e 89226a a32b61 bb3755 d14644 e35932 f1711e " +
    "f98d0a fcab0f f9ca32 f2e865 fcffa4",
  plasma: "0d0887 310596 4c02a1 6600a7 7e03a8 9511a2 a92396 bb3587 cb4778 d9596a e66c5c f07f4f " +
    "f89441 fdab33 fdc328 f9dd25 f0f921",
  turbo: "30123b 4040a1 466be3 4293ff 29bbec 18dcc3 31f299 6bfd64 a3fd3c cced34 edd03a fdae35 " +
    "fb8022 ec520f d23105 ac1701 7a0403",
};

export const NAMES = Object.keys(STOPS);

/** Return a colormap's 256 colours as RGBA bytes; a name that is not known means gray. */
export function colours(name) {
  const stops = (STOPS[name] ?? STOPS.gray).split(" ").map((hex) => parseInt(hex, 16));
  const bytes = new Uint8Array(4 * 256).fill(255);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      const shift = 16 - 8 * channel;
      const [a, b] = [stops[low], stops[low + 1]].map((stop) => (stop >> shift) & 255);
      bytes[4 * i + channel] = Math.round(a + (b - a) * (at - low));
    }
  }
  return bytes;
}

/** Return the colour that stands for a colormap beside a layer's name. */
export function swatch(name) {
  const bytes = colours(name);
  const at = 4 * (name === "gray" ? 255 : 200);
  return `rgb(${bytes[at]} ${bytes[at + 1]} ${bytes[at + 2]})`;
}
