/** The page "Your devices": logs in with HttpOnly cookies, lists the user's sessions and ends them. */

const settings = JSON.parse(document.documentElement.dataset.settings);
const POLL_INTERVAL = 10_000;
/** The key under which the page remembers its session type, which a refresh must name. It is not secret. */
const SESSION_TYPE = 'session-type';

const $ = (id) => document.getElementById(id);
const sections = { login: $('login'), devices: $('devices') };

const WORDS = {
  invalid_credentials: 'Wrong user name or password.',
  session_limit_reached: "You've reached the maximum number of devices. Log out on one of them first.",
  csrf_failed: "The server couldn't verify that the request came from this page. Reload it and try again.",
  unavailable: 'The server is temporarily unavailable. Try again in a moment.',
  unreachable: "Can't reach the server. Retrying…",
  ended: "You've been logged out. Log in again to continue.",
  insecure: "You can't log in over plain HTTP. Open this page over HTTPS, or on localhost.",
  notKept: 'Your browser rejected the cookies of this page, so you are not logged in. Allow cookies and try again.',
  unknown: 'Something went wrong. Try again.',
};

/** A request that the server refused or that did not reach it. */
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

/** Shares one refresh between all requests that wait for a new access token. */
function refresh() {
  const session = localStorage.getItem(SESSION_TYPE);
  refreshing ??= ask('POST', 'refresh/', { session })
    .catch((error) => {
      // 400: the session type no longer exists, so the session cannot continue.
      throw error.status === 400 ? new Refusal(error.code, 401) : error;
    })
    .finally(() => (refreshing = undefined));
  return refreshing;
}

/** Like `ask`, but if the access token has expired, refreshes it and retries once. */
async function askAsUser(method, route, body) {
  try {
    return await ask(method, route, body);
  } catch (error) {
    if (error.status !== 401) throw error;
    await refresh();
    return ask(method, route, body);
  }
}

// ─── Display ───────────────────────────────────────────────────────────────────────────────────────────────────────────

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

/** Updates the list in place. Each device keeps its element, so that an update does not move the focus. */
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

/** Writes everything as text, because the name of a device is untrusted. */
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

// ─── Actions ───────────────────────────────────────────────────────────────────────────────────────────────────────────

let polling;
let updates = 0;

/**
 * Updates the list immediately, and from then on at intervals.
 *
 * @param words the message to show after a successful update
 */
async function update(words) {
  clearTimeout(polling);
  if (!localStorage.getItem(SESSION_TYPE)) {
    // Do not show it again, or the user would lose what they have typed.
    if (sections.login.hidden) showLogin();
    return;
  }
  const mine = ++updates;
  try {
    // A hidden page does not poll. It updates when it becomes visible.
    const devices = document.hidden ? undefined : await askAsUser('GET', 'sessions');
    // Discard a late answer: something newer has been requested or shown since.
    if (mine !== updates) return;
    if (devices) showDevices(devices);
    if (words !== undefined || $('message').textContent === WORDS.unreachable) say(words ?? '');
    if ($('message').textContent === WORDS.unavailable) say('');
  } catch (error) {
    if (mine !== updates) return;
    if (error.status === 401) return showLogin(WORDS.ended);
    // A fault of the server must not log the user out.
    say(error.words, true);
  }
  clearTimeout(polling);
  polling = setTimeout(update, POLL_INTERVAL);
}

/** Runs the action of a button and shows an error if it fails. */
async function act(button, work) {
  // `disabled` would remove the focus from the button.
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
  // Over plain HTTP, browsers reject the cookies and the password is readable in transit.
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
    // 404: the session has already ended.
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
  showLogin("You're logged out.");
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
