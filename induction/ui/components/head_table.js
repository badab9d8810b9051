// Ranked heads: a real table; the head's name is a button that fires 'pick' with {layer, head}.
const FIRST = matchMedia('(max-width: 760px)').matches ? 6 : 12;
const table = element.querySelector('table');
const more = element.querySelector('.ih-more');
let all = false;

function draw() {
  const spec = props.value;
  table.replaceChildren();
  const rows = (spec && spec.rows) || [];
  more.hidden = rows.length <= FIRST;
  more.textContent = all ? `Show the first ${FIRST}` : `Show all ${rows.length} heads`;
  if (!rows.length) {
    table.append(make('caption', 'ih-empty', (spec && spec.missing) || 'Nothing measured yet.'));
    return;
  }
  table.append(make('caption', 'ih-hidden', spec.title));
  const header = table.createTHead().insertRow();
  for (const column of ['Rank', 'Head', spec.columns[0], spec.spread, ...spec.columns.slice(1)]) {
    const cell = make('th', '', column);
    cell.scope = 'col';
    header.append(cell);
  }
  const body = table.createTBody();
  rows.slice(0, all ? rows.length : FIRST).forEach((row, index) => {
    const line = body.insertRow();
    const name = `${row.layer}.${row.head}`;
    line.setAttribute('aria-selected', String(name === selectedHead()));
    line.dataset.name = name;
    line.insertCell().textContent = String(index + 1);
    const button = make('button', 'ih-name', name);
    button.type = 'button';
    button.dataset.l = row.layer;
    button.dataset.h = row.head;
    button.setAttribute('aria-label', `Select head ${name}`);
    line.insertCell().append(button);
    const main = line.insertCell();
    main.className = 'ih-bar-cell';
    const bar = make('span', 'ih-bar');
    bar.style.width = `${clamp(row.values[0], 0, 1) * 100}%`;
    const track = make('span', 'ih-track');
    track.append(bar);
    main.append(make('span', 'ih-figure-text', short(row.values[0])), track);
    const interval = line.insertCell();
    interval.className = 'ih-interval';
    interval.textContent = row.spread;
    row.values.slice(1).forEach((value) => { line.insertCell().textContent = short(value); });
  });
}

more.addEventListener('click', () => { all = !all; draw(); });
table.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) pickHead(trigger, Number(button.dataset.l), Number(button.dataset.h));
});
onHead(element, (head) => {
  table.querySelectorAll('[aria-selected=true]').forEach((line) => line.setAttribute('aria-selected', 'false'));
  table.querySelector(`[data-name="${head}"]`)?.setAttribute('aria-selected', 'true');
});
watch('value', draw);
draw();
