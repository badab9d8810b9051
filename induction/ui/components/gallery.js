// Bundled models as a strip of small grids, the one on show marked; a card is a button that fires 'pick' with
// {model: index}, after which the page moves to that model's result.
const list = element.querySelector('.ih-gallery');
let shown = props.value.shown;
let chosen = false;
function mark() {
  list.querySelectorAll('.ih-card').forEach((card, index) => {
    const current = props.value.cards[index].model === shown;
    card.setAttribute('aria-pressed', String(current));
    card.tabIndex = current ? 0 : -1;
    if (current) list.scrollTo({ left: card.offsetLeft - (list.clientWidth - card.offsetWidth) / 2 });
  });
  if (!list.querySelector('[tabindex="0"]')) list.querySelector('.ih-card').tabIndex = 0;
}
props.value.cards.forEach((entry, index) => {
  const card = make('button', 'ih-card');
  card.type = 'button';
  card.dataset.index = index;
  card.title = entry.text;
  card.setAttribute('aria-label', `Open ${entry.name}: ${entry.has}; ${entry.text}`);
  const grid = make('span', 'ih-thumbnail');
  grid.style.setProperty('--ih-heads', entry.values[0].length);
  entry.values.flat().forEach((value) => {
    const cell = make('i');
    cell.style.background = colour(value, {});
    grid.append(cell);
  });
  const words = make('span', 'ih-card-words');
  words.append(make('strong', '', entry.name), make('span', 'ih-card-text', entry.has));
  card.append(grid, words);
  list.append(card);
});
list.addEventListener('click', (event) => {
  const card = event.target.closest('.ih-card');
  if (!card) return;
  chosen = true;
  trigger('pick', { model: Number(card.dataset.index) });
});
const follow = (event) => {
  if (!element.isConnected) { document.removeEventListener('ih:model', follow); return; }
  shown = event.detail;
  mark();
  if (chosen) document.querySelector('#headline')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  chosen = false;
};
document.addEventListener('ih:model', follow);
mark();
