// Buttons and links within .ih-rove are one stop of the Tab key; arrow keys go from one to the next. So are the radio
// buttons of a group, once they share a name: Gradio gives each its own.
document.addEventListener('keydown', (event) => {
  if (event.key === 'Tab') {
    document.querySelectorAll('fieldset').forEach((group, index) => {
      group.querySelectorAll('input[type=radio]').forEach((radio) => { radio.name = `radio-group-${index}`; });
    });
  }
  const group = event.target.closest?.('.ih-rove');
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!group || !step) return;
  event.preventDefault();
  const stops = [...group.querySelectorAll('a, button')];
  stops[(stops.indexOf(event.target) + step + stops.length) % stops.length].focus();
});
document.addEventListener('focusin', (event) => {
  const group = event.target.closest?.('.ih-rove');
  if (group) group.querySelectorAll('a, button').forEach((stop) => { stop.tabIndex = stop === event.target ? 0 : -1; });
});
