// Shared by plot.js and exports.js: plotly's script, loaded once and late, and figures as files.
const CHART = PAGE.plotly;  // {script, config} from plot.py

let loading = null;  // one promise for the whole page

function plotly() {  // a failed load is tried again by the next figure
  return (loading ??= new Promise((resolve, reject) => {
    const root = new URL(window.gradio_config?.root || '.', document.baseURI).pathname.replace(/\/$/, '');
    const script = make('script');
    script.src = root + CHART.script;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error('plotly did not load'));
    };
    document.head.append(script);
  }));
}

function coloured(value, style) {  // a copy with every var(--ih-...) replaced by its colour of now
  if (typeof value === 'string') {
    return value.replace(/var\((--ih-[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  }
  if (Array.isArray(value)) return value.map((part) => coloured(part, style));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, coloured(part, style)]));
}

async function saveFigure(name, kind, figure) {  // the whole figure, its protocol included
  const Plotly = await plotly();
  const { width = 640, height } = figure.layout;
  const scale = kind === 'png' ? 3 : 1;
  const url = await Plotly.toImage(figure, { format: kind, width, height, scale });
  download(name, await (await fetch(url)).blob());
}
