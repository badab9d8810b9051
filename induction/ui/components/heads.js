// Shared by the page's components: the one selected head. It lives here, in the browser: a click marks it everywhere
// at once, and what it changes in words is asked of the server by the tab on show.
let chosenHead = PAGE.head;
const selectedHead = () => chosenHead;

function selectHead(name) {
  if (!name || name === chosenHead) return;
  chosenHead = name;
  document.dispatchEvent(new CustomEvent('ih:head', { detail: name }));
}

function pickHead(trigger, layer, head) {  // somebody chose it: the page's state follows
  selectHead(`${layer}.${head}`);
  trigger('pick', { layer, head });
}

function onHead(element, mark) {  // as long as the component is in the page
  const follow = (event) => {
    if (element.isConnected) mark(event.detail);
    else document.removeEventListener('ih:head', follow);
  };
  document.addEventListener('ih:head', follow);
}
