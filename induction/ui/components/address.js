// Shared: the browser's history. Back and forward have the page restored from the address, by the component 'history'.
let entry = null;  // model, tab and head of the current one
let restoring = null;  // the address that Back or Forward asked for, until the page has it

// Resolved when the page has the values of its address; at once where that names nothing but what the page comes with.
let landed;
const whenArrived = new Promise((resolve) => { landed = resolve; });
const usual = { model: PAGE.model, head: PAGE.head };
const isUsual = ([name, value]) => ['tab', '__theme'].includes(name) || usual[name] === value;
if ([...new URLSearchParams(window.location.search)].every(isUsual)) landed();

let arrived = false;
function arrive(places) {  // once for each link that is opened: where it points
  landed();
  if (arrived) return;
  arrived = true;
  const asked = new URLSearchParams(window.location.search);
  const place = Object.keys(places).find((name) => asked.get(name));
  if (place) keepInView(places[place]);
}

function keepInView(id) {  // what a link points at may still be on its way, and so may be what stands above it
  const until = performance.now() + 3000;
  const hands = new AbortController();  // the visitor's, which go where they want
  ['wheel', 'pointerdown', 'keydown'].forEach((what) => addEventListener(what, () => hands.abort(), { signal: hands.signal }));
  const look = () => {
    if (hands.signal.aborted) return;
    const there = document.getElementById(id);
    const block = there?.offsetHeight > window.innerHeight / 2 ? 'start' : 'center';
    if (there?.offsetHeight > 20) there.scrollIntoView({ block });
    if (performance.now() < until) setTimeout(look, 100);
    else hands.abort();
  };
  look();
}

function address(search, now) {
  const path = window.location.pathname;
  if (restoring !== null) {  // values arrive one after the other
    if (search !== restoring) return;
    restoring = null;
  } else if (search !== window.location.search) {
    const changed = entry !== null && entry !== now;
    window.history[changed ? 'pushState' : 'replaceState'](window.history.state, '', path + search);
  }
  entry = now;
}

window.addEventListener('popstate', () => {
  restoring = window.location.search;
  setTimeout(() => { restoring = null; }, 3000);  // an address that the page writes differently
  document.dispatchEvent(new Event('ih:back'));
});

document.addEventListener('click', (event) => {  // a link to another view of the page: an entry, without loading anew
  const link = event.target.closest?.('a.ih-go[href^="?"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const query = new URLSearchParams(link.getAttribute('href'));
  const current = new URLSearchParams(window.location.search);
  for (const name of ['__theme', '__sign']) if (current.has(name)) query.set(name, current.get(name));
  window.history.pushState(window.history.state, '', `${window.location.pathname}?${query}`);
  window.dispatchEvent(new PopStateEvent('popstate'));
  window.scrollTo({ top: 0 });
  arrived = false;
});
