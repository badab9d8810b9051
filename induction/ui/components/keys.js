// Shared: ways through the page by keyboard. The tabs are one stop with arrow keys between them, and so is each group
// of radio buttons, whose names Gradio makes all different, and buttons and links within .ih-rove; the skip link goes to
// the first thing of the tab on show.
const tabsOf = (list) => [...list.querySelectorAll('[role=tab]')].filter((tab) => tab.offsetParent);

function oneStop(list) {
  tabsOf(list).forEach((tab) => {
    const stop = tab.getAttribute('aria-selected') === 'true' ? 0 : -1;
    if (tab.tabIndex !== stop) tab.tabIndex = stop;
  });
}

const radiosOf = (group) => [...group.querySelectorAll('input[type=radio]')];
function stops() {
  document.querySelectorAll('fieldset:has(input[type=radio])').forEach((group) => {
    const radios = radiosOf(group);
    const now = radios.find((radio) => radio.checked) || radios[0];
    radios.forEach((radio) => { radio.tabIndex = radio === now ? 0 : -1; });
  });
}

document.addEventListener('keydown', (event) => {
  if (event.key === 'Tab') stops();
  const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || !event.target.matches || !event.target.matches('[role=tab], input[type=radio]')) return;
  const group = event.target.closest('[role=tablist], fieldset');
  if (!group) return;
  event.preventDefault();
  const all = event.target.type === 'radio' ? radiosOf(group) : tabsOf(group);
  const to = all[clamp(all.indexOf(event.target) + steps[event.key], 0, all.length - 1)];
  to.focus();
  to.click();
});

document.addEventListener('click', (event) => {
  if (!event.target.closest || !event.target.closest('.ih-skip')) return;
  event.preventDefault();
  const panel = [...document.querySelectorAll('[role=tabpanel]')].find((one) => one.offsetParent);
  const first = (what) => [...panel.querySelectorAll(what)].find((one) => one.offsetParent);
  const target = panel && (first('[role=gridcell][tabindex="0"]') || first('button, input, [tabindex="0"]'));
  if (target) target.focus();
});

new MutationObserver(() => document.querySelectorAll('[role=tablist]').forEach(oneStop))
  .observe(document.documentElement, { subtree: true, attributeFilter: ['aria-selected'], childList: true });

const partsOf = (group) => [...group.querySelectorAll('a, button')];
document.addEventListener('keydown', (event) => {
  const group = event.target.closest?.('.ih-rove');
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!group || !step) return;
  event.preventDefault();
  const all = partsOf(group);
  all[clamp(all.indexOf(event.target) + step, 0, all.length - 1)].focus();
});
document.addEventListener('focusin', (event) => {
  const group = event.target.closest?.('.ih-rove');
  if (group) partsOf(group).forEach((part) => { part.tabIndex = part === event.target ? 0 : -1; });
});
