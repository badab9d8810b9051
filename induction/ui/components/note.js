// One paragraph, set as text and never read as HTML; no space when empty.
const paragraph = element.querySelector('p');
const draw = () => { paragraph.textContent = props.value || ''; paragraph.hidden = !props.value; };
watch('value', draw);
draw();
