import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ADAPTERS, type AdapterName, type TestApp } from '../helpers/app.js';
import { ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE } from '../helpers/cookies.js';
import { CREDENTIALS, LOGIN, LOGOUT, networkTo, REFRESH, startBoundApp } from '../helpers/dbsc-app.js';
import { DbscBrowser } from '../helpers/dbsc-browser.js';
import { ShiftedTime } from '../helpers/shifted-time.js';
import { recordEvents } from '../helpers/events.js';

let app: TestApp;
let time: ShiftedTime;
beforeEach(() => {
  time = new ShiftedTime();
});
afterEach(async () => {
  await app.close();
  time.end();
});

async function bound(adapter: AdapterName = 'express') {
  app = await startBoundApp({ adapter, database: time.database });
  const browser = new DbscBrowser(networkTo(app), () => time.now());
  const { status, body } = await browser.fetch('POST', LOGIN, CREDENTIALS);
  expect(status).toBe(200);
  await browser.register();
  return { browser, id: body.session_id as string };
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  test('a browser registers its key after the login, and the first proof binds the session', async () => {
    const { browser, id } = await bound(adapter);
    const events = recordEvents(app);
    expect(browser.boundIds).toEqual([id]);
    expect(browser.lifeOf(ACCESS_COOKIE)).toBeLessThanOrEqual(60_000);
    expect(await browser.fetch('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
    await browser.renewEarly();
    expect(browser.log.at(-1)).toBe('POST /api/session/dbsc/refresh 200');
    expect(events.map(({ name }) => name)).toContain('device.bound');
    expect(browser.lifeOf(ACCESS_COOKIE)).toBeGreaterThan(280_000);
    expect(browser.lifeOf(ACCESS_COOKIE)).toBeLessThanOrEqual(290_000);
    const [listed] = (await browser.fetch('GET', '/api/session/sessions')).body;
    expect(listed).toMatchObject({ id, bound: true });
    // Later proofs need one request each.
    for (let round = 0; round < 3; round++) {
      browser.drop(ACCESS_COOKIE);
      const before = browser.log.length;
      expect((await browser.fetch('GET', '/me')).status).toBe(200);
      expect(browser.log.slice(before)).toEqual(['POST /api/session/dbsc/refresh 200', 'GET /me 200']);
    }
  });

  test('a copy of the cookies is refused, and its owner goes on', async () => {
    const { browser, id } = await bound(adapter);
    browser.drop(ACCESS_COOKIE);
    await browser.fetch('GET', '/me');
    const events = recordEvents(app);
    const thief = new DbscBrowser(networkTo(app));
    browser.stolenBy(thief);
    await time.advance(app, 6 * 60_000);
    expect((await thief.fetch('GET', '/me')).status).toBe(401);
    const refused = await thief.fetch('POST', REFRESH, {});
    expect(refused).toMatchObject({ status: 401, body: { code: 'device_proof_required' } });
    expect(events).toMatchObject([{ name: 'device.proof-failed', event: { session: { id }, reason: 'missing' } }]);
    expect(await browser.fetch('GET', '/me')).toEqual({ status: 200, body: { sessionId: id } });
  });

  test('a page that refreshes finds the tokens that its browser has got', async () => {
    const { browser, id } = await bound(adapter);
    browser.drop(ACCESS_COOKIE);
    await browser.fetch('GET', '/me');
    const first = browser.log.length;
    expect((await browser.fetch('POST', REFRESH, {})).status).toBe(200);
    expect(browser.log.slice(first)).toEqual(['POST /api/session/refresh/ 200']);
    await time.advance(app, 10_000);
    const before = browser.log.length;
    const answer = await browser.fetch('POST', REFRESH, {});
    expect(answer).toEqual({
      status: 200,
      body: {
        session_id: id,
        session_type: 'LONG',
        expires_in: expect.any(Number),
        session_expires_in: expect.any(Number),
      },
    });
    expect(answer.body.expires_in).toBeGreaterThan(295);
    expect(browser.log.slice(before)).toEqual([
      'POST /api/session/refresh/ 307',
      'POST /api/session/dbsc/refresh 200',
      'POST /api/session/refresh/?proven 200',
    ]);
  });

  test('if the answer to the first proof is lost, a page that refreshes makes its browser prove the key', async () => {
    app = await startBoundApp({ adapter, database: time.database });
    let isLost = false;
    let skipped: Record<string, string> = {};
    const network = networkTo(app);
    const browser = new DbscBrowser(
      async (method, path, headers, ...sent) => {
        const answer = await network(method, path, { ...headers, ...skipped }, ...sent);
        if (isLost && path.endsWith('/dbsc/refresh') && answer.status === 200) throw new Error('lost');
        return answer;
      },
      () => time.now(),
    );
    const { body } = await browser.fetch('POST', LOGIN, CREDENTIALS);
    await browser.register();
    isLost = true;
    await browser.renewEarly();
    isLost = false;
    skipped = { 'secure-session-skipped': 'quota_exceeded' };
    expect((await browser.fetch('POST', REFRESH, {})).status).toBe(503);
    skipped = {};
    const before = browser.log.length;
    expect(await browser.fetch('POST', REFRESH, {})).toMatchObject({
      status: 200,
      body: { session_id: body.session_id },
    });
    expect(browser.log.slice(before)).toEqual([
      'POST /api/session/refresh/ 307',
      'POST /api/session/dbsc/refresh 200',
      'POST /api/session/refresh/?proven 200',
    ]);
  });

  test('a proof counts as one even if the refresh hands out no new refresh token', async () => {
    const { browser } = await bound(adapter);
    browser.drop(ACCESS_COOKIE);
    await browser.fetch('GET', '/me');
    const refresh = browser.valueOf(REFRESH_COOKIE);
    await time.advance(app, 14_000);
    expect((await browser.fetch('POST', '/api/session/dbsc/step-up')).status).toBe(204);
    expect(browser.valueOf(REFRESH_COOKIE)).toBe(refresh);
    await time.advance(app, 50_000);
    expect((await browser.fetch('POST', '/transfer')).status).toBe(201);
  });

  test('after a logout, the browser forgets its key and no cookie comes back', async () => {
    const { browser } = await bound(adapter);
    browser.drop(ACCESS_COOKIE);
    expect((await browser.fetch('POST', LOGOUT, {})).status).toBe(200);
    expect(browser.names).toEqual([]);
    expect((await browser.fetch('GET', '/me')).status).toBe(401);
    expect(browser.boundIds).toEqual([]);
    expect(browser.names).toEqual([]);
  });

  test('@RequireDeviceProof asks for a proof that is recent enough', async () => {
    const { browser } = await bound(adapter);
    browser.drop(ACCESS_COOKIE);
    expect((await browser.fetch('POST', '/transfer')).status).toBe(201);
    await time.advance(app, 59_000);
    expect((await browser.fetch('POST', '/transfer')).status).toBe(201);
    await time.advance(app, 2000);
    expect(await browser.fetch('POST', '/transfer')).toMatchObject({
      status: 401,
      body: { code: 'device_proof_required' },
    });
  });

  test('step-up: the browser proves its key now', async () => {
    const { browser, id } = await bound(adapter);
    expect(await browser.fetch('POST', '/transfer')).toMatchObject({
      status: 401,
      body: { code: 'device_proof_required' },
    });
    expect(await browser.fetch('POST', '/api/session/dbsc/step-up')).toMatchObject({ status: 401 });
    browser.drop(ACCESS_COOKIE);
    expect(await browser.fetch('POST', '/transfer')).toEqual({ status: 201, body: { sessionId: id } });
    const before = browser.log.length;
    expect((await browser.fetch('POST', '/api/session/dbsc/step-up')).status).toBe(204);
    expect(browser.log.slice(before)).toEqual([
      'POST /api/session/dbsc/step-up 307',
      'POST /api/session/dbsc/refresh 200',
      'POST /api/session/dbsc/step-up?proven 204',
    ]);
    const thief = new DbscBrowser(networkTo(app));
    browser.stolenBy(thief);
    expect((await thief.fetch('POST', '/api/session/dbsc/step-up')).status).toBe(401);
  });
});

test('a browser without bound sessions notices nothing', async () => {
  app = await startBoundApp({ database: time.database });
  const browser = new DbscBrowser(networkTo(app), Date.now, false);
  await browser.fetch('POST', LOGIN, CREDENTIALS);
  await browser.register();
  expect(browser.names).toEqual([ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE]);
  expect((await browser.fetch('POST', REFRESH, {})).status).toBe(200);
  expect((await browser.fetch('GET', '/me')).status).toBe(200);
  expect(browser.log).toEqual(['POST /api/session/login/ 200', 'POST /api/session/refresh/ 200', 'GET /me 200']);
});
