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
const faults = []; // of any page, at any time

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
    const one = body.items?.find(fits);
    if (one) return one;
    if (Date.now() > until) throw new Error(`${path} has none: ${JSON.stringify(body)}`);
    await new Promise(resolve => setTimeout(resolve, 100)); // between two looks
  }
}

// Looks at a page as it is: wide and on two phones, light, dark and in Chinese. Nothing lies beside the page, axe finds nothing serious, and a picture is taken.
async function look(page, name) {
  const address = page.url();
  const shot = as => page.screenshot({path: join(given.shots, `${name}-${as}.png`), fullPage: true, caret: 'initial'});
  const fits = async where => {
    const [has, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(has <= room, `${name} ${where}: ${has} px wide in ${room}`);
  };
  const serious = async where => {
    await page.evaluate(axe);
    const {violations, passes} = await page.evaluate(() => axe.run());
    assert.ok(passes.length > 5, `${name} ${where}: axe looked at nothing`);
    const bad = violations.filter(v => v.impact === 'serious' || v.impact === 'critical');
    assert.deepEqual(bad.map(v => `${v.id}: ${v.nodes.map(n => n.html + ' ' + n.failureSummary).join('; ')}`), [], `${name} ${where}`);
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

// Says a command as a form of the page would that is not there for this person.
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
  const cookies = (await bob.context().cookies(given.bot)).filter(c => c.name.startsWith('__Host-'));
  assert.deepEqual(cookies.map(c => [c.name, c.secure, c.httpOnly, c.sameSite, c.path]), [['__Host-shipmate', true, true, 'Lax', '/']]);
});
