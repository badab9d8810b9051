// The circuit diagram, drawn by hand as SVG because its bands, buttons and example are no chart: 'pick' with {layer,
// head} from data-head, 'edge' with {edge} from data-edge, by mouse and keyboard, and export in the colours of the theme
// on show. The numbers of a mark (data-tip) stand on a line below, where they cover nothing. The SVG is made by this
// project, its texts escaped.
const holder = element.querySelector('.ih-figure');
const caption = element.querySelector('.ih-caption');
const readout = element.querySelector('.ih-readout');
const [sift, tools] = element.querySelectorAll('.ih-tools');
const threshold = sift.querySelector('input');
const pinning = sift.querySelector('.ih-pin');
const HINT = 'Point at a head or a band for its numbers, click it for more.';
const pins = new Set();
const all = (selector) => [...holder.querySelectorAll(selector)];

function draw() {
  const spec = props.value;
  holder.replaceChildren();
  caption.textContent = '';
  readout.textContent = spec && spec.svg ? HINT : '';
  sift.hidden = tools.hidden = !(spec && spec.svg);
  if (!spec || !spec.svg) {
    holder.append(make('p', 'ih-empty', (spec && spec.missing) || 'Nothing measured yet.'));
    return;
  }
  const parsed = new DOMParser().parseFromString(spec.svg, 'image/svg+xml').documentElement;
  parsed.removeAttribute('width');
  parsed.removeAttribute('height');
  const texts = parsed.querySelector('[data-caption]');  // wrapped for export; here it is text of its own
  caption.textContent = texts ? texts.dataset.caption : '';
  if (texts) {
    const [x, y, width] = parsed.getAttribute('viewBox').split(' ');
    parsed.setAttribute('viewBox', [x, y, width, texts.dataset.top].join(' '));
    texts.remove();
  }
  holder.append(document.importNode(parsed, true));
  const most = Math.max(0.02, ...all('[data-strength]').map((band) => Number(band.dataset.strength)));
  threshold.max = Math.floor(most * 100) / 100;
  show();
}

function show() {  // what the browser alone decides: the selected head, pins, bands too weak to be seen
  const heads = all('[data-head]');
  heads.forEach((head) => {
    head.setAttribute('aria-pressed', String(head.dataset.head === selectedHead()));
    head.classList.toggle('ih-pinned', pins.has(head.dataset.head));
  });
  const there = new Set(heads.map((head) => head.dataset.head));
  const pinned = [...pins].filter((name) => there.has(name));
  const sifted = pinned.length > 0 || Number(threshold.value) > 0;
  const joined = new Set(pinned);
  all('[data-strength]').forEach((band) => {
    const { from, to, strength } = band.dataset;
    const weak = Number(strength) < Number(threshold.value);
    const loose = pinned.length > 0 && !pins.has(from) && !pins.has(to);
    band.classList.toggle('ih-weak', weak);
    band.classList.toggle('ih-loose', loose);
    if (!weak && !loose) [from, to].forEach((name) => joined.add(name));
  });
  heads.forEach((head) => head.classList.toggle('ih-apart', sifted && !joined.has(head.dataset.head)));
  sift.querySelector('output').textContent = Number(threshold.value).toFixed(2);
  const unpin = (name) => Object.assign(make('button', '', `${name} ×`), { type: 'button', ariaLabel: `Unpin ${name}` });
  const chips = pinned.map(unpin);
  chips.forEach((chip, index) => { chip.dataset.pin = pinned[index]; });
  sift.querySelector('.ih-pins').replaceChildren(...chips);
  pinning.textContent = `Pin ${selectedHead()}`;
  pinning.hidden = !there.has(selectedHead()) || pins.has(selectedHead());
}

function standalone() {  // the figure with every CSS variable replaced by its colour of now
  const style = getComputedStyle(element);
  return props.value.svg.replace(/var\((--ih-[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
}

tools.addEventListener('click', (event) => {
  const kind = event.target.dataset && event.target.dataset.kind;
  if (kind === 'svg') download(`${props.value.name}.svg`, new Blob([standalone()], { type: 'image/svg+xml' }));
  if (kind === 'png') rasterise(`${props.value.name}.png`, standalone());
});
threshold.addEventListener('input', show);
sift.addEventListener('click', (event) => {
  if (event.target === pinning) pins.add(selectedHead());
  else if (!pins.delete(event.target.dataset.pin)) return;
  show();
  (sift.querySelector('[data-pin]') || threshold).focus();  // what was pressed is gone
});
function explain(event) {
  const mark = event.target.closest('[data-tip]');
  readout.textContent = mark ? mark.dataset.tip : HINT;
}
function choose(event) {
  const mark = event.target.closest('[data-head], [data-edge]');
  if (!mark) return;
  if (mark.dataset.edge) { trigger('edge', { edge: mark.dataset.edge }); return; }
  const [layer, head] = mark.dataset.head.split('.').map(Number);
  pickHead(trigger, layer, head);
}
holder.addEventListener('mouseover', explain);
holder.addEventListener('focusin', explain);
holder.addEventListener('mouseleave', () => { readout.textContent = props.value?.svg ? HINT : ''; });
holder.addEventListener('click', choose);
holder.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' && event.key !== ' ') return;
  if (!event.target.closest('[data-head], [data-edge]')) return;
  event.preventDefault();
  choose(event);
});
onHead(element, show);
watch('value', draw);
draw();
