// Moving through the checkpoints of a training run without the server: slider, Play (never by itself), a click on a curve.
// The mark of the charts follows. Fires 'moved' when the visitor has come to rest, 'pick' for a head of a grid.
const slider = element.querySelector('input');
const play = element.querySelector('button');
const said = element.querySelector('[role=status]');
const charts = element.querySelector('[data-charts]').dataset.charts.split(' ');
const STEP = 150;  // milliseconds from one checkpoint to the next
let timer = null;
let rest = null;

const grids = [...element.querySelectorAll('.ih-frames > div')].map((block) => {
  const grid = { props: { value: null }, redraw: null };
  grid.start = () => window.ih.head_grid(block, grid.props, trigger, (_, redraw) => { grid.redraw = redraw; });
  grid.show = (value) => { grid.props.value = value; if (grid.redraw) grid.redraw(); else grid.start(); };
  return grid;
});

function markCharts(tokens) {
  for (const id of charts) {
    const holder = document.querySelector(`#${id} .ih-plot`);
    const shapes = holder?.layout?.shapes || [];
    const at = shapes.findIndex((shape) => shape.name === 'checkpoint on show');
    if (at < 0 || !window.Plotly) continue;
    const place = tokens > 0 ? [tokens, 'x'] : [0, 'x domain'];  // a log axis has no 0: the left edge
    const before = shapes[at];
    if (before.x0 === place[0] && (before.xref || 'x') === place[1]) continue;
    const path = `shapes[${at}].`;
    window.Plotly.relayout(holder, { [`${path}x0`]: place[0], [`${path}x1`]: place[0], [`${path}xref`]: place[1] });
  }
}

function show() {
  const spec = props.value;
  const at = Number(slider.value) - 1;
  said.textContent = spec.said[at];
  slider.setAttribute('aria-valuetext', spec.said[at]);
  spec.grids[at].forEach((value, index) => grids[index].show(value));
  markCharts(spec.tokens[at]);
}

function moveTo(index) {
  slider.value = index + 1;
  show();
  clearTimeout(rest);
  rest = setTimeout(() => { if (!timer) trigger('moved', {}); }, 300);
}

function stop() {
  clearInterval(timer);
  timer = null;
  play.textContent = '▶ Play';
  play.setAttribute('aria-pressed', 'false');
}

play.addEventListener('click', () => {
  if (timer) { stop(); moveTo(Number(slider.value) - 1); return; }
  if (slider.value === slider.max) slider.value = 0;
  play.textContent = '❚❚ Pause';
  play.setAttribute('aria-pressed', 'true');
  timer = setInterval(() => {
    if (!element.isConnected) { stop(); return; }
    const index = Number(slider.value);
    if (index >= Number(slider.max) - 1) stop();
    moveTo(index);
  }, STEP);
});
slider.addEventListener('input', () => { stop(); moveTo(Number(slider.value) - 1); });
function clicked(event) {
  if (!element.isConnected) document.removeEventListener('ih:checkpoint', clicked);
  else if (charts.some((id) => event.detail.chart.closest(`#${id}`))) { stop(); moveTo(event.detail.index); }
}
document.addEventListener('ih:checkpoint', clicked);

function draw() {
  const spec = props.value;
  element.hidden = !spec;
  if (!spec) return;
  stop();
  slider.max = spec.said.length;
  slider.value = spec.at + 1;
  show();
}
watch('value', draw);
draw();
