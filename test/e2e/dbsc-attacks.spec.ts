import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { SHORT_AND_LONG } from 'nestjs-multisession';
import type { TestApp } from '../helpers/app.js';
import { ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE } from '../helpers/cookies.js';
import { CREDENTIALS, LOGIN, LOGOUT, networkTo, REFRESH, startBoundApp } from '../helpers/dbsc-app.js';
import { DbscBrowser, ORIGIN, type RawAnswer, type Send } from '../helpers/dbsc-browser.js';
import { deviceKeys, proofOf, refreshProof, registrationProof } from '../helpers/dbsc-proofs.js';
import { recordEvents, type RecordedEvent } from '../helpers/events.js';
import { ShiftedTime } from '../helpers/shifted-time.js';

let app: TestApp;
let time: ShiftedTime;
let events: RecordedEvent[];
/** What the owner's browser has sent, with the answers. */
let sent: { path: string; headers: Record<string, string>; answer: RawAnswer }[];

beforeEach(async () => {
  time = new ShiftedTime();
  await start();
});
afterEach(async () => {
  await app.close();
  time.end();
});

async function start(options: Parameters<typeof startBoundApp>[0] = {}): Promise<void> {
  app = await startBoundApp({ database: time.database, ...options });
  events = recordEvents(app);
}

const network: Send = (...request) => networkTo(app)(...request);
const recorded: Send = async (method, path, headers, body) => {
  const answer = await network(method, path, headers, body);
  sent.push({ path, headers, answer });
  return answer;
};
const challengeIn = ({ headers }: RawAnswer, name: string) =>
  /challenge="([^"]+)"|^"([^"]+)"/
    .exec(headers.get(name) ?? '')
    ?.slice(1)
    .find(Boolean) ?? '';
const namesOf = () => events.map(({ name }) => name);

/** Logs in and registers a key. */
async function registered() {
  sent = [];
  const browser = new DbscBrowser(recorded, () => time.now());
  const { body } = await browser.fetch('POST', LOGIN, CREDENTIALS);
  const login = sent[0].answer;
  await browser.register();
  return { browser, id: body.session_id as string, login };
}

/** Logs in, and binds the session. */
async function bound() {
  const all = await registered();
  all.browser.drop(ACCESS_COOKIE);
  expect((await all.browser.fetch('GET', '/me')).status).toBe(200);
  return all;
}

function post(route: string, browser: DbscBrowser | undefined, headers: Record<string, string>): Promise<RawAnswer> {
  const names = [ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE];
  const cookie = names.flatMap((name) => (browser?.valueOf(name) ? `${name}=${browser.valueOf(name)}` : [])).join('; ');
  const own = { origin: ORIGIN, 'sec-fetch-site': 'same-origin', ...(cookie !== '' && { cookie }) };
  return network('POST', `/api/session/dbsc/${route}`, { ...own, ...headers });
}

const codeOf = ({ text, status }: RawAnswer) => [
  status,
  text === '' ? '' : (JSON.parse(text) as { code?: string }).code,
];

describe('a registration', () => {
  test('may be repeated with the same key: a lost answer costs nothing', async () => {
    const { browser, id } = await registered();
    const { path, headers } = sent.find(({ path: at }) => at.endsWith('register')) ?? sent[0];
    expect((await network('POST', path, headers)).status).toBe(200);
    browser.drop(ACCESS_COOKIE);
    expect(await browser.fetch('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
  });

  test('a second key within the window ends the session', async () => {
    const { browser, login } = await registered();
    const challenge = challengeIn(login, 'secure-session-registration');
    const proof = registrationProof(deviceKeys(), challenge);
    expect(codeOf(await post('register', browser, { 'secure-session-response': proof }))).toEqual([
      401,
      'device_proof_required',
    ]);
    expect(events).toContainEqual({
      name: 'session.ended',
      event: expect.objectContaining({ reason: 'binding-conflict' }),
    });
    expect((await browser.fetch('GET', '/me')).status).toBe(401);
  });

  test('after the window registers nothing', async () => {
    sent = [];
    const browser = new DbscBrowser(recorded, () => time.now());
    await browser.fetch('POST', LOGIN, CREDENTIALS);
    await time.advance(app, 121_000);
    await browser.register();
    expect(browser.boundIds).toEqual([]);
    expect((await browser.fetch('GET', '/me')).status).toBe(200);
    expect((await browser.fetch('POST', REFRESH, {})).status).toBe(200);
  });

  test.each<[string, (challenge: string, browser: DbscBrowser) => Promise<RawAnswer>]>([
    ['without a proof', (_, browser) => post('register', browser, {})],
    ['with a challenge of its own', (_, browser) => post('register', browser, proofFor('mine'))],
    ['without the cookies of the login', (challenge) => post('register', undefined, proofFor(challenge))],
    [
      'with a refresh cookie that a sibling may have set',
      (challenge, browser) =>
        post('register', undefined, {
          ...proofFor(challenge),
          cookie: `${REFRESH_COOKIE}=${browser.valueOf(REFRESH_COOKIE)}`,
        }),
    ],
    ['with two proofs', (challenge, browser) => post('register', browser, twice(proofFor(challenge)))],
    [
      'with a proof for another route',
      (challenge, browser) => {
        const keys = deviceKeys();
        const claims = { jti: challenge, aud: `${ORIGIN}/api/session/dbsc/refresh` };
        return post('register', browser, { 'secure-session-response': proofOf(keys, { jwk: keys.jwk }, claims) });
      },
    ],
  ])('%s is refused', async (_, attempt) => {
    sent = [];
    const browser = new DbscBrowser(recorded, () => time.now());
    await browser.fetch('POST', LOGIN, CREDENTIALS);
    const answer = await attempt(challengeIn(sent[0].answer, 'secure-session-registration'), browser);
    expect(codeOf(answer)).toEqual([401, 'device_proof_required']);
    // The owner still can.
    await browser.register();
    expect(browser.boundIds).toHaveLength(1);
  });

  test.each<[string, Record<string, string>]>([
    ['another site', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.test' }],
    ['a sibling', { 'sec-fetch-site': 'same-site', origin: 'https://other.app.test' }],
    ['plain HTTP', { origin: 'http://app.test' }],
  ])('from %s is refused', async (_, headers) => {
    const { browser } = await registered();
    expect(codeOf(await post('register', browser, headers))).toEqual([403, 'csrf_failed']);
  });

  test('is offered by logins only, so that no browser registers two keys', async () => {
    sent = [];
    const browser = new DbscBrowser(recorded, () => time.now(), false);
    await browser.fetch('POST', LOGIN, CREDENTIALS);
    await browser.fetch('POST', REFRESH, {});
    const offered = sent.map(({ answer }) => answer.headers.has('secure-session-registration'));
    expect(offered).toEqual([true, false]);
  });

  test('is not offered for types that are not bound', async () => {
    await app.close();
    await start({ options: { policies: { LONG: SHORT_AND_LONG.LONG } } });
    sent = [];
    await new DbscBrowser(recorded).fetch('POST', LOGIN, CREDENTIALS);
    expect(sent[0].answer.headers.has('secure-session-registration')).toBe(false);
  });
});

describe('a proof', () => {
  const proofFrom = async (browser: DbscBrowser, id: string, jwt?: string) =>
    post('refresh', browser, {
      'sec-secure-session-id': id,
      ...(jwt !== undefined && { 'secure-session-response': jwt }),
    });

  test.each<[string, (last: string, challenge: string) => string]>([
    ['by another key', (_, challenge) => refreshProof(deviceKeys(), challenge)],
    ['that is no JWT', () => 'nonsense'],
    ['that is huge', (last) => `${last}${'A'.repeat(5000)}`],
    ['that was sent twice', (last) => `${last}, ${last}`],
  ])('%s is refused and reported, and the owner goes on', async (_, forge) => {
    const { browser, id } = await bound();
    const last = sent.filter(({ path }) => path.endsWith('dbsc/refresh')).at(-1);
    const challenge = challengeIn(last?.answer as RawAnswer, 'secure-session-challenge');
    const jwt = forge(last?.headers['secure-session-response'] ?? '', challenge);
    expect(codeOf(await proofFrom(browser, id, jwt))).toEqual([401, 'device_proof_required']);
    expect(events.at(-1)).toMatchObject({ name: 'device.proof-failed', event: { session: { id }, reason: 'invalid' } });
    browser.drop(ACCESS_COOKIE);
    expect(await browser.fetch('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
  });

  test('before the session is bound, a forged one is refused and changes nothing', async () => {
    const { browser, id } = await registered();
    expect(codeOf(await proofFrom(browser, id, refreshProof(deviceKeys(), 'c')))).toEqual([
      401,
      'device_proof_required',
    ]);
    expect(namesOf()).not.toContain('session.refreshed');
  });

  test('is repeated after a lost answer: the same tokens come again', async () => {
    const { browser } = await bound();
    browser.drop(ACCESS_COOKIE);
    await browser.fetch('GET', '/me');
    const { path, headers, answer } = sent.filter(({ path: at }) => at.endsWith('dbsc/refresh')).at(-1) ?? sent[0];
    const again = await network('POST', path, headers);
    expect(again.status).toBe(200);
    const refreshIn = ({ headers: of }: RawAnswer) => of.getSetCookie().find((text) => text.startsWith(REFRESH_COOKIE));
    expect(refreshIn(again)?.split(';')[0]).toBe(refreshIn(answer)?.split(';')[0]);
  });

  test('without one, or with an old challenge, the browser gets a new challenge, which it signs', async () => {
    const { browser, id } = await bound();
    const missing = await proofFrom(browser, id);
    expect(codeOf(missing)).toEqual([403, 'device_challenge']);
    expect(missing.headers.get('secure-session-challenge')).toContain(`id="${id}"`);
    await time.advance(app, 16 * 60_000);
    const before = browser.log.length;
    expect((await browser.fetch('GET', '/me')).status).toBe(200);
    expect(browser.log.slice(before)).toEqual([
      'POST /api/session/dbsc/refresh 403',
      'POST /api/session/dbsc/refresh 200',
      'GET /me 200',
    ]);
  });

  test('that came with an older refresh token is none for the current one', async () => {
    const { browser, id } = await bound();
    await time.advance(app, 60_000);
    browser.drop(ACCESS_COOKIE);
    await browser.fetch('GET', '/me');
    const [first] = sent.filter(({ path, answer }) => path.endsWith('dbsc/refresh') && answer.status === 200);
    const old = first.headers['secure-session-response'];
    expect(codeOf(await proofFrom(browser, id, old))).toEqual([403, 'device_challenge']);
  });

  test('of one session is none for another', async () => {
    const one = await bound();
    const { path, headers } = sent.filter(({ path: at }) => at.endsWith('dbsc/refresh')).at(-1) ?? sent[0];
    await app.close();
    await start({ options: { cookies: { replaceOnLogin: false } } });
    const two = await bound();
    const foreign = await network('POST', path, { ...headers, 'sec-secure-session-id': two.id });
    expect(foreign.headers.getSetCookie()).toEqual([]);
    expect(codeOf(await proofFrom(two.browser, two.id, headers['secure-session-response']))[0]).toBe(401);
    one.browser.drop(ACCESS_COOKIE);
    expect(await one.browser.fetch('GET', '/me')).toEqual({ status: 200, body: { sessionId: one.id } });
  });

  test('with the cookies of a later login is told that its session is over', async () => {
    const { browser, id } = await bound();
    await browser.fetch('POST', LOGIN, CREDENTIALS);
    const answer = await proofFrom(browser, id);
    expect([answer.status, JSON.parse(answer.text)]).toEqual([200, { session_identifier: id, continue: false }]);
    expect(answer.headers.getSetCookie()).toEqual([]);
  });

  test('without any cookie, as from a page of another site, does not end the session', async () => {
    const { browser, id } = await bound();
    expect((await post('refresh', undefined, { 'sec-secure-session-id': id })).status).toBe(503);
    browser.drop(ACCESS_COOKIE);
    expect(await browser.fetch('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
  });

  test('that arrives after the logout brings no cookie back', async () => {
    const { browser, id } = await bound();
    const { path, headers } = sent.filter(({ path: at }) => at.endsWith('dbsc/refresh')).at(-1) ?? sent[0];
    await browser.fetch('POST', LOGOUT, {});
    const late = await network('POST', path, headers);
    expect([late.status, JSON.parse(late.text)]).toEqual([200, { session_identifier: id, continue: false }]);
    expect(late.headers.getSetCookie()).toEqual([]);
  });

  test('needs the header that no page can send', async () => {
    const { browser } = await bound();
    expect(codeOf(await post('refresh', browser, {}))).toEqual([401, 'device_proof_required']);
  });
});

describe('a browser that could not prove its key', () => {
  test('is not taken for logged out', async () => {
    const { browser } = await bound();
    const skipped = {
      cookie: `${PROOF_COOKIE}=${browser.valueOf(PROOF_COOKIE)}`,
      'secure-session-skipped': 'quota_exceeded',
    };
    const answer = await network('GET', '/me', skipped);
    expect([...codeOf(answer), answer.headers.get('retry-after')]).toEqual([503, 'unavailable', '1']);
    // Without a session, it is.
    expect(codeOf(await network('GET', '/me', { 'secure-session-skipped': 'quota_exceeded' }))).toEqual([
      401,
      'not_authenticated',
    ]);
  });

  test('gets no token either', async () => {
    const { browser } = await bound();
    await time.advance(app, 6 * 60_000);
    const thief = new DbscBrowser(
      (method, path, headers, body) =>
        network(method, path, { ...headers, 'secure-session-skipped': 'quota_exceeded' }, body),
      () => time.now(),
    );
    browser.stolenBy(thief);
    expect((await thief.fetch('POST', REFRESH, {})).status).toBe(503);
    expect((await thief.fetch('GET', '/me')).status).toBe(503);
  });
});

test('with require, a session that is not bound in time is refused', async () => {
  await app.close();
  await start({ options: { policies: { LONG: { ...SHORT_AND_LONG.LONG, binding: 'require' } } } });
  const plain = new DbscBrowser(network, () => time.now(), false);
  await plain.fetch('POST', LOGIN, CREDENTIALS);
  expect((await plain.fetch('POST', REFRESH, {})).status).toBe(200);
  await time.advance(app, 121_000);
  expect((await plain.fetch('POST', REFRESH, {})).status).toBe(401);
  const { browser, id } = await bound();
  await time.advance(app, 121_000);
  browser.drop(ACCESS_COOKIE);
  expect(await browser.fetch('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
});

function proofFor(challenge: string): Record<string, string> {
  return { 'secure-session-response': registrationProof(deviceKeys(), challenge) };
}

function twice(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, `${value}, ${value}`]));
}
