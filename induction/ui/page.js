// The address follows the page. Called with the values of all link components in order; returns the
// canonical link for the share box and a note. app.py replaces SETUP by its own names and defaults as JSON.
// Another model, tab or head is a new entry of the browser's history; all else replaces the current one.
(...values) => {
  const written = (value) => {
    if (value === null || value === undefined) return '';
    if (typeof value === 'boolean') return value ? '1' : '0';
    return String(value);
  };
  const { names, defaults, base, limit, places } = SETUP;
  const ENTRIES = ['model', 'tab', 'head'];
  const query = new URLSearchParams();
  let note = '';
  names.forEach((name, index) => {
    const text = written(values[index]);
    if (text === defaults[index]) return;
    if (text.length > limit) note = `The ${name} is longer than ${limit} characters and is not part of the link.`;
    else query.set(name, text);
  });
  const frame = new URLSearchParams(query);
  const current = new URLSearchParams(window.location.search);
  for (const name of ['__theme', '__sign']) if (current.has(name)) frame.set(name, current.get(name));
  const search = frame.toString() ? `?${frame}` : '';
  window.ih.arrive(places);
  window.ih.address(search, ENTRIES.map((name) => query.get(name)).join(' '));
  if (window.parent !== window) window.parent.postMessage({ queryString: query.toString() }, 'https://huggingface.co');
  const start = base || window.location.origin + window.location.pathname;
  return [query.toString() ? `${start}?${query}` : start, note];
}
