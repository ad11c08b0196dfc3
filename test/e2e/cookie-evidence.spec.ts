import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { SessionEntity, SessionEvents, SessionService } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { SECRET_KEY, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import type { Engine } from '../../lib/engine/engine.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import { CookieJar } from '../helpers/cookie-jar.js';
import { ACCESS_COOKIE, cookieAnswer, PROOF_COOKIE, REFRESH_COOKIE, setCookies } from '../helpers/cookies.js';
import { createDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { rowsOf } from '../helpers/rows.js';
import { StatementLog } from '../helpers/statement-log.js';
import { expired, resigned } from '../helpers/tokens.js';

const ALICE = { username: 'alice', password: 'alice-password' };
const BOB = { username: 'bob', password: 'bob-password' };
const POLICIES = {
  LONG: { refreshTokenLifetime: '30d' },
  STRICT: { refreshTokenLifetime: '1h', reuseGrace: 0 },
  LENIENT: { refreshTokenLifetime: '1d', reuseGrace: '1h' },
  KEEPING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false },
  UNTOUCHED: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, updateLastLogin: false },
  DEVICE: { permanent: true, refreshTokenLifetime: '1y' },
  FEW: { refreshTokenLifetime: '1h', maxActiveSessions: 2 },
} as const;
const TYPES = ['LONG', 'STRICT', 'LENIENT', 'KEEPING', 'UNTOUCHED', 'DEVICE'] as const;

onEachDatabase((databaseName) => {
  let app: TestApp;
  const start = async (options: TestAppOptions['options'] = {}, more: TestAppOptions = {}) =>
    (app = await startApp({
      databaseName,
      ...more,
      options: { policies: POLICIES, cookies: true, devices: true, ...options },
    }));

  const logIn = async (session: string, user: object = ALICE, jar = new CookieJar(app), more: object = {}) => {
    const answer = await jar.post('/api/session/login', { ...user, session, ...more });
    expect(answer.status).toBe(200);
    return { jar, id: answer.body.session_id as string };
  };
  const refresh = (jar: CookieJar, session: string) => jar.post('/api/session/refresh', { session });
  const rowOf = (id: string) => app.get(DataSource).manager.findOneByOrFail(SessionEntity, { id });
  const setTransport = (id: string, transport: null) =>
    app.get(DataSource).manager.update(SessionEntity, { id }, { transport });
  const liveIds = async () => (await rowsOf(app)).sessions.map(({ id }) => id);
  /** Expects a refresh to be refused without any change: of a row, or of a cookie. */
  const expectUnchanged = async (code: string, work: () => ReturnType<CookieJar['post']>) => {
    // Earlier requests may have left a write for later.
    await app.get<Engine>(ENGINE).seen.flush();
    const before = await rowsOf(app);
    const answer = await work();
    expect(answer).toMatchObject({ status: 401, body: { code } });
    expect(setCookies(answer)).toEqual([]);
    expect(await rowsOf(app)).toEqual(before);
  };

  describe('evidence', () => {
    beforeAll(() => start());
    afterAll(() => app?.close());

    test.each(TYPES)('%s: a refresh cookie alone moves nobody into its account, and ends nothing', async (type) => {
      const { jar: bob } = await logIn(type, BOB);
      const visitor = new CookieJar(app);
      visitor.toss(REFRESH_COOKIE, bob.valueOf(REFRESH_COOKIE) as string);
      await expectUnchanged('session_proof_required', () => refresh(visitor, type));
      // Not even if the token is of another type, which would end the session.
      await expectUnchanged('session_proof_required', () => refresh(visitor, 'FEW'));
      expect(visitor.names).toEqual([REFRESH_COOKIE]);
    });

    test.each(TYPES)('%s: the proof cookie or the access cookie of the same session is enough', async (type) => {
      const { jar, id } = await logIn(type);
      const access = jar.valueOf(ACCESS_COOKIE) as string;
      jar.drop(ACCESS_COOKIE);
      expect((await refresh(jar, type)).body).toEqual(cookieAnswer(id));
      expect(jar.names).toEqual([ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE]);
      jar.drop(PROOF_COOKIE);
      jar.drop(ACCESS_COOKIE);
      jar.toss(ACCESS_COOKIE, expired(access));
      expect((await refresh(jar, type)).body).toEqual(cookieAnswer(id));
    });

    test.each<[string, (own: CookieJar, other: CookieJar) => [name: string, value: string]]>([
      ['the proof of another session', (_, other) => [PROOF_COOKIE, other.valueOf(PROOF_COOKIE) as string]],
      ['the access cookie of another session', (_, other) => [ACCESS_COOKIE, other.valueOf(ACCESS_COOKIE) as string]],
      ['a proof without its MAC', (own) => [PROOF_COOKIE, (own.valueOf(PROOF_COOKIE) as string).slice(0, 36)]],
      [
        'the MAC of another session',
        (own, other) => [
          PROOF_COOKIE,
          (own.valueOf(PROOF_COOKIE) as string).slice(0, 36) + (other.valueOf(PROOF_COOKIE) as string).slice(36),
        ],
      ],
      ['a refresh token as access cookie', (own) => [ACCESS_COOKIE, own.valueOf(REFRESH_COOKIE) as string]],
      [
        'an access token of another key',
        (own) => [ACCESS_COOKIE, resigned(own.valueOf(ACCESS_COOKIE) as string, {}, 'x'.repeat(40))],
      ],
      ['the proof after the byte A0', (own) => [`\u00a0${PROOF_COOKIE}`, own.valueOf(PROOF_COOKIE) as string]],
    ])('%s is no evidence', async (_, evidence) => {
      const { jar: own } = await logIn('STRICT', BOB);
      const { jar: other } = await logIn('STRICT');
      const visitor = new CookieJar(app);
      visitor.toss(REFRESH_COOKIE, own.valueOf(REFRESH_COOKIE) as string);
      visitor.toss(...evidence(own, other));
      await expectUnchanged('session_proof_required', () => refresh(visitor, 'STRICT'));
    });

    test('the byte A0 before a name does not make it ours: Alice stays Alice', async () => {
      const { jar: bob } = await logIn('LONG', BOB);
      const { jar: alice, id } = await logIn('LONG');
      for (const name of [ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE])
        alice.toss(`\u00a0${name}`, bob.valueOf(name) as string);
      expect((await alice.send('GET', '/api/session/sessions')).body[0]).toMatchObject({ id, current: true });
      expect((await refresh(alice, 'LONG')).body).toEqual(cookieAnswer(id));
      const onlyTossed = new CookieJar(app);
      onlyTossed.toss(`\u00a0${ACCESS_COOKIE}`, bob.valueOf(ACCESS_COOKIE) as string);
      expect((await onlyTossed.send('GET', '/api/session/sessions')).body.code).toBe('not_authenticated');
    });

    test('cookies of two sessions: the latest login counts', async () => {
      const { jar: old } = await logIn('KEEPING');
      const { jar, id } = await logIn('KEEPING', BOB);
      for (const name of [ACCESS_COOKIE, REFRESH_COOKIE]) jar.toss(name, old.valueOf(name) as string, '/api/session');
      expect((await refresh(jar, 'KEEPING')).body).toEqual(cookieAnswer(id));
    });

    test.each(TYPES)('%s: cookies of a late answer stay together, and no later refresh clears them', async (type) => {
      const { jar, id: first } = await logIn(type);
      const late = await jar.send('POST', '/api/session/refresh', { session: type });
      jar.drop(PROOF_COOKIE);
      jar.drop(ACCESS_COOKIE);
      const { id: second } = await logIn(type, BOB, jar);
      jar.store(late);
      expect(late.status).toBe(200);
      const answer = await refresh(jar, type);
      expect(answer).toMatchObject({ status: 200, body: { session_id: first } });
      expect(await liveIds()).toEqual(expect.arrayContaining([first, second]));
    });
  });

  describe('the transport of a session', () => {
    beforeAll(() => start());
    afterAll(() => app?.close());

    const loginInBody = async (session: string) =>
      (await app.post('login/', { ...ALICE, session, secret_key: SECRET_KEY })).body as Record<string, string>;
    const refreshInBody = (token: string, session: string) =>
      app.post('refresh/', { refresh: token, session, secret_key: SECRET_KEY });

    test.each(TYPES)('%s: a refresh token of the body is refused in a cookie, even with all evidence', async (type) => {
      const { refresh: token, access, session_id: id, permanent_token } = await loginInBody(type);
      const sid = id ?? (await rowsOf(app)).sessions.at(-1)?.id;
      const { jar: proven } = await logIn(type);
      const thief = new CookieJar(app);
      thief.toss(REFRESH_COOKIE, token ?? permanent_token);
      await expectUnchanged('session_proof_required', () => refresh(thief, type));
      thief.toss(ACCESS_COOKIE, resigned(proven.valueOf(ACCESS_COOKIE) as string, { claims: { sid } }));
      if (access !== undefined) thief.toss(ACCESS_COOKIE, access);
      await expectUnchanged('token_not_valid', () => refresh(thief, type));
      // Nor does it end the session, by its type.
      await expectUnchanged('token_not_valid', () => refresh(thief, 'FEW'));
      expect((await refreshInBody(token ?? permanent_token, type)).status).toBe(200);
    });

    test.each(TYPES)('%s: a refresh token of a cookie is refused in the body', async (type) => {
      const { jar, id } = await logIn(type);
      const token = jar.valueOf(REFRESH_COOKIE) as string;
      await expectUnchanged('token_not_valid', () => refreshInBody(token, type));
      if (type === 'DEVICE')
        await expectUnchanged('token_not_valid', () =>
          app.post('device-refresh-token/', undefined, { 'permanent-token': token, 'x-secret-key': SECRET_KEY }),
        );
      expect((await refresh(jar, type)).body).toEqual(cookieAnswer(id));
    });

    test.each(TYPES)('%s: if it is not known, the first refresh writes it, once without evidence', async (type) => {
      for (const transport of ['body', 'cookie'] as const) {
        const { session, refresh: token } = await app.get(SessionService).create('alice', { type });
        expect(session.transport).toBeNull();
        const visitor = new CookieJar(app);
        visitor.toss(REFRESH_COOKIE, token);
        const answer = await (transport === 'cookie' ? refresh(visitor, type) : refreshInBody(token, type));
        expect(answer.status).toBe(200);
        expect(await rowOf(session.id)).toMatchObject({ transport });
        const other = new CookieJar(app);
        other.toss(REFRESH_COOKIE, visitor.valueOf(REFRESH_COOKIE) as string);
        await expectUnchanged('session_proof_required', () => refresh(other, type));
      }
    });

    test('a retry and a recovery write it too', async () => {
      for (const type of ['LENIENT', 'STRICT']) {
        const { jar, id } = await logIn(type);
        const first = jar.valueOf(REFRESH_COOKIE) as string;
        await refresh(jar, type);
        await setTransport(id, null);
        jar.drop(REFRESH_COOKIE);
        jar.toss(REFRESH_COOKIE, first, '/api/session');
        expect((await refresh(jar, type)).body).toEqual(cookieAnswer(id));
        expect(await rowOf(id)).toMatchObject({ transport: 'cookie', generation: type === 'STRICT' ? 2 : 1 });
      }
    });

    test('a session that the application refreshes itself may use any', async () => {
      const { jar, id } = await logIn('LONG');
      const { session } = await app.get(SessionService).refresh(jar.valueOf(REFRESH_COOKIE) as string);
      expect(session).toMatchObject({ id, transport: 'cookie' });
    });
  });

  describe('one request with many cookies', () => {
    const log = new StatementLog();
    afterEach(() => app?.close());

    test('costs a few statements, whatever they hold', async () => {
      const created = await createDatabase(databaseName);
      const options = { ...created.options, logger: log, logging: ['query'] } as typeof created.options;
      const database = { ...created, options };
      await start({}, { database });
      try {
        const dead: string[] = [];
        for (let at = 0; at < 15; at++) {
          const { jar, id } = await logIn('LONG', BOB);
          dead.push(jar.valueOf(REFRESH_COOKIE) as string, jar.valueOf(ACCESS_COOKIE) as string);
          await app.get(SessionService).destroy(id);
        }
        const { jar } = await logIn('LONG');
        dead.forEach((token, at) => jar.toss(at % 2 === 0 ? REFRESH_COOKIE : ACCESS_COOKIE, token));
        const refreshed = await log.during(() => jar.send('POST', '/api/session/refresh', { session: 'LONG' }));
        expect(refreshed.result.status).toBe(200);
        expect(refreshed.statements.length).toBeLessThanOrEqual(8);
        const visitor = new CookieJar(app);
        dead.forEach((token, at) => at % 2 === 0 && visitor.toss(REFRESH_COOKIE, token));
        const tossed = await log.during(() => visitor.send('POST', '/api/session/refresh', { session: 'LONG' }));
        expect(tossed.result.status).toBe(401);
        expect(tossed.statements.length).toBeLessThanOrEqual(6);
        const out = await log.during(() => jar.send('POST', '/api/session/logout'));
        expect(out.result.status).toBe(200);
        expect(out.statements.length).toBeLessThanOrEqual(25);
      } finally {
        await app.close();
        await database.drop();
      }
    });
  });

  describe('a domain that siblings share', () => {
    beforeAll(() => start({ cookies: { domain: 'app.test' } }));
    afterAll(() => app?.close());

    test('the access cookie proves nothing there, only the proof cookie does', async () => {
      const access = '__Secure-session-access';
      const { jar: bob, id } = await logIn('LONG', BOB);
      const visitor = new CookieJar(app);
      for (const name of [access, REFRESH_COOKIE]) visitor.toss(name, bob.valueOf(name) as string);
      await expectUnchanged('session_proof_required', () => refresh(visitor, 'LONG'));
      expect((await refresh(bob, 'LONG')).body).toEqual(cookieAnswer(id));
      // A login in the visitor's browser does not end the session of the tossed cookies.
      await logIn('LONG', ALICE, visitor);
      expect(await liveIds()).toContain(id);
    });
  });

  describe('a login over a session', () => {
    afterEach(() => app?.close());

    test.each<[string, (jar: CookieJar) => void]>([
      ['both cookies', () => undefined],
      ['the proof cookie', (jar) => jar.drop(ACCESS_COOKIE)],
      ['the access cookie', (jar) => jar.drop(PROOF_COOKIE)],
    ])("ends the session that %s of the browser prove, whoever's it is", async (_, change) => {
      await start();
      const ended: unknown[] = [];
      app.get(SessionEvents).on('session.ended', ({ session, reason }) => ended.push([session.id, reason]));
      const { jar: phone, id: onPhone } = await logIn('FEW');
      const { jar, id } = await logIn('FEW');
      const replaced: unknown[] = [];
      let current = id;
      for (const user of [ALICE, ALICE, BOB, ALICE]) {
        change(jar);
        const next = await logIn('FEW', user, jar);
        replaced.push([current, 'replaced']);
        current = next.id;
        expect((await liveIds()).sort()).toEqual([onPhone, current].sort());
      }
      expect(ended).toEqual(replaced);
      expect((await refresh(phone, 'FEW')).status).toBe(200);
    });

    test('ends nothing if it fails, or if cookies prove nothing', async () => {
      await start();
      const { jar, id } = await logIn('LONG');
      expect((await jar.post('/api/session/login', { ...ALICE, password: 'wrong', session: 'LONG' })).status).toBe(401);
      const forged = { origin: 'https://evil.test' };
      expect((await jar.post('/api/session/login', { ...BOB, session: 'LONG' }, forged)).status).toBe(403);
      expect(await liveIds()).toEqual([id]);
      const visitor = new CookieJar(app);
      visitor.toss(REFRESH_COOKIE, jar.valueOf(REFRESH_COOKIE) as string);
      visitor.toss(ACCESS_COOKIE, resigned(jar.valueOf(ACCESS_COOKIE) as string, {}, 'x'.repeat(40)));
      const { id: other } = await logIn('LONG', ALICE, visitor);
      expect((await liveIds()).sort()).toEqual([id, other].sort());
    });

    test('ends nothing if replaceOnLogin is false', async () => {
      await start({ cookies: { replaceOnLogin: false } });
      const { jar, id } = await logIn('LONG');
      const { id: second } = await logIn('LONG', ALICE, jar);
      expect((await liveIds()).sort()).toEqual([id, second].sort());
    });
  });
});
