// props.value: {state, share, text}; share null means that nobody knows how long it takes.
const box = element.querySelector('.ih-status');
const bar = element.querySelector('.ih-progress');
const line = element.querySelector('p');
function draw() {
  const spec = props.value || { state: 'idle', share: 0, text: '' };
  box.dataset.state = spec.state;
  bar.hidden = spec.state !== 'running';
  bar.classList.toggle('ih-unsure', spec.share === null);
  bar.firstElementChild.style.width = spec.share === null ? '' : `${Math.round(spec.share * 100)}%`;
  if (spec.share === null) bar.removeAttribute('aria-valuenow');
  else bar.setAttribute('aria-valuenow', String(Math.round(spec.share * 100)));
  line.textContent = spec.text;
}
watch('value', draw);
draw();
