// Attention of one prompt, drawn by hand: hundreds of matrices on canvas, where charts would take seconds. Labels and
// weights are data: they become pixels and textContent, never HTML.
const $ = (selector) => element.querySelector(selector);
const [missing, body, text, matrix, base, marks, thumbs, chips, add, tip] =
  ['.ia-missing', '.ia-body', '.ia-text', '.ia-matrix', '.ia-base', '.ia-over', '.ia-thumbs', '.ia-chips', '.ia-add', '.ih-tip'].map($);
const TELL_AFTER = 150;  // ms of rest before the server hears of a head or token: arrow keys run ahead of it
const THUMB = 52;        // smallest picture of a head of the layer, in CSS pixels: a finger hits it
const OUTLINED = 3;      // smallest cell in CSS pixels whose outline leaves its colour in sight
const LABEL = matchMedia('(max-width: 640px)').matches ? 12 : 8;  // smallest letters on the matrix, in CSS pixels
const ROLES = ['accent', 'selected', 'second', 'ink'];  // colours of heads laid over each other, in their order
const DEEPEST = 32;      // zoom
const LISTED = 12;       // cells in the table
const WEAK = 10;         // rank from which on a head that looks at its target is said not to promote it

let data = null;          // props.value while it holds a prompt
let n = 0;                // its tokens
// The token on show is the one under the pointer or the focus, unless one is kept.
let view = { layer: 0, head: 0, row: 0, kept: false, from: true, hideFirst: false, all: false };
let over = null;          // token under the pointer or the focus
let hover = null;         // {query, key} under the pointer in the matrix
let beside = [];          // names of heads laid over the one on show
let off = new Set();      // names of heads that are switched off in the legend
let tiles = new Map();    // "layer/hideFirst" or "all/hideFirst" -> promise of {cells, size}
let cells = new Map();    // name of a head on show -> Uint8Array [query * n + key]
let written = new Map();  // name of a head -> what it writes
let targets = null;       // Uint8Array [query * n + key]
let sight = { zoom: 1, x: 0, y: 0 };  // what of the matrix is in sight, in cells
let plot = null;          // geometry of the matrix in CSS pixels: {cell, left, top, side}
let [newest, received] = [0, 0];  // numbers of the latest paint and value: earlier ones give up

const name = () => `${view.layer}.${view.head}`;
const at = () => (view.kept ? view.row : over ?? view.row);
const isTarget = (query, key) => key >= 0 && targets[query * n + key] > 0;
const token = (position) => `${position} ${data.tokens[position]}`;
const placeOf = (head) => head.split('.').map(Number);
const exists = ([layer, head]) => layer < data.n_layers && head < data.n_heads;
const weight = (of, query, key) => (key <= query ? of[query * n + key] / 255 : 0);
const cellOf = (position) => (view.from ? [at(), position] : [position, at()]);  // [query, key] that colours a token
const sees = (position) => (view.from ? position <= at() : position >= at());

function onShow() {  // heads on show with their colours, the selected one first
  return [name(), ...beside].map((head, index) => ({ head, of: cells.get(head), role: ROLES[index] }))
    .filter(({ head, of }) => of && !off.has(head));
}

// -- what the server knows -----------------------------------------------------------------------------------

async function ask(wanted) {
  const answer = await server.fetch({ ...data.request, hide_first: view.hideFirst, ...wanted });
  if (answer.gone) {  // the server kept other prompts meanwhile
    tiles.clear();
    trigger('run', {});
  }
  if (answer.written) hear(answer.written);
  return answer;
}

function load(layer, writes) {  // a layer's number or 'all', and what a head of it writes along with it
  const key = `${layer}/${view.hideFirst}`;
  if (!tiles.has(key)) {
    tiles.set(key, ask({ layer, writes }).then((answer) => (answer.tiles ? decodePicture(answer.tiles) : null)));
  }
  return tiles.get(key);
}

function hear(found) {
  written.set(found.head, found);
  if (found.head === name()) drawWritten();
}

function afterRest(act) {  // act once, after the last call
  let timer = null;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, TELL_AFTER);
  };
}
const tellHead = afterRest(() => trigger('pick', { layer: view.layer, head: view.head }));
const tellState = afterRest(() => trigger('state', { row: view.kept ? view.row : -1, hide_first: view.hideFirst }));
const askWritten = afterRest(() => { if (data && !written.has(name())) ask({ writes: name() }); });

// -- colours -------------------------------------------------------------------------------------------------

let palette = null;
function readPalette() {  // of the theme on show
  const style = getComputedStyle(element);
  const of = (role) => style.getPropertyValue(`--ih-${role}`).trim();
  const steps = [0, 1, 2, 3, 4, 5].map((i) => rgbOf(of(`sequential-${i}`)));
  const heads = Object.fromEntries(ROLES.map((role) => [role, rgbOf(of(role))]));
  palette = {
    scale: scaleOf(steps), ground: steps[0], heads, ink: of('ink'), muted: of('muted'), selected: of('selected'),
    second: of('second'), line: of('line'), mono: style.getPropertyValue('--font-mono') || 'monospace',
  };
}

function picture(heads) {  // one head on the scale of the page, several in colours of their own
  if (heads.length === 1 && !beside.length) return paintCells(n, (index) => palette.scale[heads[0].of[index]]);
  return paintCells(n, (index) =>
    heads.reduce((rgb, { of, role }) => mixed(rgb, palette.heads[role], of[index] / 255), palette.ground));
}

// -- the matrix ----------------------------------------------------------------------------------------------

const toX = (key) => plot.left + (key - sight.x) * plot.cell;
const toY = (query) => plot.top + (query - sight.y) * plot.cell;
const inSight = (position, start) => position + 0.5 >= start && position + 0.5 <= start + plot.side / plot.cell;

function measure() {
  const width = matrix.clientWidth;
  const context = base.getContext('2d');
  context.font = `${Math.max(LABEL, 10)}px ${palette.mono}`;
  const widest = Math.max(...data.tokens.map((words) => context.measureText(words).width));
  const margin = clamp(Math.ceil(widest) + 10, 30, Math.min(72, width / 4));
  const tall = window.matchMedia('(min-width: 901px)').matches ? Math.max(300, window.innerHeight - 380) : width;
  let cell = Math.min((Math.min(width, tall) - margin - 1) / n, 24);
  if (cell >= 4) cell = Math.floor(cell);
  const side = n * cell;
  sight.x = clamp(sight.x, 0, n - n / sight.zoom);
  sight.y = clamp(sight.y, 0, n - n / sight.zoom);
  plot = { cell: cell * sight.zoom, left: margin, top: margin, side };
}

function clipped(context, draw) {
  context.save();
  context.beginPath();
  context.rect(plot.left - 1, plot.top - 1, plot.side + 2, plot.side + 2);
  context.clip();
  draw();
  context.restore();
}

function label(context, position, colour, bold, side) {  // a token's name at its row ('left') or column ('top')
  const { cell, left, top } = plot;
  if (!inSight(position, side === 'left' ? sight.y : sight.x)) return;
  context.font = `${bold ? '700 ' : ''}${clamp(cell - 1, LABEL, 12)}px ${palette.mono}`;
  context.fillStyle = colour;
  context.textBaseline = 'middle';
  context.direction = 'ltr';
  const words = cutText(context, data.tokens[position], left - 8);
  if (side === 'left') {
    context.textAlign = 'right';
    context.fillText(words, left - 5, toY(position + 0.5));
    return;
  }
  context.save();
  context.translate(toX(position + 0.5), top - 5);
  context.rotate(-Math.PI / 2);
  context.textAlign = 'left';
  context.fillText(words, 0, 0);
  context.restore();
}

function drawMatrix() {
  if (!data || !cells.has(name()) || !matrix.clientWidth) return;
  measure();
  const { cell, left, top, side } = plot;
  const context = fitCanvas(base, left + side + 1, top + side + 1);
  context.imageSmoothingEnabled = false;
  clipped(context, () => {
    context.drawImage(picture(onShow()), toX(0), toY(0), n * cell, n * cell);
    if (cell >= 6) drawHairlines(context);
    if ($('.ia-outline').checked && cell >= OUTLINED) drawTargets(context);
  });
  $('.ia-target-words').textContent = cell >= OUTLINED ? 'induction target' : 'induction targets, closer up';
  matrix.classList.toggle('ia-zoomed', sight.zoom > 1);
  drawMarks();
}

function drawHairlines(context) {
  context.strokeStyle = palette.line;
  context.globalAlpha = 0.45;
  context.beginPath();
  for (let i = 0; i <= n; i++) {
    context.moveTo(toX(Math.max(i - 1, 0)), toY(i) + 0.5);
    context.lineTo(toX(Math.min(i, n)), toY(i) + 0.5);
  }
  context.stroke();
  context.globalAlpha = 1;
}

function drawTargets(context) {
  const { cell } = plot;
  context.strokeStyle = beside.length ? palette.muted : palette.second;
  context.lineWidth = cell >= 6 ? 1.5 : 1;
  const inset = cell >= 6 ? 0.75 : -0.5;
  for (let query = 0; query < n; query++) {
    for (let key = 0; key < query; key++) {
      if (isTarget(query, key)) context.strokeRect(toX(key) + inset, toY(query) + inset, cell - 2 * inset, cell - 2 * inset);
    }
  }
}

function drawMarks() {  // the token on show, and what the pointer is on
  if (!plot) return;
  const { cell, left, top, side } = plot;
  const context = fitCanvas(marks, left + side + 1, top + side + 1);
  const here = at();
  clipped(context, () => {
    context.strokeStyle = beside.length ? palette.ink : palette.selected;
    context.lineWidth = 2;
    if (view.from) context.strokeRect(toX(0) - 1, toY(here) - 1, (here + 1) * cell + 2, cell + 2);
    else context.strokeRect(toX(here) - 1, toY(here) - 1, cell + 2, (n - here) * cell + 2);
    if (!hover) return;
    context.strokeStyle = palette.ink;
    context.lineWidth = 1;
    context.strokeRect(toX(hover.key) - 0.5, toY(hover.query) - 0.5, cell + 1, cell + 1);
  });
  const marked = { left: new Map(), top: new Map() };
  marked[view.from ? 'left' : 'top'].set(here, palette.selected);
  if (hover) {
    marked.left.set(hover.query, palette.ink);
    marked.top.set(hover.key, palette.ink);
  }
  const every = Math.ceil((LABEL + 3) / cell);
  for (const [where, bold] of Object.entries(marked)) {  // no label so near another one that they collide
    const near = (position) => [...bold.keys()].some((other) => Math.abs(other - position) * cell < LABEL + 3);
    for (let position = 0; position < n; position += every) if (!near(position)) label(context, position, palette.muted, false, where);
    bold.forEach((colour, position) => label(context, position, colour, true, where));
  }
}

function cellAt(event) {  // in front of the first column counts as the first
  if (!plot) return null;
  const box = base.getBoundingClientRect();
  const key = Math.floor((event.clientX - box.left - plot.left) / plot.cell + sight.x);
  const query = Math.floor((event.clientY - box.top - plot.top) / plot.cell + sight.y);
  const inside = event.clientY - box.top >= plot.top && query < n && key < n && event.clientX - box.left <= plot.left + plot.side;
  return inside ? { query, key: Math.max(key, 0), sees: event.clientX - box.left >= plot.left && key <= query } : null;
}

function pointAt(event) {
  const found = cellAt(event);
  hover = found && found.sees ? found : null;
  over = found ? (view.from ? found.query : hover && found.key) : null;
  drawToken();
  tip.hidden = !hover;
  if (!hover) return;
  const { query, key } = hover;
  const figures = onShow().map(({ head, of }) => `${beside.length ? `${head}: ` : 'weight '}${short(weight(of, query, key))}`);
  const words = `${figures.join(' · ')}${isTarget(query, key) ? ' · induction target' : ''}`;
  tip.replaceChildren(make('span', '', `${token(query)}  →  ${token(key)}`), make('strong', '', words));
  const box = base.getBoundingClientRect();
  const point = { left: box.left + toX(key + 0.5), top: box.top + toY(query), width: 0 };
  placeTip(tip, { getBoundingClientRect: () => point });
}

function leave() {
  [hover, over] = [null, null];
  tip.hidden = true;
  if (data) drawToken();
}

// -- zoom and pan --------------------------------------------------------------------------------------------

function zoom(factor, x, y) {  // about a point of the square, in CSS pixels
  const before = plot.cell;
  const place = [sight.x + x / before, sight.y + y / before];
  const fit = before / sight.zoom;
  sight.zoom = clamp(sight.zoom * factor, 1, Math.max(1, Math.min(DEEPEST, n / 4)));
  [sight.x, sight.y] = [place[0] - x / (fit * sight.zoom), place[1] - y / (fit * sight.zoom)];
  drawMatrix();
}

function strongestCell() {  // of the token on show, in the square in CSS pixels; its middle where that is out of sight
  const of = cells.get(name());
  if (!of) return [plot.side / 2, plot.side / 2];
  const positions = [...data.tokens.keys()].filter(sees);
  const best = positions.reduce((a, b) => (weight(of, ...cellOf(b)) > weight(of, ...cellOf(a)) ? b : a));
  const [query, key] = cellOf(best);
  const place = [toX(key + 0.5) - plot.left, toY(query + 0.5) - plot.top];
  return place.every((x) => x >= 0 && x <= plot.side) ? place : [plot.side / 2, plot.side / 2];
}

function pan(x, y) {
  sight.x -= x / plot.cell;
  sight.y -= y / plot.cell;
  drawMatrix();
}

const inSquare = (event) => {
  const box = base.getBoundingClientRect();
  return [event.clientX - box.left - plot.left, event.clientY - box.top - plot.top];
};
matrix.addEventListener('wheel', (event) => {  // the whole matrix cannot shrink: then the page scrolls
  if (!plot || (sight.zoom === 1 && event.deltaY > 0)) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.06 : 0.002)), ...inSquare(event));
  pointAt(event);
}, { passive: false });

const pointers = new Map();  // those that are down
let moved = false;
matrix.addEventListener('pointerdown', (event) => {
  if (!plot) return;
  if (!pointers.size) moved = false;
  pointers.set(event.pointerId, event);
});
matrix.addEventListener('pointermove', (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) {
    if (event.pointerType === 'mouse') pointAt(event);
    return;
  }
  const [x, y] = [event.clientX - last.clientX, event.clientY - last.clientY];
  if (!moved && Math.hypot(x, y) < 4) return;
  moved = true;
  const [other] = [...pointers.values()].filter((one) => one.pointerId !== event.pointerId);
  if (other) {
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
    pan(x / 2, y / 2);
    zoom(apart(event) / Math.max(apart(last), 1), ...inSquare(middle));
  } else if (sight.zoom > 1) pan(x, y);
  pointers.set(event.pointerId, event);
});
for (const end of ['pointerup', 'pointercancel', 'pointerleave']) {
  matrix.addEventListener(end, (event) => {
    pointers.delete(event.pointerId);
    if (end === 'pointerleave') leave();
  });
}
matrix.addEventListener('click', (event) => {
  const found = moved ? null : cellAt(event);
  if (found) keep(view.from ? found.query : Math.min(found.key, n - 1));
});
$('.ia-zooms').addEventListener('click', (event) => {
  const factor = Number(event.target.dataset.zoom);
  if (!plot || Number.isNaN(factor)) return;
  zoom(factor, ...strongestCell());
});

// -- keys ----------------------------------------------------------------------------------------------------

const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10, Home: -Infinity, End: Infinity };
element.addEventListener('keydown', (event) => {
  if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape' && view.kept) letGo();
});
text.addEventListener('keydown', (event) => {
  const span = event.target.closest('.ia-token');
  if (!span || event.ctrlKey || event.metaKey || event.altKey) return;
  const position = Number(span.dataset.position);
  if (event.key === 'Enter' || event.key === ' ') keep(position);
  else if (event.key in STEPS) text.children[clamp(position + STEPS[event.key], 0, n - 1)].focus();
  else return;
  event.preventDefault();
});
matrix.addEventListener('keydown', (event) => {
  const rows = { ArrowUp: view.row - 1, ArrowDown: view.row + 1, Home: 0, End: n - 1, PageUp: view.row - 10, PageDown: view.row + 10 };
  const heads = { ArrowLeft: -1, ArrowRight: 1 };
  const zooms = { '+': 2, '-': 0.5, 0: 0 };
  if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in rows) keep(rows[event.key], true);
  else if (event.key in heads) choose(0, heads[event.key]);
  else if (event.key in zooms) zoom(zooms[event.key], ...strongestCell());
  else return;
  event.preventDefault();
});

// -- the text ------------------------------------------------------------------------------------------------

function buildText() {
  text.replaceChildren(...data.tokens.map((words, position) => {
    const span = make('span', 'ia-token', words);
    span.setAttribute('role', 'option');
    span.dataset.position = position;
    span.classList.toggle('ia-breaks', words.includes('⏎'));
    return span;
  }));
}

function drawText() {
  const heads = onShow();
  const several = beside.length > 0;
  body.classList.toggle('ia-several', several);
  text.style.setProperty('--ia-bars', heads.length);
  for (const span of text.children) {
    const position = Number(span.dataset.position);
    const [query, key] = cellOf(position);
    const figures = heads.map(({ of }) => weight(of, query, key));
    const bars = heads.map(({ role }, i) => `color-mix(in srgb, var(--ih-${role}) ${Math.round(100 * figures[i])}%, transparent)`);
    span.style.backgroundColor = sees(position) && !several && heads.length ? colour(figures[0], {}) : '';
    span.style.backgroundImage = several ? bars.map((bar) => `linear-gradient(${bar} 0 0)`).join() : '';
    if (several) {
      span.style.backgroundPosition = bars.map((_, i) => `0 calc(100% - ${4 * (bars.length - 1 - i) + 1}px)`).join();
    }
    const set = (kind, is) => span.classList.toggle(kind, is);
    set('ih-strong', !several && sees(position) && figures[0] >= 0.6);
    set('ia-later', !sees(position));
    set('ia-here', position === at());
    set('ia-target', sees(position) && isTarget(query, key));
    set('ia-lit', Boolean(hover) && (position === hover.query || position === hover.key));
    span.setAttribute('aria-selected', String(view.kept && position === view.row));
    span.tabIndex = position === at() ? 0 : -1;
    const words = heads.map(({ head }, i) => `${several ? `${head} ` : 'weight '}${short(figures[i])}`).join(', ');
    span.title = `token ${position}, ${sees(position) ? words : view.from ? 'later than the query' : 'earlier than the key'}`;
  }
}

function looks(of) {  // the strongest three looks from the token on show, or at it, in words
  const value = (position) => weight(of, ...cellOf(position));
  const order = Array.from({ length: n }, (_, position) => position).filter((position) => sees(position) && value(position) >= 0.01);
  order.sort((a, b) => value(b) - value(a));
  const target = (position) => (isTarget(...cellOf(position)) ? ', induction target' : '');
  return order.slice(0, beside.length ? 1 : 3).map((position) => `${token(position)} (${short(value(position))}${target(position)})`).join(', ');
}

function drawReading() {
  const heads = onShow().map(({ head, of }) => [head, looks(of)]);
  const nothing = view.from && view.hideFirst ? 'at nothing but the first token' : view.from ? 'at no token above .01' : 'from no token above .01';
  const said = ([head, words]) => {
    const looked = words ? (view.from ? `looks most at ${words}` : `looks at it most from ${words}`) : `looks ${view.from ? '' : 'at it '}${nothing}`;
    return `${beside.length ? head : 'the head'} ${looked}`;
  };
  $('.ia-reading').textContent = heads.length
    ? `${view.from ? 'From' : 'At'} token ${token(at())}: ${heads.map(said).join('; ')}.`
    : 'All heads are switched off.';
  $('.ia-hint').textContent = view.kept
    ? `Token ${view.row} is kept: Escape, or another click on it, lets go.`
    : 'Point at a token, here or in the matrix; click to keep it.';
}

function reveal() {  // the token on show, where the text scrolls
  const [box, span] = [text, text.children[at()]].map((node) => node.getBoundingClientRect());
  if (span.top < box.top || span.bottom > box.bottom) text.scrollTop += span.top - box.top - text.clientHeight / 2;
}

function drawToken() {  // all that follows the token on show
  drawMarks();
  drawText();
  drawReading();
  drawWritten();
}

const positionOf = (event) => {
  const span = event.target.closest('.ia-token');
  return span ? Number(span.dataset.position) : null;
};
function preview(position) {
  if (!data || position === over) return;
  over = position;
  if (view.kept && over !== null) hover = view.from ? { query: Math.max(view.row, over), key: Math.min(view.row, over) } : null;
  drawToken();
}
text.addEventListener('pointerover', (event) => { if (event.pointerType === 'mouse') preview(positionOf(event)); });
text.addEventListener('pointerleave', leave);
text.addEventListener('focusin', (event) => { if (event.target.matches(':focus-visible')) preview(positionOf(event)); });
text.addEventListener('focusout', leave);
text.addEventListener('click', (event) => { if (positionOf(event) !== null) keep(positionOf(event)); });

function keep(position, always = false) {  // a click on the one that is kept lets go
  const row = clamp(position, 0, n - 1);
  if (!always && view.kept && row === view.row) { letGo(); return; }
  Object.assign(view, { row, kept: true });
  over = null;
  drawToken();
  reveal();
  tellState();
}

function letGo() {
  view.kept = false;
  drawToken();
  tellState();
}

// -- what the head writes ------------------------------------------------------------------------------------

const signed = (value) => `${value > 0 ? '+' : ''}${value.toFixed(2)}`;
function list(title, rows, next) {
  const table = make('table', 'ih-table');
  table.append(make('caption', '', title));
  rows.forEach(([words, value], index) => {
    const line = make('tr', index === next ? 'ia-next' : '');
    line.append(make('td', 'ia-word', words), make('td', '', signed(value)));
    table.append(line);
  });
  return table;
}

function latestTarget(query) {  // -1 where nothing was repeated
  for (let key = query - 1; key > 0; key--) if (isTarget(query, key)) return key;
  return -1;
}

function followed(found, row) {  // what the head does for the token that comes next, and why that may be little
  const next = found.following[row];
  if (!next) return 'The prompt ends here, and its last token did not occur before.';
  const gets = `${signed(next[0])} logits, rank ${next[1].toLocaleString('en')} of ${found.n_vocab.toLocaleString('en')} tokens`;
  const said = row < n - 1
    ? `The token that follows, ${token(row + 1)}: ${gets}.`
    : `The prompt ends here. Induction continues with ${token(latestTarget(row))}: ${gets}.`;
  const looks = Array.from({ length: row }, (_, key) => key).reduce((sum, key) => sum + (isTarget(row, key) ? weight(cells.get(name()), row, key) : 0), 0);
  if (next[1] <= WEAK || looks < data.stripe) return said;
  return `${said} It looks there (${short(looks)}) and yet hardly writes that token itself: other heads may do that, or layers above it, which this direct path leaves out.`;
}

function drawWritten() {
  if (!cells.has(name())) return;  // its weights are on their way
  const place = $('.ia-written');
  const found = written.get(name());
  const row = at();
  $('.ia-where').textContent = `What head ${name()} writes at token ${token(row)}`;
  $('.ia-how').hidden = !found?.following;
  if (!found?.following) {
    const words = make('p', 'ih-note', found ? found.error || 'The example that comes with the model has this of its strongest heads only.' : 'Reading what the head writes…');
    place.replaceChildren(words);
    if (!found || found.error) return;
    const button = make('button', 'ih-more ia-read', `Load ${data.name} and read it`);
    button.type = 'button';
    place.append(button);
    return;
  }
  const next = found.following[row];
  const lists = make('div', 'ia-lists');
  lists.append(list('Promoted', found.promoted[row], next ? next[1] - 1 : -1), list('Suppressed', found.suppressed[row], -1));
  place.replaceChildren(make('p', 'ia-follow', followed(found, row)), lists);
}
$('.ia-written').addEventListener('click', (event) => { if (event.target.closest('.ia-read')) trigger('run', {}); });

// -- heads ---------------------------------------------------------------------------------------------------

function choose(layers, heads) {  // by the visitor: so many further, as far as there are any
  const layer = clamp(view.layer + layers, 0, data.n_layers - 1);
  const head = clamp(view.head + heads, 0, data.n_heads - 1);
  if (layer === view.layer && head === view.head) return;
  show(layer, head);
  selectHead(name());
  tellHead();
}

function show(layer, head) {
  const elsewhere = layer !== view.layer;
  Object.assign(view, { layer, head });
  beside = beside.filter((one) => one !== name());
  paint();
  if (elsewhere && !view.all) drawThumbs();
  else markThumbs();
}

async function paint() {
  const mine = ++newest;
  const heads = [name(), ...beside];
  const asked = written.has(name()) ? undefined : name();
  const found = await Promise.all(heads.map((one, index) => load(placeOf(one)[0], index ? undefined : asked)));
  if (mine !== newest || !data || found.includes(null)) return;
  cells = new Map(heads.map((one, index) => {
    const start = placeOf(one)[1] * n * n;
    return [one, found[index].cells.subarray(start, start + n * n)];
  }));
  if (view.row < 0) view.row = strongestRow();
  drawTitle();
  drawChips();
  drawMatrix();
  drawToken();
  reveal();
  drawCells();
  if (!written.has(name())) askWritten();
  element.dataset.painted = `${name()}${view.hideFirst ? ' without first' : ''}`;
}

function strongestRow() {  // the token whose induction target gets most, else the last one
  const of = cells.get(name());
  let [best, value] = [n - 1, 0];
  for (let index = 0; index < n * n; index++) {
    if (targets[index] && of[index] > value) [best, value] = [Math.floor(index / n), of[index]];
  }
  return best;
}

const scoreOf = (score, head) => score.values[placeOf(head)[0]][placeOf(head)[1]];
function drawTitle() {
  $('.ia-title').textContent = beside.length ? `Heads ${[name(), ...beside].join(', ')} of ${data.name}` : `Head ${name()} of ${data.name}`;
  matrix.setAttribute('aria-label', `Attention of head ${name()}, ${n} tokens`);
  const [induction] = data.scores;
  const value = scoreOf(induction, name());
  const share = value === null || induction.ceiling >= 0.995 ? '' : ` (at most ${short(induction.ceiling)} is possible)`;
  const looks = value >= data.stripe * induction.ceiling ? 'looks' : 'does not look';
  $('.ia-verdict').textContent = value === null
    ? 'Nothing repeats in this prompt, so there is nothing for induction to find.'
    : `Head ${name()} ${looks} where induction would: on repeated tokens ${short(value)}${share} of its attention goes to the token after the earlier copy.`;
  const figures = data.scores.map((score) => {
    const figure = scoreOf(score, name());
    return `${score.title.toLowerCase()} ${figure === null ? 'undefined (nothing repeats)' : short(figure)}`;
  });
  const renormalised = view.hideFirst ? ' The first token is left out and every row is renormalised to sum to 1.' : '';
  $('.ia-caption').textContent = `Scores of head ${name()} on this prompt: ${figures.join(', ')}. ${data.caption}${renormalised}`;
}

function drawCells() {  // the matrix as a table, for whoever cannot see it
  const of = cells.get(name());
  const order = Array.from(of.keys()).filter((index) => of[index] > 2 && index % n <= Math.floor(index / n));
  order.sort((a, b) => of[b] - of[a]);
  const table = make('table', 'ih-table');
  const row = (kind, words) => {
    const line = make('tr');
    line.append(...words.map((word) => make(kind, '', word)));
    return line;
  };
  table.append(make('caption', 'ih-hidden', `Strongest cells of head ${name()}`), row('th', ['From token', 'to token', 'weight', 'induction target']));
  for (const index of order.slice(0, LISTED)) {
    const [query, key] = [Math.floor(index / n), index % n];
    table.append(row('td', [token(query), token(key), short(of[index] / 255), isTarget(query, key) ? 'yes' : 'no']));
  }
  $('.ia-cells .ih-scroll').replaceChildren(table);
}

// -- heads over each other -----------------------------------------------------------------------------------

function drawChips() {
  chips.querySelectorAll('.ia-chip').forEach((chip) => chip.remove());
  [name(), ...beside].forEach((head, index) => {
    if (!beside.length) return;
    const chip = make('span', 'ia-chip');
    chip.style.setProperty('--ia-colour', `var(--ih-${ROLES[index]})`);
    const toggle = make('button', 'ia-toggle');
    toggle.type = 'button';
    toggle.dataset.head = head;
    toggle.setAttribute('aria-pressed', String(!off.has(head)));
    const score = scoreOf(data.scores[0], head);
    toggle.title = `Head ${head}${score === null ? '' : `, induction ${short(score)}`}: show or hide`;
    const scale = scaleOf([palette.ground, palette.heads[ROLES[index]]]);
    toggle.append(paintSmall(cells.get(head), n, 64 * (window.devicePixelRatio || 1), scale), make('span', '', head));
    chip.append(toggle);
    if (index) {
      const close = make('button', 'ia-close', '×');
      close.type = 'button';
      close.dataset.head = head;
      close.setAttribute('aria-label', `Take head ${head} away`);
      chip.append(close);
    }
    add.before(chip);
  });
  const names = data.scores[0].values.flatMap((heads, layer) => heads.map((value, head) => [`${layer}.${head}`, value]));
  names.sort((a, b) => (b[1] ?? 0) - (a[1] ?? 0));
  const option = (value, words) => Object.assign(make('option', '', words), { value });
  const rest = names.filter(([head]) => head !== name() && !beside.includes(head));
  add.replaceChildren(
    option('', beside.length ? 'Add a head…' : 'Compare with another head…'),
    ...rest.map(([head, value]) => option(head, value === null ? head : `${head} · induction ${short(value)}`)),
  );
  add.hidden = beside.length >= ROLES.length - 1 || !rest.length;
}

function lay(head) {  // over the one on show, or away again
  if (head === name()) return;
  beside = beside.includes(head) ? beside.filter((one) => one !== head) : [...beside, head].slice(0, ROLES.length - 1);
  off = new Set([...off].filter((one) => beside.includes(one)));
  markThumbs();
  paint();
}
add.addEventListener('change', () => { if (add.value) lay(add.value); });
chips.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const { head } = button.dataset;
  if (button.classList.contains('ia-close')) { lay(head); add.focus(); return; }
  if (!off.delete(head)) off.add(head);
  button.setAttribute('aria-pressed', String(!off.has(head)));
  drawMatrix();
  drawToken();
});

// -- all heads as small pictures -----------------------------------------------------------------------------

async function drawThumbs() {
  const { layer, all } = view;
  const tile = await load(all ? 'all' : layer, written.has(name()) ? undefined : name());
  if (!tile || !data || all !== view.all || (!all && layer !== view.layer)) return;
  const count = data.n_heads;
  const area = tile.size * tile.size;
  $('.ia-heads').textContent = all ? `All ${data.n_layers} × ${count} heads` : `Heads of layer ${layer}`;
  $('.ia-all').textContent = all ? 'This layer only' : 'All layers';
  thumbs.classList.toggle('ia-many', all);
  const most = Math.max(1, Math.floor(thumbs.clientWidth / THUMB));
  const columns = Math.ceil(count / Math.ceil(count / most));
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
    button.title = `Head ${l}.${h}${figure}; with Shift: laid over the one on show`;
    [button.dataset.l, button.dataset.h] = [l, h];
    button.append(paintSmall(tile.cells.subarray(index * area, (index + 1) * area), tile.size, side, palette.scale));
    if (!all) button.append(make('span', '', `${l}.${h}`));
    thumbs.append(button);
  }
  markThumbs();
  const now = thumb(name());  // in sight, without scrolling the page
  if (now) thumbs.scrollTop += now.getBoundingClientRect().top - thumbs.getBoundingClientRect().top - thumbs.clientHeight / 2;
}

function thumb(head) { return thumbs.querySelector(`[data-l="${placeOf(head)[0]}"][data-h="${placeOf(head)[1]}"]`); }

function markThumbs() {
  for (const button of thumbs.querySelectorAll('button')) {
    button.setAttribute('aria-checked', 'false');
    button.tabIndex = -1;
    button.style.borderColor = '';
  }
  beside.forEach((head, index) => {
    const button = thumb(head);
    if (button) button.style.borderColor = `var(--ih-${ROLES[index + 1]})`;
  });
  const now = thumb(name());
  if (!now) return;
  now.setAttribute('aria-checked', 'true');
  now.tabIndex = 0;
}

thumbs.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (event.shiftKey) lay(`${button.dataset.l}.${button.dataset.h}`);
  else choose(button.dataset.l - view.layer, button.dataset.h - view.head);
});
thumbs.addEventListener('keydown', (event) => {
  const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!move || !data) return;
  event.preventDefault();
  choose(...(view.all ? move : [0, move[0] + move[1]]));
  thumb(name())?.focus();
});
$('.ia-all').addEventListener('click', () => { view.all = !view.all; drawThumbs(); });
$('.ia-hide').addEventListener('change', (event) => {
  view.hideFirst = event.target.checked;
  paint();
  drawThumbs();
  tellState();
});
$('.ia-switches').addEventListener('change', (event) => {
  if (event.target.type !== 'radio') return;
  view.from = $('.ia-from').checked;
  drawToken();
});
$('.ia-outline').addEventListener('change', drawMatrix);

// -- what the server sends -----------------------------------------------------------------------------------

function wait(is) {  // another prompt is being read
  $('.ia-old').hidden = !is;
  body.classList.toggle('ih-stale', is);
}

function clear(value) {
  data = plot = null;
  cells = new Map();
  body.hidden = true;
  missing.hidden = false;
  missing.textContent = (value && value.missing) || '';
  if (value && value.run) trigger('run', {});
}

async function receive() {
  const value = props.value;
  const mine = ++received;
  if (value && value.run && data && data.request.model === value.model) {
    wait(true);
    trigger('run', {});
    return;
  }
  delete element.dataset.painted;
  wait(false);
  if (!value || !value.tokens) { clear(value); return; }
  const decoded = await decodePicture({ png: value.targets, size: value.tokens.length });
  if (mine !== received) return;
  const again = data && JSON.stringify(data.request) === JSON.stringify(value.request);
  data = value;
  n = data.tokens.length;
  targets = decoded.cells;
  written = new Map(data.written ? [[data.written.head, data.written]] : []);
  [hover, over] = [null, null];
  if (!again) [beside, off, sight] = [beside.filter((one) => exists(placeOf(one))), new Set(), { zoom: 1, x: 0, y: 0 }];
  const wanted = placeOf(selectedHead());
  const [layer, head] = exists(wanted) ? wanted : placeOf(data.head);
  const kept = data.row >= 0 && data.row < n;
  Object.assign(view, { layer, head, row: kept ? data.row : -1, kept, hideFirst: data.hide_first });
  if (!exists(wanted)) pickHead(trigger, layer, head);
  beside = beside.filter((one) => one !== name());
  tiles = new Map(Object.entries(data.tiles).map(([key, tile]) => [`${key}/${data.hide_first}`, decodePicture(tile)]));
  $('.ia-hide').checked = view.hideFirst;
  $('.ia-notice').textContent = data.notice;
  $('.ia-notice').hidden = !data.notice;
  missing.hidden = true;
  body.hidden = false;
  readPalette();
  buildText();
  paint();
  drawThumbs();
}

onHead(element, (head) => {  // another head was selected elsewhere
  if (!data || head === name() || !exists(placeOf(head))) return;
  show(...placeOf(head));
});
watch('value', receive);
new ResizeObserver(() => { if (data) drawMatrix(); }).observe(matrix);
window.addEventListener('resize', () => { if (data) drawMatrix(); });  // its height counts, too
new MutationObserver(() => {  // light and dark
  if (!data || !cells.has(name())) return;
  readPalette();
  drawChips();
  drawMatrix();
  drawThumbs();
}).observe(document.body, { attributeFilter: ['class'] });
receive();
