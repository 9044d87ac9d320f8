// Keeps the page of something unfinished current, and shows times in the reader's zone. Without it the page reloads
// itself and shows UTC.
'use strict';

const zoned = new Intl.DateTimeFormat('en-GB', {dateStyle: 'medium', timeStyle: 'medium'});

function localise(doc) {
  for (const t of doc.querySelectorAll('time')) {
    t.title = t.textContent;
    t.textContent = zoned.format(new Date(t.dateTime));
  }
}

// Makes a like b and touches only what differs, so that scroll, focus and selection stay.
function become(a, b) {
  if (a.isEqualNode(b)) return;
  if (a.nodeType !== Node.ELEMENT_NODE || a.nodeName !== b.nodeName) {
    a.replaceWith(b);
    return;
  }
  for (const {name} of [...a.attributes]) if (!b.hasAttribute(name)) a.removeAttribute(name);
  for (const {name, value} of b.attributes) if (a.getAttribute(name) !== value) a.setAttribute(name, value);
  const old = [...a.childNodes];
  const now = [...b.childNodes];
  now.forEach((node, i) => i < old.length ? become(old[i], node) : a.append(node));
  old.slice(now.length).forEach(node => node.remove());
}

async function refresh() {
  const stale = document.querySelector('.stale');
  try {
    const answer = await fetch(location.pathname, {cache: 'no-store'});
    if (!answer.ok) throw new Error(answer.statusText);
    const doc = new DOMParser().parseFromString(await answer.text(), 'text/html');
    localise(doc);
    const atEnd = scrollY > 0 && innerHeight + scrollY >= document.documentElement.scrollHeight - 8;
    become(document.querySelector('main'), doc.querySelector('main'));
    document.title = doc.title;
    if (atEnd) scrollTo(scrollX, document.documentElement.scrollHeight); // someone who follows the log
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
  schedule();
}

function schedule() {
  const seconds = document.querySelector('main').dataset.refresh;
  if (seconds) setTimeout(refresh, 1000 * seconds);
}

localise(document);
schedule();
