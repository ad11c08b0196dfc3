/** Your devices: logs in with cookies that no script can read, shows the user's sessions, and ends them. */

const settings = JSON.parse(document.documentElement.dataset.settings);
const POLL_INTERVAL = 10_000;
/** Which type of session the browser has: a refresh must name it. It says nothing to anybody else. */
const SESSION_TYPE = 'session-type';

const $ = (id) => document.getElementById(id);
const sections = { login: $('login'), devices: $('devices') };

const WORDS = {
  invalid_credentials: 'The user name or the password is not right.',
  session_limit_reached: 'You are logged in on as many devices as you may be. Log out on one of them first.',
  csrf_failed: 'The server did not take this page for its own. Reload it and try again.',
  unavailable: 'The server cannot answer just now. Try again in a moment.',
  unreachable: 'The server cannot be reached. This page goes on trying.',
  ended: 'You have been logged out. Log in again to go on.',
  insecure: 'You cannot log in over plain http. Open this page over https, or as localhost.',
  notKept: 'Your browser has not kept the session: it does not take the cookies of this page.',
  unknown: 'Something went wrong. Try again.',
};

/** What the server refused, or that it could not be asked. */
class Refusal extends Error {
  constructor(code, status, retryAfter) {
    super(code);
    Object.assign(this, { code, status, retryAfter });
  }

  get words() {
    if (this.status === 429) return `Too many attempts. Try again in ${this.retryAfter ?? 60} seconds.`;
    if (this.status === 503) return WORDS.unavailable;
    return WORDS[this.code] ?? WORDS.unknown;
  }
}

async function ask(method, route, body) {
  const headers = { 'X-Session-Transport': 'cookie', ...(body && { 'Content-Type': 'application/json' }) };
  let response;
  try {
    response = await fetch(`${settings.path}/${route}`, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Refusal('unreachable');
  }
  const text = await response.text();
  if (response.ok) return text && JSON.parse(text);
  const isJson = response.headers.get('content-type')?.includes('json');
  const code = isJson ? JSON.parse(text).code : undefined;
  throw new Refusal(code, response.status, response.headers.get('retry-after'));
}

let refreshing;

/** Of all that wait for a new access token, one asks for it. */
function refresh() {
  const session = localStorage.getItem(SESSION_TYPE);
  refreshing ??= ask('POST', 'refresh/', { session })
    .catch((error) => {
      // The server may not know such a type any more: that is the end of the session too.
      throw error.status === 400 ? new Refusal(error.code, 401) : error;
    })
    .finally(() => (refreshing = undefined));
  return refreshing;
}

/** As `ask`, with a new access token where the one that there is has expired. */
async function askAsUser(method, route, body) {
  try {
    return await ask(method, route, body);
  } catch (error) {
    if (error.status !== 401) throw error;
    await refresh();
    return ask(method, route, body);
  }
}

// ─── Showing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function say(words, isError = false) {
  const message = $('message');
  message.hidden = !words;
  message.classList.toggle('error', isError);
  if (message.textContent !== words) message.textContent = words;
}

function show(name) {
  if (!sections[name].hidden) return;
  for (const [other, section] of Object.entries(sections)) section.hidden = other !== name;
  document.title = name === 'login' ? 'Log in' : 'Your devices';
  (name === 'login' ? $('username') : sections.devices.querySelector('h1')).focus();
}

function showLogin(words = '', isError = false) {
  updates++;
  clearTimeout(polling);
  localStorage.removeItem(SESSION_TYPE);
  if ($('confirm').open) $('confirm').close('no');
  $('list').replaceChildren();
  $('password').value = '';
  show('login');
  say(words, isError);
}

/** Each device keeps its element, so that the focus stays where it is while the list is brought up to date. */
function showDevices(devices) {
  const list = $('list');
  const elements = new Map([...list.children].map((element) => [element.dataset.id, element]));
  for (const [id, element] of elements) {
    if (!devices.some((device) => device.id === id)) {
      if (element.contains(document.activeElement)) sections.devices.querySelector('h1').focus();
      element.remove();
    }
  }
  devices.forEach((device, at) => {
    const element = elements.get(device.id) ?? newElement(device);
    fill(element, device);
    if (list.children[at] !== element) list.insertBefore(element, list.children[at] ?? null);
  });
  $('end-others').hidden = devices.length < 2;
  show('devices');
}

function newElement(device) {
  const element = $('device').content.firstElementChild.cloneNode(true);
  element.dataset.id = device.id;
  element.querySelector('.end').addEventListener('click', () => endOne(device));
  return element;
}

/** Everything as text: a device may call itself anything. */
function fill(element, device) {
  const name = nameOf(device);
  const write = (selector, text) => {
    const part = element.querySelector(selector);
    if (part.textContent !== text) part.textContent = text;
  };
  element.querySelector('use').setAttribute('href', `#icon-${device.kind}`);
  write('.name', name);
  write('.times', timesOf(device));
  write('.where', [device.device && browserOf(device), device.ip_address].filter(Boolean).join(' · '));
  element.querySelector('.badge').hidden = !device.current;
  const end = element.querySelector('.end');
  end.hidden = device.current;
  end.setAttribute('aria-label', `Log out ${name}`);
}

const nameOf = (device) => device.device ?? browserOf(device) ?? 'Unknown device';

function browserOf({ browser, os, info }) {
  const version = browser?.version?.split('.')[0];
  const named = browser && [browser.name, version].filter(Boolean).join(' ');
  return [named, os?.name].filter(Boolean).join(' on ') || info || undefined;
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];

function ago(time) {
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  const [unit, length] = UNITS.find(([, least]) => seconds >= least) ?? [];
  return unit ? relative.format(-Math.floor(seconds / length), unit) : 'just now';
}

function timesOf({ created_at: created, last_update: used, current }) {
  const [login, use] = [`Logged in ${ago(created)}`, ago(used)];
  if (current) return `${login}, active now`;
  return use === ago(created) ? login : `${login}, last used ${use}`;
}

// ─── Doing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

let polling;
let updates = 0;

/** Brings the list up to date, now and from then on. @param words what to say where that succeeds */
async function update(words) {
  clearTimeout(polling);
  if (!localStorage.getItem(SESSION_TYPE)) {
    // Once: whoever is at it must not lose what they have typed.
    if (sections.login.hidden) showLogin();
    return;
  }
  const mine = ++updates;
  try {
    // Nobody looks at a page that is hidden; when it is seen again, it asks at once.
    const devices = document.hidden ? undefined : await askAsUser('GET', 'sessions');
    // What was asked later, or has happened since, is newer than this answer.
    if (mine !== updates) return;
    if (devices) showDevices(devices);
    if (words !== undefined || $('message').textContent === WORDS.unreachable) say(words ?? '');
    if ($('message').textContent === WORDS.unavailable) say('');
  } catch (error) {
    if (mine !== updates) return;
    if (error.status === 401) return showLogin(WORDS.ended);
    // A fault of the server logs nobody out.
    say(error.words, true);
  }
  clearTimeout(polling);
  polling = setTimeout(update, POLL_INTERVAL);
}

/** Runs what a button stands for, and tells what became of it. */
async function act(button, work) {
  // Not `disabled`, which would take the focus away.
  if (button.ariaBusy === 'true') return;
  button.ariaBusy = 'true';
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401 && !sections.devices.hidden) showLogin(WORDS.ended);
    else say(error.words, true);
  } finally {
    button.ariaBusy = 'false';
  }
}

const logIn = async () => {
  // No browser would keep the cookies, and the password would travel for all to read.
  if (!window.isSecureContext) throw new Refusal('insecure');
  const { types, usernameField } = settings;
  const session = $('remember').checked ? types.at(-1) : types[0];
  await ask('POST', 'login/', { [usernameField]: $('username').value, password: $('password').value, session });
  $('password').value = '';
  localStorage.setItem(SESSION_TYPE, session);
  try {
    showDevices(await ask('GET', 'sessions'));
  } catch (error) {
    if (error.status !== 401) throw error;
    return showLogin(WORDS.notKept, true);
  }
  await update('');
};

async function endOne(device) {
  const name = nameOf(device);
  if (!(await confirmed(`Log out ${name}?`))) return;
  const button = $('list').querySelector(`[data-id="${device.id}"] .end`);
  if (!button) return update();
  await act(button, async () => {
    // One that has just ended elsewhere is what was wanted.
    await askAsUser('DELETE', `sessions/${device.id}`).catch((error) => {
      if (error.status !== 404) throw error;
    });
    await update(`${name} has been logged out.`);
  });
}

const endOthers = async () => {
  if (!(await confirmed('Log out all other devices?'))) return;
  const { ended } = await askAsUser('DELETE', 'sessions');
  await update(ended === 1 ? 'One other device has been logged out.' : `${ended} other devices have been logged out.`);
};

const logOut = async () => {
  await ask('POST', 'logout/', {}).catch((error) => {
    if (error.status !== 401) throw error;
  });
  showLogin('You are logged out.');
};

function confirmed(question) {
  const dialog = $('confirm');
  $('question').textContent = question;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }),
  );
}

$('remember-choice').hidden = settings.types.length < 2;
sections.login.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  void act(event.submitter ?? event.target.querySelector('button'), logIn);
});
$('log-out').addEventListener('click', (event) => act(event.currentTarget, logOut));
$('end-others').addEventListener('click', (event) => act(event.currentTarget, endOthers));
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') void update();
});
window.addEventListener('focus', () => void update());
window.addEventListener('online', () => void update());
// Another tab has logged in or out.
window.addEventListener('storage', ({ key }) => {
  if (key === SESSION_TYPE) void update();
});

void update();
