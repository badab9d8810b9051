// Downloads made on the server when asked for: props.value holds the arguments, to which the selected head is added,
// and is null where there is nothing to download; server.export_text answers with a text, or with a figure of plotly
// that becomes a file here.
const tools = element.querySelector('.ih-tools');
const note = element.querySelector('[role=status]');
element.addEventListener('click', async (event) => {
  const kind = event.target.dataset && event.target.dataset.kind;
  if (!kind || !props.value) return;
  note.textContent = 'Preparing the file…';
  try {
    const made = await server.export_text({ head: selectedHead(), ...props.value, kind: kind === 'png' ? 'svg' : kind });
    if (made.error) { note.textContent = made.error; return; }
    const name = kind === 'png' ? made.name.replace(/svg$/, 'png') : made.name;
    if (made.figure) await saveFigure(name, kind, made.figure);
    else if (kind === 'png') rasterise(name, made.text);
    else download(name, new Blob([made.text], { type: made.type }));
    note.textContent = `Saved ${name}.`;
  } catch (error) {
    note.textContent = 'The server did not answer; try again.';
  }
});
function draw() {
  tools.hidden = !props.value;
  tools.dataset.model = props.value?.model || '';  // for the first paint
  note.textContent = '';
}
watch('value', draw);
draw();
