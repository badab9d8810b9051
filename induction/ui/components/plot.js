// A figure of plotly. props.value: {figure, name} or {missing}. Fires 'pick' with {layer, head} where a trace's
// meta.pick says so (a checkpoint is told to the document, as 'ih:checkpoint' with the node of the chart and its index),
// and 'chosen' with {heads} for a box or lasso around heads.
// Plotly reads no CSS variables, so a change of theme draws again; 'react' keeps the node, and zoom with it.
const holder = element.querySelector('.ih-plot');
const caption = element.querySelector('.ih-caption');
const details = element.querySelector('.ih-as-table');
const empty = element.querySelector('.ih-empty');
let inView = false;
let pending = true;  // there is something to draw as soon as the figure is in view
let turn = 0;  // of the last drawing that was asked for
let listening = false;

function inPage(figure) {  // the page has heading and protocol as texts of its own, so their margins are given back
  const { meta, margin, height, annotations } = figure.layout;
  const layout = {
    ...figure.layout,
    title: undefined,
    height: height - meta.protocol_height - meta.title_height,
    margin: { ...margin, t: margin.t - meta.title_height, b: margin.b - meta.protocol_height },
    annotations: annotations.filter((annotation) => annotation.name !== 'protocol'),
  };
  return { data: figure.data, layout };
}

function save(kind) {
  const { figure, name } = props.value;
  saveFigure(`${name}.${kind}`, kind, coloured(figure, getComputedStyle(element)));
}

let config = null;
function configOf(Plotly, dragmode) {  // the same object while it holds: plotly starts anew when buttons change
  if (config && config.dragmode === dragmode) return config;
  const buttons = modebar(Plotly, dragmode);
  config = { ...CHART.config, modeBarButtons: buttons, dragmode };
  return config;
}

function modebar(Plotly, dragmode) {  // files, and what the figure's way of dragging needs
  const files = ['png', 'svg'].map((kind) => ({
    name: `${kind} file`,
    title: `Download as ${kind.toUpperCase()}`,
    icon: kind === 'png' ? Plotly.Icons.camera : Plotly.Icons.disk,
    click: () => save(kind),
  }));
  if (dragmode === false) return [files];
  const tools = dragmode === 'select' ? ['select2d', 'lasso2d', 'zoom2d'] : ['zoom2d', 'pan2d'];
  return [[...tools, 'resetScale2d'], files];
}

function show() {
  const spec = props.value;
  const figure = spec && spec.figure;
  holder.hidden = !figure;
  empty.hidden = Boolean(figure);
  details.hidden = !figure;
  if (details.open && figure) tabulate();
  caption.textContent = figure ? figure.layout.meta.protocol : '';
  if (!figure) {
    turn += 1;
    empty.textContent = (spec && spec.missing) || 'Nothing measured yet.';
    return;
  }
  holder.setAttribute('aria-label', figure.layout.meta.title);
  holder.style.height = `${inPage(figure).layout.height}px`;  // before anything is drawn: the page stays put
  pending = true;
  if (inView) draw();
}

const nameOf = (datum) => [].concat(datum)[0];
function outline(trace, style) {  // the selected head among marks that are heads
  if (trace.meta?.pick !== 'head') return;
  const selected = trace.customdata.map((datum) => nameOf(datum) === selectedHead());
  const line = { color: style.getPropertyValue('--ih-selected').trim(), width: selected.map((is) => (is ? 2.5 : 0)) };
  trace.marker = { ...trace.marker, line };
}

async function draw() {
  pending = false;
  const mine = ++turn;
  const spec = props.value;
  if (!spec || !spec.figure) return;
  let Plotly;
  try {
    Plotly = await plotly();
  } catch {
    caption.textContent = 'The script that draws figures did not load; reload the page to try again.';
    return;
  }
  if (mine !== turn) return;
  const style = getComputedStyle(element);
  const { data, layout } = coloured(inPage(spec.figure), style);
  data.forEach((trace) => outline(trace, style));
  layout.paper_bgcolor = 'rgba(0,0,0,0)';  // on the panel's own ground, as are the buttons
  layout.modebar = { ...layout.modebar, bgcolor: 'rgba(0,0,0,0)' };
  layout.font = { ...layout.font, family: style.fontFamily };
  layout.uirevision = spec.name;  // zoom and hidden curves outlast an update of the same figure
  layout.selectionrevision = mine;  // but a drawn box does not: what it chose is marked by then
  const options = configOf(Plotly, layout.dragmode);
  if (matchMedia('(pointer: coarse)').matches) layout.dragmode = false;  // a finger on the figure scrolls the page
  await Plotly.react(holder, data, layout, options);
  if (!listening) listen();
}

function nearest(event) {  // of the marks under the pointer that can be picked, the one closest to it
  const points = event.points.filter((point) => point.data.meta?.pick);
  const away = (point) => Math.abs((point.bbox.y0 + point.bbox.y1) / 2 - event.event.clientY);
  return points.sort((a, b) => away(a) - away(b))[0];
}

function listen() {
  listening = true;
  holder.on('plotly_click', (event) => {
    const point = nearest(event);
    if (!point) return;
    const chosen = nameOf(point.customdata);
    if (point.data.meta.pick === 'checkpoint') {
      const detail = { chart: holder, index: Number(chosen) };
      document.dispatchEvent(new CustomEvent('ih:checkpoint', { detail }));
    } else {
      const [layer, head] = chosen.split('.').map(Number);
      pickHead(trigger, layer, head);
    }
  });
  holder.on('plotly_selected', (event) => {
    const points = (event && event.points) || [];
    const heads = points.filter((point) => point.data.meta?.pick === 'head').map((point) => nameOf(point.customdata));
    if (heads.length) trigger('chosen', { heads: [...new Set(heads)] });
  });
  holder.on('plotly_hover', (event) => holder.classList.toggle('ih-picks', Boolean(nearest(event))));
  holder.on('plotly_unhover', () => holder.classList.remove('ih-picks'));
}

details.addEventListener('toggle', () => { if (details.open) tabulate(); });
function tabulate() {  // the numbers of the figure, a line for each mark
  const { data, layout } = props.value.figure;
  const named = (axis, without) => layout[axis]?.title?.text || without;
  const table = make('table', 'ih-table');
  table.append(make('caption', 'ih-hidden', layout.meta.title));
  const line = (cells, tag) => {
    const row = table.insertRow();
    cells.forEach((cell) => row.append(make(tag, '', cell)));
  };
  const written = (value) => (typeof value === 'number' ? String(+value.toPrecision(4)) : String(value ?? '–'));
  line(['', named('xaxis', 'x'), named('yaxis', 'y')], 'th');
  data.filter((trace) => trace.x && trace.y && trace.visible !== false).forEach((trace) => {
    [...trace.x].forEach((x, at) => {
      const head = trace.meta?.pick && trace.customdata ? nameOf(trace.customdata[at]) : '';
      const name = [trace.name, head].filter(Boolean).join(' ');
      line([name, written(x), written(trace.y[at])], 'td');
    });
  });
  const scroll = make('div', 'ih-scroll');
  scroll.tabIndex = 0;
  scroll.append(table);
  details.replaceChildren(details.firstElementChild, scroll);
}

const drawSoon = window.requestIdleCallback || setTimeout;  // after the first paint of the page
new IntersectionObserver((entries) => {
  inView = entries[entries.length - 1].isIntersecting;
  if (inView && pending) drawSoon(() => { if (pending) draw(); }, { timeout: 1000 });
}).observe(holder);
new MutationObserver(show).observe(document.body, { attributeFilter: ['class'] });
let width = 0;
new ResizeObserver(() => {  // plotly itself follows the window alone
  if (listening && holder.clientWidth && holder.clientWidth !== width) window.Plotly.Plots.resize(holder);
  width = holder.clientWidth;
}).observe(holder);
onHead(element, () => { pending = true; if (inView) draw(); });
watch('value', show);
show();
