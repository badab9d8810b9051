// Shared by the page's components: colours of heads, tooltips, downloads.
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const short = (x) => (x === null || x === undefined ? '–' : x.toFixed(2).replace(/^(-?)0\./, '$1.'));
const make = (name, className, text) => {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

function position(value, spec) {  // where on the colour scale, 0..1
  const limit = spec.limit || 1;
  if (spec.scale === 'diverging') return clamp((value / limit + 1) / 2, 0, 1);
  return clamp(value / limit, 0, 1);
}

function colour(value, spec) {
  const name = spec.scale || 'sequential';
  const steps = name === 'diverging' ? 6 : 5;
  const at = position(value, spec) * steps;
  const index = Math.min(Math.floor(at), steps - 1);
  const share = Math.round((at - index) * 100);
  return `color-mix(in srgb, var(--ih-${name}-${index + 1}) ${share}%, var(--ih-${name}-${index}))`;
}

function placeTip(tip, anchor) {  // above the anchor, inside the component
  tip.hidden = false;
  const box = tip.offsetParent.getBoundingClientRect();
  const at = anchor.getBoundingClientRect();
  const left = at.left - box.left + at.width / 2 - tip.offsetWidth / 2;
  tip.style.left = `${clamp(left, 0, Math.max(0, box.width - tip.offsetWidth))}px`;
  tip.style.top = `${at.top - box.top - tip.offsetHeight - 6}px`;
}

function download(name, blob) {
  const link = make('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function rasterise(name, svg) {  // an SVG text with plain colours, downloaded as PNG at three times its size
  const image = new Image();
  image.onload = () => {
    const scale = Math.min(3, 8000 / Math.max(image.width, image.height));
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.width * scale, image.height * scale];
    canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => download(name, blob), 'image/png');
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
}
