// The guided tour: a card beside the page, which stays usable. A step is done when the visitor has clicked what it
// speaks of, or with Next; Escape ends it. Fires 'started' where the tour's model is not on show.
const { steps, end, model } = props.value;
const opener = element.querySelector('.ih-tour-start');
const card = element.querySelector('.ih-tour');
const [count, heading, text] = ['.ih-tour-count', 'h2', '[role=status] p'].map((one) => card.querySelector(one));
const next = element.querySelector('.ih-tour-next');
let at = 0;

const tabOf = (step) => document.querySelector(`#tab-${step.tab}-button`);
const isThere = (step) => tabOf(step)?.getAttribute('aria-selected') === 'true';
const watcher = new MutationObserver(() => show());  // tabs that somebody opened

function outline(node) {
  document.querySelectorAll('.ih-tour-here').forEach((one) => one !== node && one.classList.remove('ih-tour-here'));
  node?.classList.add('ih-tour-here');
}

let told = '';
function show() {
  const step = steps[at];
  const there = !step || isThere(step);
  const state = `${at} ${there}`;
  if (state === told) return;
  told = state;
  count.textContent = step ? `Step ${at + 1} of ${steps.length}` : 'Done';
  heading.textContent = step ? step.title : 'Found, looks, needed, fed';
  text.textContent = step ? (there ? step.text : `Open the tab ${step.label}.`) : end;
  next.textContent = !step ? 'Finish' : there ? 'Next' : `Open ${step.label}`;
  card.querySelector('.ih-tour-end').hidden = !step;
  const node = step && (there ? document.querySelector(step.show) : tabOf(step));
  outline(node);
  node?.scrollIntoView({ block: window.innerWidth <= 640 ? 'start' : 'nearest' });  // above the card
}

function go(to) {
  at = to;
  show();
}

function start() {
  if (!card.hidden) return;
  card.hidden = false;
  told = '';
  const chosen = new URLSearchParams(window.location.search).get('model');
  if (chosen && chosen !== model) trigger('started', {});
  document.addEventListener('click', did, true);
  document.addEventListener('keydown', escape);
  watcher.observe(document.querySelector('#tabs'), { subtree: true, attributeFilter: ['aria-selected'] });
  go(0);
  heading.focus();
}

function stop() {
  card.hidden = true;
  outline(null);
  watcher.disconnect();
  document.removeEventListener('click', did, true);
  document.removeEventListener('keydown', escape);
  opener.focus();
}

function did(event) {
  const step = steps[at];
  if (step && isThere(step) && event.target.closest(step.target)) go(at + 1);
}
function escape(event) {
  if (event.key === 'Escape' && !event.defaultPrevented) stop();
}
opener.addEventListener('click', start);
element.querySelector('.ih-tour-end').addEventListener('click', stop);
next.addEventListener('click', () => {
  const step = steps[at];
  if (!step) stop();
  else if (!isThere(step)) tabOf(step)?.click();
  else go(at + 1);
});
