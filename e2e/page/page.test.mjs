// What people do on the pages, in a real browser on real parts. page_test.go starts the parts and says in SHIPMATE_PAGE where they are.
import assert from 'node:assert/strict';
import {readFile, stat} from 'node:fs/promises';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {after, before, test} from 'node:test';

const given = JSON.parse(process.env.SHIPMATE_PAGE);
const require = createRequire(given.modules + '/');
const {chromium} = require('playwright-core');
const axe = await readFile(require.resolve('axe-core/axe.min.js'), 'utf8');

const patience = 120_000; // for what parts do; a page answers at once
const desktop = {width: 1280, height: 900};
let browser;
const faults = []; // of any page, at any time; the last test tells them all

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync', ...given.root ? ['--no-sandbox'] : []],
  });
});
after(() => browser?.close());

// A person's browser. Whatever a page complains of is a fault: an error in its console, a policy that was broken, a dialog.
async function visit(options = {}) {
  const context = await browser.newContext({viewport: desktop, locale: 'en-GB', timezoneId: 'Asia/Shanghai', colorScheme: 'light', reducedMotion: 'reduce', ...options});
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  page.on('console', message => {
    if (message.type() === 'warning' || message.type() === 'error') {
      // That a page itself is not there, or not for everybody, is what some of them are asked for.
      if (!/^Failed to load resource: the server responded with a status of 40[134]/.test(message.text())) faults.push(`${page.url()}: ${message.text()}`);
    }
  });
  page.on('pageerror', error => faults.push(`${page.url()}: ${error}`));
  page.on('dialog', dialog => {
    faults.push(`${page.url()}: a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  return page;
}

// Signs a person in by the simulated GitHub's page, on the way to an address.
async function signIn(login, to = '/') {
  const page = await visit();
  const answer = await page.goto(given.bot + to);
  assert.equal(answer.status(), 401);
  await page.getByRole('link', {name: 'Sign in with GitHub'}).click();
  await page.getByRole('link', {name: login, exact: true}).click();
  await page.waitForURL(given.bot + to);
  return page;
}

const people = {};
async function as(login) {
  return people[login] ??= await signIn(login);
}

// Has something happen outside of the browser.
async function step(name, what = {}) {
  const answer = await fetch(`${given.control}/${name}`, {method: 'POST', body: JSON.stringify(what)});
  if (!answer.ok) throw new Error(`${name}: ${await answer.text()}`);
  return answer.json();
}

// What the API tells the browser's person.
async function api(page, path) {
  return page.evaluate(async path => {
    const answer = await fetch('/api/v1' + path);
    return {status: answer.status, body: await answer.json()};
  }, path);
}

// The first of a list of the API that fits, once there is one.
async function found(page, path, fits) {
  const until = Date.now() + patience;
  for (;;) {
    const {status, body} = await api(page, path);
    assert.equal(status, 200);
    const one = body.find(fits);
    if (one) return one;
    if (Date.now() > until) throw new Error(`${path} has none: ${JSON.stringify(body)}`);
    await new Promise(resolve => setTimeout(resolve, 1500)); // between two looks: 60 calls a minute are allowed
  }
}

// Looks at a page as it is: wide and on two phones, light, dark and in Chinese. Nothing lies beside the page, axe finds nothing serious, and a picture is taken.
async function look(page, name) {
  const address = page.url();
  const shot = as => page.screenshot({path: join(given.shots, `${name}-${as}.png`), fullPage: true, caret: 'initial'});
  const fits = async where => {
    const [has, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    if (has > room) faults.push(`${name} ${where}: ${has} px wide in ${room}`);
  };
  const serious = async where => {
    await page.evaluate(axe);
    const {violations, passes} = await page.evaluate(() => axe.run());
    assert.ok(passes.length > 5, `${name} ${where}: axe looked at nothing`);
    for (const v of violations.filter(v => v.impact === 'serious' || v.impact === 'critical')) {
      faults.push(`${name} ${where}: ${v.id}: ${v.nodes.map(n => n.html + ' ' + n.failureSummary).join('; ')}`);
    }
  };
  await fits('wide');
  await serious('light');
  await shot('light');
  await page.emulateMedia({colorScheme: 'dark'});
  await serious('dark');
  await shot('dark');
  await page.emulateMedia({colorScheme: 'light'});
  await page.setViewportSize({width: 360, height: 780});
  await fits('on 360 px');
  await page.setViewportSize({width: 390, height: 844});
  await fits('on 390 px');
  await serious('on a phone');
  await shot('phone');
  await page.setViewportSize(desktop);
  if (new URL(address).pathname === '/setup/callback') return; // gone by now
  await page.getByRole('link', {name: '中文'}).click();
  assert.equal(await page.locator('html').getAttribute('lang'), 'zh');
  await fits('in Chinese');
  await shot('zh');
  await page.getByRole('link', {name: 'English'}).click();
  await page.goto(address);
}

const badge = page => page.locator('p.state .badge');

// Presses a button of a page that says a command, and returns the answer.
async function press(scope, name) {
  await scope.getByRole('button', {name, exact: true}).click();
  const said = scope.page ? scope.page().locator('#said') : scope.locator('#said');
  await said.waitFor();
  return said.innerText();
}

// Says a command as a form of the page would, also one that is not there for this person.
async function force(page, text) {
  const csrf = await page.locator('input[name=csrf]').first().inputValue();
  return page.evaluate(async ([csrf, text]) => {
    const answer = await fetch('/command', {method: 'POST', headers: {Accept: 'application/json'}, body: new URLSearchParams({csrf, text, repository: 'acme/devops-app', back: '/'})});
    return {status: answer.status, body: await answer.json()};
  }, [csrf, text]);
}

test('set-up: from a one-time address to sign-in', {timeout: patience}, async () => {
  const {address, github, public: home, dir} = given.setup;
  const page = await visit();
  await page.goto(address);
  await look(page, 'setup');
  await page.getByLabel('Organization').fill('acme');
  await page.getByLabel('Name of the App').fill('Ship');
  await page.getByLabel('GitHub', {exact: true}).fill(github);
  await page.getByLabel('Public address of Shipmate').fill(home);
  await page.getByRole('button', {name: 'Go on'}).click();
  await page.getByRole('button', {name: 'Register the App at GitHub'}).waitFor();
  await look(page, 'setup-register');
  await page.getByRole('button', {name: 'Register the App at GitHub'}).click();
  await page.getByRole('heading', {name: 'Set-up: done'}).waitFor();
  await look(page, 'setup-done');
  for (const name of ['app.pem', 'webhook-secret', 'client-secret']) {
    assert.equal((await stat(join(dir, name))).mode & 0o777, 0o600, name);
  }
  // It goes on as the configured bot, with sign-in; the address is gone.
  for (const until = Date.now() + 30_000; ;) {
    const answer = await fetch(home + '/readyz').catch(() => null); // between the two servers there is none
    if (answer?.ok) break;
    assert.ok(Date.now() < until, 'the bot does not go on');
    await new Promise(resolve => setTimeout(resolve, 50)); // between two looks
  }
  assert.equal((await page.goto(address)).status(), 404);
  assert.equal((await page.goto(home + '/')).status(), 401);
  await page.getByRole('link', {name: 'Sign in with GitHub'}).click();
  await page.getByRole('link', {name: 'erin'}).click();
  await page.getByRole('heading', {name: 'Overview'}).waitFor();
  assert.equal(page.url(), home + '/');
  await page.context().close();
});

let first; // the commit that is shipped first

test('sign-in: to the page that was wanted, with cookies of this host alone', {timeout: 2 * patience}, async () => {
  first = await step('push', {branch: 'master', author: 'alice', message: 'devops-app, v1\n\nThe first version.'});
  await step('status', {sha: first, name: 'shipmate/deploy/staging', want: 'success'});
  const page = await visit();
  await page.goto(given.bot + '/apps/devops-app');
  await look(page, 'sign-in');
  await page.context().close();
  const bob = people.bob = await signIn('bob', '/apps/devops-app');
  await bob.getByRole('heading', {name: 'devops-app', level: 1}).waitFor();
  const cookies = (await bob.context().cookies()).filter(c => c.name.startsWith('__Host-'));
  assert.deepEqual(cookies.map(c => [c.name, c.secure, c.httpOnly, c.sameSite, c.path]), [['__Host-shipmate', true, true, 'Lax', '/']]);
});

test('approve: who may, who may not, and whom there is nothing for', {timeout: 3 * patience}, async t => {
  const alice = await as('alice');
  await alice.goto(given.bot + '/apps/devops-app');
  const said = await press(alice.locator('li.cell', {has: alice.getByRole('heading', {name: /production/})}), 'Promote');
  assert.match(said, /release 1/);
  const waiting = await found(alice, '/deployments?environment=production', d => d.state === 'blocked');
  const path = '/deployments/' + waiting.id;

  await t.test('who asked for it is among those who approve, and may not', async () => {
    await alice.goto(given.bot + path);
    assert.match(await press(alice, 'Approve'), /someone else/);
    assert.match(await badge(alice).innerText(), /blocked/i);
  });

  await t.test('who reads sees it, without a button, and is refused', async () => {
    const carol = await as('carol');
    await carol.goto(given.bot + path);
    await carol.getByRole('heading', {name: 'devops-app release 1 to production'}).waitFor();
    assert.equal(await carol.locator('form[action="/command"]').count(), 0);
    const {status, body} = await force(carol, `/approve ${waiting.number}`);
    assert.equal(status, 200);
    assert.equal(body.refused, true);
    assert.match(body.answer, /may approve|needs|only/i);
    await carol.goto(given.bot + '/apps/devops-app');
    assert.equal(await carol.locator('form[action="/command"]').count(), 0);
    assert.equal(await carol.getByText('Waits for you').count(), 0);
    assert.equal((await force(carol, '/rollback devops-app staging')).body.refused, true);
  });

  await t.test('to whom nobody gave access there is nothing, and nothing can be done', async () => {
    const frank = await as('frank');
    assert.match(await frank.locator('main').innerText(), /There is no app yet/);
    assert.doesNotMatch(await frank.content(), /devops-app|acme/);
    const {id: run} = await found(alice, '/runs', () => true);
    for (const address of [path, '/runs/' + run, `/runs/${run}/log`, '/apps/devops-app', '/apps/devops-app?repository=acme/devops-app', '/orders/' + waiting.id]) {
      assert.equal((await frank.goto(given.bot + address)).status(), 404, address);
      assert.doesNotMatch(await frank.content(), /release 1|devops-app, v1/);
    }
    await frank.goto(given.bot + '/');
    for (const list of ['/apps', '/runs', '/deployments', '/orders', '/audit']) {
      const {status, body} = await api(frank, list);
      assert.ok(status === 200 && body.length === 0 || status === 403 || status === 404, `${list}: ${status} ${JSON.stringify(body)}`);
    }
    for (const one of [path, '/runs/' + run, '/apps/devops-app']) assert.equal((await api(frank, one)).status, 404, one);
    assert.equal((await force(frank, `/approve ${waiting.number}`)).status, 404);
  });

  await t.test('who approves is told, sees the changes, and approves by the keyboard', async () => {
    const bob = await as('bob');
    await bob.goto(given.bot + '/');
    const card = bob.getByRole('region', {name: 'Waits for you'});
    assert.match(await card.innerText(), /devops-app release 1 to production/);
    assert.match(await card.innerText(), /alice/);
    await look(bob, 'home');
    await card.getByRole('link', {name: 'See the changes'}).click();
    await bob.waitForURL(given.bot + path + '#changes');
    assert.match(await bob.locator('.diff').innerText(), /devops-app/);
    await bob.goto(given.bot + path);
    await look(bob, 'deployment-waiting');

    // The first stop skips to the content; the next one after it that votes is Approve.
    await bob.keyboard.press('Tab');
    const skip = bob.getByRole('link', {name: 'Skip to the content'});
    assert.ok(await skip.evaluate(e => e === document.activeElement && e.getBoundingClientRect().top >= 0), 'the first stop is no link in sight that skips');
    await bob.keyboard.press('Enter');
    const approve = bob.getByRole('button', {name: 'Approve', exact: true});
    for (let n = 0; !await approve.evaluate(e => e === document.activeElement); n++) {
      assert.ok(n < 5, 'Approve is not among the first five stops of the content');
      await bob.keyboard.press('Tab');
    }
    const ring = await approve.evaluate(e => { const s = getComputedStyle(e); return [s.outlineStyle, parseFloat(s.outlineWidth)]; });
    assert.ok(ring[0] !== 'none' && ring[1] >= 2, `the focus shows as ${ring}`);
    await bob.keyboard.press('Enter');
    await bob.locator('#said').waitFor();
    assert.match(await bob.locator('#said').innerText(), /approv/i);
    // The page follows by itself; the cluster says the same.
    await bob.locator('p.state .badge .good, p.state .badge.good').first().waitFor({timeout: patience});
    await step('live', {namespace: 'production', path: '/', want: 'Hello from devops-app, v1'});
    assert.match(await bob.getByRole('region', {name: 'Votes'}).innerText(), /bob/);
  });
});

test('a log that is being written, and what strangers write in it', {timeout: 3 * patience}, async t => {
  // What breaks in staging is built meanwhile: the page of its deployment is looked at below.
  await step('push', {branch: 'master', author: 'alice', message: 'Crashes', replace: {'main.go': {'func main() {': 'func main() {\n\tlog.Fatal("no config found, giving up")'}}});
  const evil = '<script>alert(1)</script><img src=x onerror=alert(2)>';
  const branch = 'topic/<script>alert(3)</script>';
  const gate = name => `wget -q -O - ${given.control}/gate/${name}`;
  const sha = await step('push', {branch, author: 'alice', message: `${evil}\n\nWell.`, files: {
    'evil.txt': `\u001b[1;31mred and bold\u001b[0m then plain \u001b[32mgreen\u001b[0m\n${evil}\n\u001b]8;;javascript:alert(4)\u0007a link\u001b]8;;\u0007\n`,
  }, replace: {'Dockerfile': {'RUN --mount': `COPY evil.txt .\nRUN cat evil.txt && echo "before the $((40 + 2))nd gate" && ${gate('one')} && echo "after $((42 - 41)) gate" && ${gate('two')} && echo "after $((1 + 1)) gates"\nRUN --mount`}}});
  const bob = await as('bob');
  const run = await found(bob, '/runs', r => r.sha === sha && r.state === 'running');
  await bob.goto(`${given.bot}/runs/${run.id}`);
  await bob.evaluate(() => { window.stayed = true; });
  const log = bob.locator('ol.log');
  const line = text => log.locator('li', {hasText: text});
  await line('before the 42nd gate').waitFor({timeout: patience});
  assert.equal(await line('after 1 gate').count(), 0);
  assert.match(await badge(bob).innerText(), /running/i);
  await look(bob, 'run-running');
  await bob.evaluate(() => { window.stayed = true; });
  await step('open', {name: 'one'});
  await line('after 1 gate').waitFor();
  assert.match(await badge(bob).innerText(), /running/i);
  assert.equal(await line('after 2 gates').count(), 0);

  // What looks like HTML is text, also in the subject and the branch.
  assert.equal(await line(evil).count() > 0, true);
  const main = await bob.locator('main').innerText();
  assert.ok(main.includes(evil) && main.includes(branch), 'the subject and the branch stand there as they are');
  assert.equal(await bob.locator('main script, main img, a[href^="javascript:"]').count(), 0);

  // Search, and from a line that was found to its place.
  await step('open', {name: 'two'});
  await line('after 2 gates').waitFor();
  await badge(bob).locator('.word', {hasText: /succeeded/i}).waitFor({timeout: patience});
  assert.equal(await bob.evaluate(() => window.stayed), true); // all of that without loading the page again
  await bob.getByRole('searchbox', {name: 'Search the log'}).fill('AFTER 1 GATE');
  await bob.getByRole('button', {name: 'Search'}).click();
  await bob.waitForURL(/q=AFTER/);
  assert.equal(await bob.locator('main [role=status]').filter({hasText: /that/}).innerText(), '1 line has that.', await log.innerText());
  const hit = line('after 1 gate').last();
  const number = await hit.locator('a').innerText();
  await hit.locator('a').click();
  await bob.waitForURL(new RegExp(`line=${number}#L${number}$`));
  const target = bob.locator('li:target');
  assert.equal(await target.getAttribute('id'), 'L' + number);
  assert.match(await target.innerText(), /after 1 gate/);
  const seen = await target.evaluate(e => { const box = e.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight && getComputedStyle(e).backgroundColor !== getComputedStyle(e.parentElement).backgroundColor; });
  assert.ok(seen, 'the line is in sight, and marked');
  assert.ok(await log.locator('li').count() > 3, 'with those around it');
  await look(bob, 'run-line');
  await bob.goto(`${given.bot}/runs/${run.id}`);
  await look(bob, 'run');

  await t.test('the colours of a terminal are shown', async () => {
    const colour = selector => log.locator(selector).first().evaluate(e => getComputedStyle(e).color);
    assert.equal(await log.locator('.bold.c1', {hasText: 'red and bold'}).count(), 1);
    assert.notEqual(await colour('.c1'), await colour('code'));
    assert.notEqual(await colour('.c1'), await colour('.c2'));
  });
});

test('every other page', {timeout: 3 * patience}, async () => {
  const dave = await as('dave');
  const failed = await found(dave, '/deployments?environment=staging', d => d.state === 'failed');
  await dave.goto(given.bot + '/deployments/' + failed.id);
  assert.match(await dave.locator('main').innerText(), /no config found, giving up/);
  await look(dave, 'deployment-failed');
  const good = await step('push', {branch: 'master', author: 'alice', message: 'devops-app, v2', replace: {'main.go': {'devops-app, v1': 'devops-app, v2'}}});
  await step('status', {sha: good, name: 'shipmate/deploy/staging', want: 'success'});
  const {release} = await found(dave, '/runs', r => r.sha === good);
  const alice = await as('alice');
  await alice.goto(given.bot + '/');
  const made = await force(alice, `/order create production devops-app@${release} "the new login"`);
  assert.equal(made.body.refused, false, JSON.stringify(made));
  const order = await found(dave, '/orders', () => true);
  const bob = await as('bob');
  await bob.goto(given.bot + '/orders/' + order.id);
  await bob.getByRole('button', {name: 'Approve', exact: true}).waitFor();
  await look(bob, 'order');
  const locked = await force(bob, '/lock devops-app staging for 2h "a demo"');
  assert.equal(locked.body.refused, false, JSON.stringify(locked));
  for (const [name, path] of Object.entries({app: '/apps/devops-app', audit: '/audit', deliveries: '/deliveries', hooks: '/hooks', links: '/links', queue: '/queue', system: '/system', overview: '/', missing: '/runs/nothing'})) {
    await dave.goto(given.bot + path);
    await look(dave, name);
  }
  await dave.goto(given.bot + '/deliveries');
  await dave.locator('main .steps a').first().click();
  await dave.waitForURL('**/deliveries/**');
  await look(dave, 'delivery');
});

test('no page has a fault', () => {
  assert.deepEqual(faults, []);
});
