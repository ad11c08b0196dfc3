import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import { SessionEntity, type SessionPolicyOptions, SessionService } from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import type { Engine } from '../../lib/engine/engine.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import { type Answer, bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { CookieJar } from '../helpers/cookie-jar.js';
import { cookieHeader, PROOF_COOKIE, REFRESH_COOKIE } from '../helpers/cookies.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { rowsOf } from '../helpers/rows.js';
import { StatementLog } from '../helpers/statement-log.js';
import { decoded, expired } from '../helpers/tokens.js';

const BACKEND_KEY = 'the backend key of the renderer';
const POLICIES = {
  LONG: { refreshTokenLifetime: '30d', renewal: true },
  KEEPING: { refreshTokenLifetime: '30d', rotateRefreshTokens: false, renewal: true },
  DAILY: { refreshTokenLifetime: '30d', renewal: { within: '1d' } },
  CLOSED: { refreshTokenLifetime: '30d' },
} as const satisfies Record<string, SessionPolicyOptions>;
const PHONE = { 'user-agent': 'a phone', 'x-device-model': "Alice's phone" };
const MINUTE = 60_000;

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let events: RecordedEvent[];
  const log = new StatementLog();
  const options = { policies: POLICIES, cookies: { serverRendering: true }, backendKeys: BACKEND_KEY };

  beforeAll(async () => {
    app = await startApp({ databaseName, adapter, options });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    events = recordEvents(app);
    Object.assign(app.get(DataSource), { logger: log });
  });
  beforeEach(() => void events.splice(0));
  afterAll(() => app?.close());

  const key = { 'x-secret-key': BACKEND_KEY };
  const login = async (session = 'LONG') => {
    const body = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session };
    const answer = await app.post('login/', body, PHONE);
    expect(answer.status).toBe(200);
    return answer.body as { access: string; refresh: string; session_id: string };
  };
  const refresh = async (token: string) =>
    (await app.post('refresh/', { refresh: token, secret_key: SECRET_KEY }, PHONE)).body as {
      access: string;
      refresh: string;
    };
  const renew = (token: string, headers: Record<string, string> = key) =>
    app.post('renew/', { refresh: token }, headers);
  const outcome = ({ status, body }: Answer) => (status === 200 ? '200' : `${status} ${body.code}`);
  const generationOf = (answer: Answer) => decoded(answer.body.access, 1).gen;
  const isAccepted = async (access: string) =>
    (await app.post('list/', { session: 'ALL' }, bearer(access))).status === 200;
  /** Makes the last rotation a minute older, so that the grace is over. */
  const passGrace = async (id: string, by = MINUTE) => {
    const { rotatedAt } = await rows.findOneByOrFail({ id });
    await rows.update(id, { rotatedAt: new Date(rotatedAt.getTime() - by) });
  };

  describe('a renewal', () => {
    test('answers an access token of the presented generation, and says how long it lives', async () => {
      const { refresh: token } = await login();
      const answer = await renew(token);
      expect(answer).toMatchObject({ status: 200, body: { access: expect.any(String) } });
      expect(Object.keys(answer.body).sort()).toEqual(['access', 'expires_in']);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(answer.headers.getSetCookie()).toEqual([]);
      expect(answer.body.expires_in).toBeLessThanOrEqual(300);
      expect(answer.body.expires_in).toBeGreaterThan(200);
      expect(await isAccepted(answer.body.access)).toBe(true);
      expect(generationOf(answer)).toBe(0);
      expect(generationOf(await renew((await refresh(token)).refresh))).toBe(1);
    });

    test.each(['LONG', 'KEEPING'])('changes no row and sends one statement: %s', async (session) => {
      const { refresh: token, session_id } = await login(session);
      await app.get<Engine>(ENGINE).seen.flush();
      events.splice(0);
      const before = await rowsOf(app);
      const { statements } = await log.during(async () => {
        expect(outcome(await renew(token, { ...key, 'user-agent': 'a renderer', 'x-device-model': 'a rack' }))).toBe(
          '200',
        );
      });
      expect(
        statements.filter(({ query }) => query.includes(session_id) || query.includes('user_session')),
      ).toHaveLength(1);
      await app.get<Engine>(ENGINE).seen.flush();
      expect(await rowsOf(app)).toEqual(before);
      expect(events).toEqual([]);
    });

    test('never answers a generation above the presented one: the parent, within and after the grace', async () => {
      const { refresh: parent, session_id } = await login();
      await refresh(parent);
      expect(generationOf(await renew(parent))).toBe(0);
      await passGrace(session_id);
      const answer = await renew(parent);
      expect(generationOf(answer)).toBe(0);

      // The access token is used, and the lost successor can still be recovered.
      expect(await isAccepted(answer.body.access)).toBe(true);
      await app.get<Engine>(ENGINE).seen.flush();
      expect(generationOf({ ...answer, body: await refresh(parent) })).toBe(2);
      expect(events.map(({ name }) => name)).toContain('refresh.recovered');
    });

    test('shows that its generation is in use, so that a thief cannot recover from the parent', async () => {
      const { refresh: parent, session_id } = await login();
      const { refresh: current } = await refresh(parent);
      await passGrace(session_id);
      expect(outcome(await renew(current))).toBe('200');
      expect(await refresh(parent)).toMatchObject({ code: 'token_not_valid' });
      expect(events).toContainEqual(expect.objectContaining({ name: 'refresh.reused' }));
    });

    test('of a reused token is refused with an event, and the session goes on', async () => {
      const { refresh: first, session_id } = await login();
      const { refresh: second } = await refresh(first);
      const { refresh: third, access } = await refreshedAfterGrace(second, session_id);
      await passGrace(session_id);
      const client = { 'x-client-address': '192.0.2.7', 'x-client-user-agent': 'a slow phone' };
      expect(outcome(await renew(first, { ...key, ...client }))).toBe('401 token_not_valid');
      const reused = events.filter(({ name }) => name === 'renewal.reused');
      expect(reused).toMatchObject([
        {
          event: {
            reuse: 'stale',
            presentedGeneration: 0,
            currentGeneration: 2,
            client: { ipAddress: '192.0.2.7', userAgent: 'a slow phone' },
          },
        },
      ]);
      expect(await isAccepted(access)).toBe(true);
      expect(outcome(await renew(third))).toBe('200');
      expect(events.filter(({ name }) => name === 'session.ended')).toEqual([]);
    });

    const refreshedAfterGrace = async (token: string, id: string) => {
      await passGrace(id);
      return refresh(token);
    };

    test('is refused for an ended, an expired and an overdue session, for a user who is gone, and for other tokens', async () => {
      const [ended, old, kept] = [await login(), await login(), await login()];
      const row = await rows.findOneByOrFail({ id: ended.session_id });
      await app.post('logout/', { refresh: ended.refresh, secret_key: SECRET_KEY });
      // As after a fail-over that has lost the ending.
      await rows.save(row);
      await rows.update(old.session_id, { expiresAt: new Date(Date.now() - MINUTE) });
      const long = await login();
      await rows.update(long.session_id, { createdAt: new Date(1000), lastUpdate: new Date(1000) });
      expect(outcome(await renew(ended.refresh))).toBe('401 session_not_found');
      expect(outcome(await renew(old.refresh))).toBe('401 token_not_valid');
      expect(outcome(await renew(long.refresh))).toBe('401 token_not_valid');
      expect(outcome(await renew(kept.access))).toBe('401 session_not_found');
      expect(outcome(await renew('x'))).toBe('401 session_not_found');
      expect(outcome(await app.post('renew/', {}, key))).toBe('400 validation_failed');
      const alice = app.users.users.get('alice') as { active: boolean };
      alice.active = false;
      expect(outcome(await renew(kept.refresh))).toBe('401 session_not_found');
      alice.active = true;
      expect(outcome(await renew(kept.refresh))).toBe('200');
      // Only the logout has ended a session.
      expect(events.filter(({ name }) => name === 'session.ended')).toHaveLength(1);
      expect(await rows.countBy({ id: old.session_id })).toBe(1);
    });

    test('issues no token that outlives what the row covers, also if the policy has been lengthened', async () => {
      const { refresh: token, session_id } = await login();
      await rows.update(session_id, { accessLifetime: 60 });
      const { body } = await renew(token);
      const { exp, iat } = decoded(body.access, 1) as { exp: number; iat: number };
      expect(exp - iat).toBe(60);
      expect(body.expires_in).toBeLessThanOrEqual(60);
      // Without a record, the assumed lifetime covers the token: an hour by default.
      await rows.update(session_id, { accessLifetime: null });
      const assumed = decoded((await renew(token)).body.access, 1) as { exp: number; iat: number };
      expect(assumed.exp - assumed.iat).toBe(300);
    });

    test('is there for applications too', async () => {
      const { refresh: token, session_id } = await login();
      const { session, access, expiresAt } = await app.get(SessionService).renew(token);
      expect(session).toMatchObject({ id: session_id, userAgent: 'a phone', deviceName: "Alice's phone" });
      expect(expiresAt.getTime()).toBe((decoded(access, 1).exp as number) * 1000);
      await expect(app.get(SessionService).renew([])).rejects.toMatchObject({ code: 'session_not_found' });
    });
  });

  describe('who may renew', () => {
    test('only a backend with its own key', async () => {
      const { refresh: token } = await login();
      for (const headers of [
        { 'x-secret-key': '' },
        { 'x-secret-key': SECRET_KEY },
        { 'x-secret-key': `${BACKEND_KEY}x` },
      ])
        expect(outcome(await renew(token, headers as Record<string, string>))).toBe('401 secret_key_invalid');
      expect(outcome(await renew(token, {}))).toBe('400 validation_failed');
      expect(outcome(await app.post('renew/', { refresh: token, secret_key: BACKEND_KEY }))).toBe('200');
    });

    test.each([
      ['is secret', {}],
      ['is off', { secretKey: false }],
    ] as const)('nobody without backendKeys, if the secret key %s', async (_, options) => {
      const other = await startApp({ databaseName, adapter, options });
      try {
        const { refresh: token } = await other.login();
        for (const given of ['', SECRET_KEY])
          expect(outcome(await other.post('renew/', { refresh: token }, { 'x-secret-key': given }))).toBe(
            '401 secret_key_invalid',
          );
        const missing = await other.post('renew/', { refresh: token });
        expect([400, 401]).toContain(missing.status);
      } finally {
        await other.close();
      }
    });

    test('nobody, for a type whose policy does not say so', async () => {
      const { refresh: token } = await login('CLOSED');
      expect(outcome(await renew(token))).toBe('403 renewal_not_allowed');
    });

    test('nobody, if the last refresh is longer ago than the policy allows', async () => {
      const { refresh: token, session_id } = await login('DAILY');
      expect(outcome(await renew(token))).toBe('200');
      const twoDaysAgo = new Date(Date.now() - 48 * 60 * MINUTE);
      await rows.update(session_id, { createdAt: twoDaysAgo, lastUpdate: twoDaysAgo });
      expect(outcome(await renew(token))).toBe('403 renewal_not_allowed');
      const { refresh: next } = await refresh(token);
      expect(outcome(await renew(next))).toBe('200');
    });
  });

  describe('with the cookies of a browser', () => {
    const loggedIn = async () => {
      const jar = new CookieJar(app);
      const body = { username: 'alice', password: 'alice-password', session: 'LONG' };
      expect((await jar.post('/api/session/login/', body, PHONE)).status).toBe(200);
      return jar;
    };
    const passOn = (jar: CookieJar) => jar.send('POST', '/api/session/renew/', undefined, key);

    test('the refresh cookie reaches every page', async () => {
      const jar = await loggedIn();
      const answer = await jar.send('POST', '/a/page/renew', undefined, {});
      expect(answer.status).toBe(404);
      expect(jar.pathOf(REFRESH_COOKIE)).toBe('/');
    });

    test('answers the access token in the body, and sets no cookie', async () => {
      const jar = await loggedIn();
      const answer = await passOn(jar);
      expect(answer).toMatchObject({ status: 200, body: { access: expect.any(String) } });
      expect(answer.headers.getSetCookie()).toEqual([]);
      expect(await isAccepted(answer.body.access)).toBe(true);
      // The browser has everything that it needs to refresh.
      expect((await jar.post('/api/session/refresh/')).status).toBe(200);
    });

    test('needs no CSRF check, which a renderer could not pass with the headers of its page', async () => {
      const jar = await loggedIn();
      const headers = { ...key, origin: 'https://app.example.com', 'sec-fetch-site': 'cross-site' };
      expect(outcome(await jar.send('POST', '/api/session/renew/', undefined, headers))).toBe('200');
      expect(outcome(await jar.send('POST', '/api/session/renew/'))).toBe('401 secret_key_invalid');
    });

    test('is refused without evidence that this host has set the refresh cookie', async () => {
      const jar = await loggedIn();
      const only = cookieHeader([REFRESH_COOKIE, jar.valueOf(REFRESH_COOKIE)]);
      const headers = { ...key, ...only, 'x-session-transport': 'cookie' };
      expect(outcome(await app.post('renew/', undefined, headers))).toBe('401 session_proof_required');
      // A session of an earlier version, whose transport is not known, is no exception, since nothing would be recorded.
      const { refresh: token } = await app.get(SessionService).create('alice', { type: 'LONG' });
      const unknown = { ...headers, ...cookieHeader([REFRESH_COOKIE, token]) };
      expect(outcome(await app.post('renew/', undefined, unknown))).toBe('401 session_proof_required');
      expect(outcome(await app.post('renew/', undefined, { ...key, 'x-session-transport': 'cookie' }))).toBe(
        '401 session_not_found',
      );
    });

    test('is refused if the token travels in another transport than that of its login', async () => {
      const jar = await loggedIn();
      expect(outcome(await renew(String(jar.valueOf(REFRESH_COOKIE))))).toBe('401 token_not_valid');
    });

    test('counts an expired access cookie as evidence, as a refresh does', async () => {
      const jar = await loggedIn();
      const { access } = (await passOn(jar)).body;
      const cookies = cookieHeader(
        ['__Host-session-access', expired(access)],
        [REFRESH_COOKIE, jar.valueOf(REFRESH_COOKIE)],
      );
      jar.drop(PROOF_COOKIE);
      const answer = await app.post('renew/', undefined, { ...key, ...cookies, 'x-session-transport': 'cookie' });
      expect(outcome(answer)).toBe('200');
    });
  });
});
