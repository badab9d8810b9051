// Shared by the page's components: what a component is given, its value unpacked once for each text that arrives.
function unpacked(props) {
  let [text, value] = [null, null];
  return {
    get value() {
      if (props.value !== text) {
        text = props.value;
        // What is on its way in a run comes as it is.
        value = text && typeof text === 'string' ? JSON.parse(text) : text || null;
      }
      return value;
    },
  };
}

// The one selected head. It lives here, in the browser: a click marks it everywhere at once, and what it changes in
// words is asked of the server by the tab on show.
let chosenHead = PAGE.head;
let adds = false;  // whether the last click was with Shift or Ctrl, which add to a set
const pickAdds = () => adds;
const selectedHead = () => chosenHead;

function selectHead(name) {
  if (!name || name === chosenHead) return;
  chosenHead = name;
  document.dispatchEvent(new CustomEvent('ih:head', { detail: name }));
}

function pickHead(trigger, layer, head, add = false) {  // somebody chose it, or added it to a set: the page follows
  adds = add;
  selectHead(`${layer}.${head}`);
  trigger('pick', { layer, head });
}

function toggled(heads, head) {  // a set as text, "5.1,5.5", with a head that was not in it, or without one that was
  const there = (heads || '').split(',').map((part) => part.trim()).filter((part) => /^\d+\.\d+$/.test(part));
  return (there.includes(head) ? there.filter((part) => part !== head) : [...there, head]).join(',');
}

function onHead(element, mark) {  // as long as the component is in the page
  const follow = (event) => {
    if (element.isConnected) mark(event.detail);
    else document.removeEventListener('ih:head', follow);
  };
  document.addEventListener('ih:head', follow);
}
