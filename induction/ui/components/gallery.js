// Bundled models as small grids; a card is a button that fires 'pick' with {model: index}.
const list = element.querySelector('.ih-gallery');
function draw() {
  list.replaceChildren();
  (props.value || []).forEach((entry, index) => {
    const card = make('button', 'ih-card');
    card.type = 'button';
    card.dataset.index = index;
    card.setAttribute('aria-label', `Open ${entry.name}: ${entry.text}`);
    const grid = make('span', 'ih-thumbnail');
    grid.style.setProperty('--ih-heads', entry.values[0].length);
    entry.values.flat().forEach((value) => {
      const cell = make('i');
      cell.style.background = colour(value, {});
      grid.append(cell);
    });
    card.append(make('strong', '', entry.name), grid, make('span', 'ih-card-text', entry.text));
    const item = make('li');
    item.append(card);
    list.append(item);
  });
}
list.addEventListener('click', (event) => {
  const card = event.target.closest('.ih-card');
  if (card) trigger('pick', { model: Number(card.dataset.index) });
});
watch('value', draw);
draw();
