// Attention of one prompt, drawn by hand: hundreds of matrices on canvas, where charts would take seconds. Labels and
// weights are data: they become pixels and textContent, never HTML.
const $ = (selector) => element.querySelector(selector);
const [missing, body, matrix, base, over, thumbs, reading, tip] =
  ['.ia-missing', '.ia-body', '.ia-matrix', '.ia-base', '.ia-over', '.ia-thumbs', '.ia-reading', '.ih-tip'].map($);
const TELL_AFTER = 150;  // ms of rest before the server hears of a head or row: arrow keys run ahead of it
const THUMBS = 8;        // heads of a layer beside each other, at most
const LABEL = 8;         // smallest cell in CSS pixels that carries its token's name

let data = null;          // props.value while it holds a prompt
let n = 0;                // its tokens
let view = { layer: 0, head: 0, row: 0, hideFirst: false, all: false };
let hover = null;         // {query, key}
let tiles = new Map();    // "layer/hideFirst" or "all/hideFirst" -> promise of {cells, size}
let written = new Map();  // "layer.head" -> what it writes
let targets = null;       // Uint8Array [query * n + key]
let weights = null;       // Uint8Array [query * n + key] of the head on show
let plot = null;          // geometry of the matrix in CSS pixels: {cell, left, top}
let [newest, received] = [0, 0];  // numbers of the latest paint and value: earlier ones give up

const name = () => `${view.layer}.${view.head}`;
const weight = (query, key) => (weights && key <= query ? weights[query * n + key] / 255 : 0);
const isTarget = (query, key) => targets[query * n + key] > 0;
const token = (position) => `${position} ${data.tokens[position]}`;

// -- pictures that arrive ------------------------------------------------------------------------------------

async function decode({ png, size }) {  // a grey PNG to its bytes
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

function load(layer) {  // a layer's number or 'all'
  const key = `${layer}/${view.hideFirst}`;
  if (!tiles.has(key)) {
    const asked = { ...data.request, layer, hide_first: view.hideFirst };
    tiles.set(key, server.fetch(asked).then((answer) => (answer.png ? decode(answer) : null)));
  }
  return tiles.get(key);
}

// -- telling the server --------------------------------------------------------------------------------------

function afterRest(act) {  // act once, after the last call
  let timer = null;
  const call = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { timer = null; act(); }, TELL_AFTER);
  };
  call.waits = () => timer !== null;
  return call;
}
const tellHead = afterRest(() => {
  pickHead(trigger, view.layer, view.head);
});
const tellState = afterRest(() => trigger('state', { row: view.row, hide_first: view.hideFirst }));
const askWritten = afterRest(() => {
  if (data && !written.has(name())) trigger('need', { layer: view.layer, head: view.head });
});

// -- colours -------------------------------------------------------------------------------------------------

let palette = null;
function readPalette() {  // one RGBA word per weight 0..255, and the plain colours, of the theme on show
  const style = getComputedStyle(element);
  const of = (role) => style.getPropertyValue(`--ih-${role}`).trim();
  const steps = [0, 1, 2, 3, 4, 5].map((i) => [1, 3, 5].map((at) => parseInt(of(`sequential-${i}`).slice(at, at + 2), 16)));
  const words = new Uint32Array(256);
  for (let value = 0; value < 256; value++) {
    const at = (value / 255) * 5;
    const index = Math.min(Math.floor(at), 4);
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(steps[index][c] + (at - index) * (steps[index + 1][c] - steps[index][c])));
    words[value] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  palette = {
    words, ink: of('ink'), muted: of('muted'), selected: of('selected'), second: of('second'), line: of('line'),
    mono: style.getPropertyValue('--font-mono') || 'monospace',
  };
}

function picture(cells, size) {  // attention as an image, one pixel per cell; what lies in the future stays clear
  const canvas = make('canvas');
  canvas.width = canvas.height = size;
  const context = canvas.getContext('2d');
  const image = context.createImageData(size, size);
  const words = new Uint32Array(image.data.buffer);
  for (let query = 0; query < size; query++) {
    for (let key = 0; key <= query; key++) words[query * size + key] = palette.words[cells[query * size + key]];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function pooled(cells, size, side) {  // the largest weight of each block, so that stripes survive on few pixels
  const factor = Math.ceil(size / side);
  const few = Math.ceil(size / factor);
  const out = new Uint8Array(few * few);
  for (let query = 0; query < size; query++) {
    for (let key = 0; key <= query; key++) {
      const at = Math.floor(query / factor) * few + Math.floor(key / factor);
      out[at] = Math.max(out[at], cells[query * size + key]);
    }
  }
  return picture(out, few);
}

// -- the large head ------------------------------------------------------------------------------------------

function fit(canvas, width, height) {  // sharp on dense screens; drawn in CSS pixels
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

function font(context, cell, bold) {
  context.font = `${bold ? '700 ' : ''}${clamp(cell - 1, LABEL, 12)}px ${palette.mono}`;
}

function label(context, position, colour, bold, sides = 'both') {  // a token's name at its row and its column
  const { cell, left, top } = plot;
  font(context, cell, bold);
  context.fillStyle = colour;
  context.textBaseline = 'middle';
  context.direction = 'ltr';
  const text = cut(context, data.tokens[position], left - 10);
  const middle = (position + 0.5) * cell;
  if (sides !== 'top') {
    context.textAlign = 'right';
    context.fillText(text, left - 5, top + middle);
  }
  if (sides === 'left') return;
  context.save();
  context.translate(left + middle, top - 5);
  context.rotate(-Math.PI / 2);
  context.textAlign = 'left';
  context.fillText(text, 0, 0);
  context.restore();
}

function cut(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const characters = [...text];
  while (characters.length > 1 && context.measureText(`${characters.join('')}…`).width > width) characters.pop();
  return `${characters.join('')}…`;
}

function drawMatrix() {
  const width = matrix.clientWidth;
  if (!data || !weights || !width) return;
  const measure = base.getContext('2d');
  font(measure, LABEL + 2);
  const widest = Math.max(...data.tokens.map((text) => measure.measureText(text).width));
  const margin = clamp(Math.ceil(widest) + 12, 34, Math.min(96, width / 4));
  let cell = Math.min((width - margin - 1) / n, 24);
  if (cell >= 4) cell = Math.floor(cell);
  plot = { cell, left: margin, top: margin };
  const side = margin + n * cell + 1;
  const context = fit(base, side, side);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture(weights, n), margin, margin, n * cell, n * cell);
  if (cell >= 6) {  // hairlines between the cells
    context.strokeStyle = palette.line;
    context.globalAlpha = 0.45;
    context.beginPath();
    for (let i = 0; i <= n; i++) {
      context.moveTo(margin + Math.max(i - 1, 0) * cell, margin + i * cell + 0.5);
      context.lineTo(margin + Math.min(i, n) * cell, margin + i * cell + 0.5);
    }
    context.stroke();
    context.globalAlpha = 1;
  }
  if ($('.ia-outline').checked) {
    context.strokeStyle = palette.second;
    context.lineWidth = cell >= 6 ? 1.5 : 1;
    const inset = cell >= 6 ? 0.75 : -0.5;
    for (let query = 0; query < n; query++) {
      for (let key = 0; key < query; key++) {
        if (isTarget(query, key)) {
          context.strokeRect(margin + key * cell + inset, margin + query * cell + inset, cell - 2 * inset, cell - 2 * inset);
        }
      }
    }
  }
  const every = Math.ceil((LABEL + 2) / (cell + 2));
  for (let position = 0; position < n; position += every) label(context, position, palette.muted, false);
  drawMarks();
}

function drawMarks() {  // the query row, and what the pointer is on
  if (!plot) return;
  const { cell, left, top } = plot;
  const context = fit(over, left + n * cell + 1, top + n * cell + 1);
  context.strokeStyle = palette.selected;
  context.lineWidth = 2;
  context.strokeRect(left - 1, top + view.row * cell - 1, (view.row + 1) * cell + 2, cell + 2);
  const marked = [[view.row, palette.selected, 'left']];
  if (hover) {
    context.strokeStyle = palette.ink;
    context.lineWidth = 1;
    context.strokeRect(left + hover.key * cell - 0.5, top + hover.query * cell - 0.5, cell + 1, cell + 1);
    marked.push([hover.query, palette.ink, 'left'], [hover.key, palette.ink, 'top']);
  }
  for (const [position, colour, sides] of marked) {
    // The base may carry this label or a neighbour's: clear the strip first.
    const paper = getComputedStyle(matrix).backgroundColor;
    const strip = Math.max(cell, LABEL + 3);
    const from = (position + 0.5) * cell - strip / 2;
    context.fillStyle = paper;
    if (sides === 'left') context.fillRect(0, top + from, left - 3, strip);
    else context.fillRect(left + from, 0, strip, top - 3);
    label(context, position, colour, true, sides);
  }
}

function cellAt(event) {
  if (!plot) return null;
  const box = base.getBoundingClientRect();
  const key = Math.floor((event.clientX - box.left - plot.left) / plot.cell);
  const query = Math.floor((event.clientY - box.top - plot.top) / plot.cell);
  if (query < 0 || query >= n || key >= n) return null;
  return { query, key: Math.max(key, 0), inside: key >= 0 && key <= query };
}

matrix.addEventListener('mousemove', (event) => {
  const at = cellAt(event);
  hover = at && at.inside ? at : null;
  drawMarks();
  tip.hidden = !hover;
  if (!hover) return;
  const words = `weight ${short(weight(at.query, at.key))}${isTarget(at.query, at.key) ? ' · induction target' : ''}`;
  tip.replaceChildren(make('span', '', `${token(at.query)}  →  ${token(at.key)}`), make('strong', '', words));
  const { left, top } = base.getBoundingClientRect();
  const point = { left: left + plot.left + (at.key + 0.5) * plot.cell, top: top + plot.top + at.query * plot.cell, width: 0 };
  placeTip(tip, { getBoundingClientRect: () => point });
});
matrix.addEventListener('mouseleave', () => { hover = null; tip.hidden = true; drawMarks(); });
matrix.addEventListener('click', (event) => { const at = cellAt(event); if (at) chooseRow(at.query); });
matrix.addEventListener('keydown', (event) => {
  const rows = { ArrowUp: view.row - 1, ArrowDown: view.row + 1, Home: 0, End: n - 1, PageUp: view.row - 10, PageDown: view.row + 10 };
  const heads = { ArrowLeft: -1, ArrowRight: 1 };
  if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in rows) chooseRow(rows[event.key]);
  else if (event.key in heads) choose(0, heads[event.key]);
  else return;
  event.preventDefault();
});

// -- the query row in words ----------------------------------------------------------------------------------

function drawRow() {
  const { row } = view;
  $('.ia-query').textContent = `From token ${token(row)}`;
  const order = Array.from({ length: row + 1 }, (_, key) => key).filter((key) => weight(row, key) >= 0.01);
  order.sort((a, b) => weight(row, b) - weight(row, a));
  const named = order.slice(0, 3).map((key) => `${token(key)} (${short(weight(row, key))}${isTarget(row, key) ? ', induction target' : ''})`);
  const empty = view.hideFirst ? 'Nothing is left of this row without the first token.' : 'No token gets more than .01.';
  reading.textContent = named.length ? `Looks most at ${named.join(', ')}.` : empty;
  const text = $('.ia-text');
  text.replaceChildren();
  data.tokens.forEach((words, position) => {
    const span = make('span', 'ia-token', words);
    const value = weight(row, position);
    span.dataset.position = position;
    if (position > row) span.classList.add('ia-later');
    else {
      span.style.background = colour(value, {});
      span.classList.toggle('ih-strong', value >= 0.6);
    }
    span.classList.toggle('ia-here', position === row);
    span.classList.toggle('ia-target', isTarget(row, position));
    span.title = position <= row ? `token ${position}, weight ${short(value)}` : `token ${position}, later than the query`;
    text.append(span);
    if (words.includes('⏎')) text.append(make('br'));
  });
  drawWritten();
}

$('.ia-text').addEventListener('click', (event) => {
  const span = event.target.closest('.ia-token');
  if (span) chooseRow(Number(span.dataset.position));
});

function list(title, rows, next) {
  const table = make('table', 'ih-table');
  table.append(make('caption', '', title));
  rows.forEach(([words, value], index) => {
    const line = make('tr', index === next ? 'ia-next' : '');
    line.append(make('td', 'ia-word', words), make('td', '', `${value > 0 ? '+' : ''}${value.toFixed(2)}`));
    table.append(line);
  });
  return table;
}

function drawWritten() {
  const place = $('.ia-written');
  const found = written.get(name());
  if (!found || found.error) {
    place.replaceChildren(make('p', 'ih-note', found ? found.error : 'Reading what the head writes…'));
    return;
  }
  const { row } = view;
  const next = found.following[row];
  const gets = next && `${next[0] > 0 ? '+' : ''}${next[0].toFixed(2)} logits, rank ${next[1]} of all tokens`;
  let words = 'The prompt ends here, and its last token did not occur before.';
  if (row < n - 1) words = `The token that follows, ${token(row + 1)}: ${gets}.`;
  else if (next) words = `The prompt ends here. Induction continues with ${token(latestTarget(row))}: ${gets}.`;
  const lists = make('div', 'ia-lists');
  lists.append(list('Promoted', found.promoted[row], next ? next[1] - 1 : -1), list('Suppressed', found.suppressed[row], -1));
  const how = 'Logits above the mean of the vocabulary, by the direct path alone: head output through the norms on its way and the unembedding.';
  place.replaceChildren(make('p', 'ia-follow', words), lists, make('p', 'ih-caption', how));
}

function chooseRow(row) {
  view.row = clamp(row, 0, n - 1);
  drawMarks();
  drawRow();
  tellState();
}

// -- heads ---------------------------------------------------------------------------------------------------

function choose(layers, heads) {  // by the visitor: so many further, as far as there are any
  const layer = clamp(view.layer + layers, 0, data.n_layers - 1);
  const head = clamp(view.head + heads, 0, data.n_heads - 1);
  if (layer === view.layer && head === view.head) return;
  show(layer, head);
  tellHead();
}

function show(layer, head) {
  const moved = layer !== view.layer;
  Object.assign(view, { layer, head });
  paint();
  if (moved && !view.all) drawThumbs();
  else markThumbs();
}

async function paint() {
  const mine = ++newest;
  const { layer, head } = view;
  const tile = await load(layer);
  if (mine !== newest || !data) return;
  if (!tile) {  // the server kept other prompts meanwhile
    tiles.clear();
    trigger('run', {});
    return;
  }
  weights = tile.cells.subarray(head * n * n, (head + 1) * n * n);
  $('.ia-title').textContent = `Head ${name()} of ${data.name}`;
  matrix.setAttribute('aria-label', `Attention of head ${name()}, ${n} tokens`);
  const figures = data.scores.map(({ title, values, ceiling }) => {
    const value = values[layer][head];
    const named = title.toLowerCase();
    if (value === null) return `${named} undefined (nothing repeats)`;
    // Where one query has several cells, no head can score 1.
    const share = ceiling < 0.995 ? ` (${short(value / ceiling)} of the ceiling ${short(ceiling)})` : '';
    return `${named} ${short(value)}${share}`;
  });
  $('.ia-scores').textContent = `On this prompt: ${figures.join(', ')}.`;
  drawMatrix();
  drawRow();
  if (!written.has(name())) askWritten();
  element.dataset.painted = `${name()}${view.hideFirst ? ' without first' : ''}`;
}

async function drawThumbs() {
  const { layer, all } = view;
  const tile = await load(all ? 'all' : layer);
  if (!tile || !data || all !== view.all || (!all && layer !== view.layer)) return;
  const count = data.n_heads;
  const area = tile.size * tile.size;
  $('.ia-heads').textContent = all ? `All ${data.n_layers} × ${count} heads` : `Heads of layer ${layer}`;
  $('.ia-all').textContent = all ? 'This layer only' : 'All layers';
  thumbs.classList.toggle('ia-many', all);
  const columns = Math.ceil(count / Math.ceil(count / THUMBS));
  thumbs.style.setProperty('--ia-heads', count);
  thumbs.style.setProperty('--ia-columns', columns);
  thumbs.replaceChildren();
  const room = thumbs.clientWidth / (all ? count + 1 : columns) - 12;  // CSS pixels of a picture, about
  const side = clamp(room, 16, 80) * (window.devicePixelRatio || 1);
  for (let index = 0; index < tile.cells.length / area; index++) {
    const [l, h] = all ? [Math.floor(index / count), index % count] : [layer, index];
    if (all && h === 0) thumbs.append(make('span', 'ih-label', String(l)));
    const button = make('button', 'ia-thumb');
    button.type = 'button';
    button.setAttribute('role', 'radio');
    const induction = data.scores[0].values[l][h];
    const figure = induction === null ? '' : `, induction ${short(induction)}`;
    button.setAttribute('aria-label', `Head ${l}.${h}${figure}`);
    button.title = `Head ${l}.${h}${figure}`;
    [button.dataset.l, button.dataset.h] = [l, h];
    button.append(pooled(tile.cells.subarray(index * area, (index + 1) * area), tile.size, side));
    if (!all) button.append(make('span', '', `${l}.${h}`));
    thumbs.append(button);
  }
  markThumbs();
  const now = thumb(view.layer, view.head);  // in sight, without scrolling the page
  if (now) thumbs.scrollTop += now.getBoundingClientRect().top - thumbs.getBoundingClientRect().top - thumbs.clientHeight / 2;
}

function thumb(layer, head) { return thumbs.querySelector(`[data-l="${layer}"][data-h="${head}"]`); }

function markThumbs() {
  for (const button of thumbs.querySelectorAll('button')) {
    button.setAttribute('aria-checked', 'false');
    button.tabIndex = -1;
  }
  const now = thumb(view.layer, view.head);
  if (!now) return;
  now.setAttribute('aria-checked', 'true');
  now.tabIndex = 0;
}

thumbs.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) choose(button.dataset.l - view.layer, button.dataset.h - view.head);
});
thumbs.addEventListener('keydown', (event) => {
  const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!move || !data) return;
  event.preventDefault();
  choose(...(view.all ? move : [0, move[0] + move[1]]));
  const now = thumb(view.layer, view.head);
  if (now) now.focus();
});
$('.ia-all').addEventListener('click', () => { view.all = !view.all; drawThumbs(); });
$('.ia-hide').addEventListener('change', (event) => {
  view.hideFirst = event.target.checked;
  drawCaption();
  paint();
  drawThumbs();
  tellState();
});
$('.ia-outline').addEventListener('change', drawMatrix);

// -- what the server sends -----------------------------------------------------------------------------------

function drawCaption() {
  const renormalised = ' The first token is left out and every row is renormalised to sum to 1.';
  $('.ia-caption').textContent = `${data.caption}${view.hideFirst ? renormalised : ''}`;
}

function latestTarget(query) {  // -1 where nothing was repeated
  for (let key = query - 1; key > 0; key--) if (isTarget(query, key)) return key;
  return -1;
}

function usualRow() {  // the last token that has an induction target, else the last one
  for (let query = n - 1; query > 0; query--) if (latestTarget(query) > 0) return query;
  return n - 1;
}

function headOf(text) {
  const [layer, head] = String(text || '').split('.').map(Number);
  return [clamp(layer || 0, 0, data.n_layers - 1), clamp(head || 0, 0, data.n_heads - 1)];
}

async function receive() {
  const value = props.value;
  const mine = ++received;
  if (value && value.run && data && data.request.model === value.model) {
    trigger('run', {});
    return;
  }
  delete element.dataset.painted;
  if (!value || !value.tokens) {
    data = weights = plot = null;
    body.hidden = true;
    missing.hidden = false;
    missing.textContent = (value && value.missing) || '';
    if (value && value.run) trigger('run', {});
    return;
  }
  const decoded = await decode({ png: value.targets, size: value.tokens.length });
  if (mine !== received) return;
  data = value;
  n = data.tokens.length;
  targets = decoded.cells;
  hover = null;
  written = new Map();
  const [layer, head] = headOf(props.selected || data.head);
  const row = data.row >= 0 && data.row < n ? data.row : usualRow();
  Object.assign(view, { layer, head, row, hideFirst: data.hide_first });
  tiles = new Map([[`${data.layer}/${data.hide_first}`, decode(data.tiles)]]);
  $('.ia-hide').checked = view.hideFirst;
  $('.ia-notice').textContent = data.notice;
  $('.ia-notice').hidden = !data.notice;
  missing.hidden = true;
  body.hidden = false;
  readPalette();
  drawCaption();
  drawThumbs();
  paint();
}

function follow() {  // another head was selected elsewhere
  if (!data || tellHead.waits()) return;
  const [layer, head] = headOf(props.selected);
  if (layer !== view.layer || head !== view.head) show(layer, head);
}

function hear() {
  const found = props.written;
  if (!data || !found || JSON.stringify(found.request) !== JSON.stringify(data.request)) return;
  written.set(found.head, found);
  if (found.head === name()) drawWritten();
  else if (!written.has(name())) askWritten();
}

watch('value', receive);
watch('selected', follow);
watch('written', hear);
new ResizeObserver(() => { if (data) drawMatrix(); }).observe(matrix);
new MutationObserver(() => {  // light and dark
  if (!data) return;
  readPalette();
  drawMatrix();
  drawThumbs();
}).observe(document.body, { attributeFilter: ['class'] });
receive();
