// The circuit diagram, drawn by hand as SVG because its bands, buttons and example are no chart: tooltips from
// data-tip, 'pick' with {layer, head} from data-head, 'edge' with {edge} from data-edge, by mouse and keyboard, and
// export in the colours of the theme on show. The SVG is made by this project, its texts escaped.
const holder = element.querySelector('.ih-figure');
const caption = element.querySelector('.ih-caption');
const tools = element.querySelector('.ih-tools');
const tip = element.querySelector('.ih-tip');

function draw() {
  const spec = props.value;
  tip.hidden = true;
  holder.replaceChildren();
  caption.textContent = '';
  tools.hidden = !(spec && spec.svg);
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
function explain(event) {
  const mark = event.target.closest('[data-tip]');
  if (!mark) { tip.hidden = true; return; }
  tip.replaceChildren(make('span', '', mark.dataset.tip));
  placeTip(tip, mark);
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
holder.addEventListener('mouseleave', () => { tip.hidden = true; });
holder.addEventListener('focusout', () => { tip.hidden = true; });
holder.addEventListener('click', choose);
holder.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') tip.hidden = true;
  if (event.key !== 'Enter' && event.key !== ' ') return;
  if (!event.target.closest('[data-head], [data-edge]')) return;
  event.preventDefault();
  choose(event);
});
watch('value', draw);
draw();
