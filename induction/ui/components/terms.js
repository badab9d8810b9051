// Shared: words that are explained where they stand. One tooltip for the page, at the word under the pointer, or the
// one that was tapped; Escape and a tap elsewhere close it.
const explanation = make('div', 'ih-tip ih-explanation');
explanation.setAttribute('role', 'tooltip');
explanation.id = 'ih-explanation';
explanation.hidden = true;

function explainTerm(event) {
  const term = event.target.closest && event.target.closest('.ih-term');
  explanation.hidden = !term;
  if (!term) return;
  if (!explanation.isConnected) document.body.append(explanation);
  explanation.textContent = term.dataset.explained;
  term.setAttribute('aria-describedby', explanation.id);
  const at = term.getBoundingClientRect();
  const left = clamp(at.left, 8, Math.max(8, document.documentElement.clientWidth - explanation.offsetWidth - 8));
  explanation.style.left = `${left}px`;
  const above = at.top - explanation.offsetHeight - 6;
  explanation.style.top = `${above < 4 ? at.bottom + 6 : above}px`;
}
['mouseover', 'focusin', 'click'].forEach((name) => document.addEventListener(name, explainTerm));
document.addEventListener('scroll', () => { explanation.hidden = true; }, { capture: true, passive: true });
document.addEventListener('keydown', (event) => { if (event.key === 'Escape') explanation.hidden = true; });
