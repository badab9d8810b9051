// The grid of heads, drawn by hand: real buttons with arrow keys and tooltip, as no chart has them. Numbers arrive in
// props.value; text is written with textContent only. Fires 'pick' with {layer, head}. Colours are CSS variables, so dark
// mode needs no redraw.
const root = element.querySelector('.ih-grid');
const tip = element.querySelector('.ih-tip');
const legend = element.querySelector('.ih-legend');
let cells = [];
let shape = '';

function words(layer, head, spec) {  // what the tooltip and the screen reader say
  const value = spec.values[layer][head];
  const parts = [`Head ${layer}.${head}`];
  if (value === null || value === undefined) return [parts[0], spec.missing || 'not measured'];
  let figure = `${spec.title} ${short(value)}`;
  const bounded = spec.low && spec.high && spec.low[layer][head] !== null;
  if (bounded) figure += ` [${short(spec.low[layer][head])}, ${short(spec.high[layer][head])}]`;
  else if (spec.std) figure += ` ± ${short(spec.std[layer][head])}`;
  parts.push(figure);
  if (spec.chance !== null && spec.chance !== undefined) parts.push(`chance ${short(spec.chance)}`);
  if (spec.notes && spec.notes[`${layer}.${head}`]) parts.push(spec.notes[`${layer}.${head}`]);
  return parts;
}

function build(spec) {
  root.replaceChildren();
  cells = [];
  root.style.setProperty('--ih-heads', spec.n_heads);
  root.style.setProperty('--ih-layers', spec.n_layers);
  const line = (role) => {
    const row = document.createElement('div');
    row.setAttribute('role', 'row');
    row.className = 'ih-row';
    root.append(row);
    return row;
  };
  const label = (row, role, text) => {
    const cell = document.createElement('span');
    cell.setAttribute('role', role);
    cell.className = 'ih-label';
    cell.textContent = text;
    row.append(cell);
  };
  const top = line();
  label(top, 'columnheader', 'L\\H');
  for (let head = 0; head < spec.n_heads; head++) label(top, 'columnheader', String(head));
  for (let layer = 0; layer < spec.n_layers; layer++) {
    const row = line();
    label(row, 'rowheader', String(layer));
    const line_cells = [];
    for (let head = 0; head < spec.n_heads; head++) {
      const cell = document.createElement('button');
      cell.type = 'button';
      cell.className = 'ih-cell';
      cell.setAttribute('role', 'gridcell');
      cell.dataset.l = layer;
      cell.dataset.h = head;
      cell.setAttribute('aria-selected', 'false');
      cell.tabIndex = -1;
      row.append(cell);
      line_cells.push(cell);
    }
    cells.push(line_cells);
  }
}

function rove(layer, head) {  // exactly one cell is in the tab order
  root.querySelectorAll('[tabindex="0"]').forEach((cell) => { cell.tabIndex = -1; });
  cells[layer][head].tabIndex = 0;
}

function mark(selected) {
  if (props.value?.another) selected = '';
  const [layer, head] = selected.split('.').map(Number);
  root.querySelectorAll('[aria-selected=true]').forEach((cell) => cell.setAttribute('aria-selected', 'false'));
  cells[layer]?.[head]?.setAttribute('aria-selected', 'true');
  if (cells.length) rove(clamp(layer || 0, 0, cells.length - 1), clamp(head || 0, 0, cells[0].length - 1));
}

function drawLegend(spec) {  // the scale with its ends, and where chance lies
  legend.hidden = false;
  const ends = spec.scale === 'diverging' ? [-spec.limit, spec.limit] : [0, spec.limit];
  const bar = make('span', 'ih-scale');
  bar.dataset.scale = spec.scale;
  const parts = [make('span', '', spec.title), make('span', '', String(+ends[0].toFixed(3))), bar, make('span', '', String(+ends[1].toFixed(3)))];
  if (spec.chance !== null && spec.chance !== undefined) {
    const tick = make('i');
    tick.style.left = `${position(spec.chance, spec) * 100}%`;
    bar.append(tick);
    parts.push(make('span', '', `chance ${spec.chance.toFixed(3)}`));
  }
  legend.replaceChildren(...parts);
}

function draw() {
  const spec = props.value;
  tip.hidden = true;
  if (!spec || !spec.n_layers) {
    shape = '';
    cells = [];
    root.replaceChildren();
    const empty = document.createElement('p');
    empty.className = 'ih-empty';
    empty.textContent = (spec && spec.missing) || 'Nothing measured yet.';
    root.removeAttribute('role');
    legend.hidden = true;
    root.append(empty);
    return;
  }
  root.setAttribute('role', 'grid');
  root.setAttribute('aria-label', `${spec.title} of each head, layers down, heads across`);
  const wanted = `${spec.n_layers}x${spec.n_heads}`;
  if (shape !== wanted) build(spec);
  shape = wanted;
  root.style.setProperty('--ih-cell', `calc(${spec.height / spec.n_layers}rem - 2px)`);
  const marked = new Set(spec.marked || []);
  for (const cell of cells.flat()) {
    const [layer, head] = [Number(cell.dataset.l), Number(cell.dataset.h)];
    const value = spec.values[layer][head];
    const known = value !== null && value !== undefined;
    cell.style.background = known ? colour(value, spec) : '';
    cell.classList.toggle('ih-unknown', !known);
    const strong = known && Math.abs(spec.scale === 'diverging' ? 2 * position(value, spec) - 1 : position(value, spec)) >= 0.7;
    cell.classList.toggle('ih-strong', strong);
    cell.textContent = strong ? short(value) : '';
    cell.classList.toggle('ih-marked', marked.has(`${layer}.${head}`));
    cell.setAttribute('aria-label', words(layer, head, spec).join(', '));
  }
  drawLegend(spec);
  mark(selectedHead());
}

function show(cell) {
  const [figures, ...rest] = words(Number(cell.dataset.l), Number(cell.dataset.h), props.value);
  tip.replaceChildren();
  const strong = document.createElement('strong');
  strong.textContent = figures;
  tip.append(strong, ...rest.map((text) => Object.assign(document.createElement('span'), { textContent: text })));
  placeTip(tip, cell);
}

const cellOf = (event) => event.target.closest && event.target.closest('.ih-cell');
root.addEventListener('mouseover', (event) => { const cell = cellOf(event); if (cell) show(cell); });
root.addEventListener('mouseleave', () => { tip.hidden = true; });
root.addEventListener('focusin', (event) => { const cell = cellOf(event); if (cell && cell.matches(':focus-visible')) show(cell); });
root.addEventListener('focusout', () => { tip.hidden = true; });
root.addEventListener('click', (event) => {
  const cell = cellOf(event);
  if (!cell) return;
  const [layer, head] = [Number(cell.dataset.l), Number(cell.dataset.h)];
  if (props.value.another) trigger('pick', { layer, head });
  else pickHead(trigger, layer, head, event.shiftKey || event.ctrlKey || event.metaKey);
});
root.addEventListener('keydown', (event) => {
  const cell = cellOf(event);
  if (!cell) return;
  const [layer, head] = [Number(cell.dataset.l), Number(cell.dataset.h)];
  const [rows, columns] = [cells.length, cells[0].length];
  const targets = {
    ArrowUp: [layer - 1, head], ArrowDown: [layer + 1, head],
    ArrowLeft: [layer, head - 1], ArrowRight: [layer, head + 1],
    Home: [event.ctrlKey ? 0 : layer, 0], End: [event.ctrlKey ? rows - 1 : layer, columns - 1],
  };
  if (event.key === 'Escape') tip.hidden = true;
  if (!(event.key in targets)) return;
  event.preventDefault();
  const [toLayer, toHead] = [clamp(targets[event.key][0], 0, rows - 1), clamp(targets[event.key][1], 0, columns - 1)];
  rove(toLayer, toHead);
  cells[toLayer][toHead].focus();
});
onHead(element, mark);
watch('value', draw);
draw();
