// Keeps the page of something unfinished current, and shows times in the reader's zone. Without it the page reloads
// itself and shows UTC.
'use strict';

const zoned = new Intl.DateTimeFormat(document.documentElement.lang === 'zh' ? 'zh-CN' : 'en-GB', {dateStyle: 'medium', timeStyle: 'medium'});

function localise(doc) {
  for (const t of doc.querySelectorAll('time')) {
    const words = zoned.format(new Date(t.dateTime));
    if (t.className === 'ago') {
      t.title = words;
      continue;
    }
    t.title = t.textContent;
    t.textContent = words;
  }
}

// Makes a like b and touches only what differs, so that scroll, focus and selection stay.
function become(a, b) {
  if (a.isEqualNode(b) || (source && a.dataset?.follow)) return; // a log that is followed has more than the page
  if (a.nodeType !== Node.ELEMENT_NODE || a.nodeName !== b.nodeName) {
    a.replaceWith(b);
    return;
  }
  for (const {name} of [...a.attributes]) if (!b.hasAttribute(name) && !(name === 'open' && a.nodeName === 'DETAILS')) a.removeAttribute(name); // what was opened stays so
  for (const {name, value} of b.attributes) if (a.getAttribute(name) !== value) a.setAttribute(name, value);
  const old = [...a.childNodes];
  const now = [...b.childNodes];
  now.forEach((node, i) => i < old.length ? become(old[i], node) : a.append(node));
  old.slice(now.length).forEach(node => node.remove());
}

let source = null; // of the lines of a log that is being written

const maxShown = 3000; // lines

// Appends a log's lines as they are written.
function follow() {
  const log = document.querySelector('ol[data-follow]');
  if (source || !log) return;
  source = new EventSource(log.dataset.follow);
  source.onmessage = event => keepEnd(() => {
    log.insertAdjacentHTML('beforeend', event.data);
    while (log.children.length > maxShown) log.firstElementChild.remove();
  });
  const stop = () => {
    source.close();
    source = null;
  };
  source.addEventListener('end', stop);
  // A browser comes again by itself, unless it was refused: then the page's own refresh shows the log.
  source.onerror = () => source?.readyState === EventSource.CLOSED && stop();
}

// Stays at the end of the page where the reader is there: someone who follows the log.
function keepEnd(change) {
  const atEnd = scrollY > 0 && innerHeight + scrollY >= document.documentElement.scrollHeight - 8;
  change();
  if (atEnd) scrollTo(scrollX, document.documentElement.scrollHeight);
}

// Somebody fills a form in, or is at a button: nothing may move under their hands.
function busy() {
  return document.querySelector('main .ask[open], main form:focus-within');
}

// A button that came under somebody's hand a moment ago is not what they meant to press.
const moment = 700; // ms
let moved = -moment; // when buttons last changed

const buttons = () => [...document.querySelectorAll('main form[method=post]')].map(form => form.textContent + form.elements.text?.value).join('\n');

document.addEventListener('submit', event => {
  if (event.target.method === 'post' && event.timeStamp - moved < moment) event.preventDefault();
});

function show(main) {
  const before = buttons();
  keepEnd(() => become(document.querySelector('main'), main));
  if (buttons() !== before) moved = performance.now();
}

// The address of the page as it is now.
function current() {
  const q = new URLSearchParams(location.search);
  if (source) q.set('following', '');
  return location.pathname + (q.size ? '?' + q : '');
}

async function refresh() {
  const stale = document.querySelector('.stale');
  const followed = source;
  try {
    const answer = await fetch(current(), {cache: 'no-store'});
    if (answer.status === 401 && !busy()) return location.reload(); // to sign in, and come back
    if (!answer.ok) throw new Error(answer.statusText);
    const doc = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (source !== followed) return refresh(); // the log ended meanwhile, and the answer was asked for without its lines
    localise(doc);
    if (!busy()) show(doc.querySelector('main'));
    document.title = doc.title;
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
  follow();
  schedule();
}

function schedule() {
  const seconds = document.querySelector('main').dataset.refresh;
  if (seconds) setTimeout(refresh, 1000 * seconds);
}

// A link to a line leads to it, also where the page has the end of the log alone.
function seek() {
  const [, line] = /^#L(\d+)$/.exec(location.hash) ?? [];
  const q = new URLSearchParams(location.search);
  if (!line || document.querySelector(location.hash) || !document.querySelector('ol.log') || q.get('line') === line) return;
  q.delete('q');
  q.set('line', line);
  location.replace('?' + q + location.hash);
}

addEventListener('hashchange', seek);
seek();
localise(document);
follow();
schedule();
