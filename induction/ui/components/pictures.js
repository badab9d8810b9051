// Shared by the page's components: attention as pictures. Weights are bytes, 255 for 1, [query * size + key]; what lies
// in a query's future stays clear.
async function decodePicture({ png, size }) {  // a grey PNG to its exact bytes
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  const exact = { colorSpaceConversion: 'none', premultiplyAlpha: 'none' };
  const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }), exact);
  const canvas = make('canvas');
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const cells = new Uint8Array(pixels.length / 4);
  for (let i = 0; i < cells.length; i++) cells[i] = pixels[4 * i];
  return { cells, size };
}

const rgbOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mixed = (from, to, share) => from.map((value, c) => value + (to[c] - value) * share);
const scaleOf = (colours) => Array.from({ length: 256 }, (_, value) => {  // RGB of every weight
  const at = (value / 255) * (colours.length - 1);
  const index = Math.min(Math.floor(at), colours.length - 2);
  return mixed(colours[index], colours[index + 1], at - index);
});

function paintCells(size, rgb) {  // one pixel per cell, coloured by rgb(index of the cell)
  const canvas = make('canvas');
  canvas.width = canvas.height = size;
  const context = canvas.getContext('2d');
  const image = context.createImageData(size, size);
  for (let query = 0; query < size; query++) {
    for (let key = 0; key <= query; key++) image.data.set([...rgb(query * size + key), 255], 4 * (query * size + key));
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function paintSmall(cells, size, side, scale) {  // the largest weight of each block, so that stripes survive on few pixels
  const factor = Math.ceil(size / side);
  const few = Math.ceil(size / factor);
  const out = new Uint8Array(few * few);
  for (let query = 0; query < size; query++) {
    for (let key = 0; key <= query; key++) {
      const at = Math.floor(query / factor) * few + Math.floor(key / factor);
      out[at] = Math.max(out[at], cells[query * size + key]);
    }
  }
  return paintCells(few, (index) => scale[out[index]]);
}

function fitCanvas(canvas, width, height) {  // sharp on dense screens; drawn in CSS pixels
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

function cutText(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const characters = [...text];
  while (characters.length > 1 && context.measureText(`${characters.join('')}…`).width > width) characters.pop();
  return `${characters.join('')}…`;
}
