import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { MULTI_SESSION_ENTITIES, SessionCleanup, SessionEntity, type SessionPolicyOptions } from 'nestjs-multisession';
import { DJANGO_SHORT_AND_LONG } from 'nestjs-multisession/django';
import { DataSource } from 'typeorm';
import { bearer, SECRET_KEY, SIGNING_SECRET, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { rowsOf } from '../helpers/rows.js';
import { decoded, resigned } from '../helpers/tokens.js';

/** The faults of simplejwt_multisessions 1.4 that this library does not have, one test for each. */
const POLICIES = {
  ...DJANGO_SHORT_AND_LONG,
  FULL: { refreshTokenLifetime: '1d', maxActiveSessions: 2, whenFull: 'refuse' },
  ROTATING: { refreshTokenLifetime: '2h', blacklistAfterRotation: true },
  EXTENDING: {
    refreshTokenLifetime: '1h',
    rotateRefreshTokens: false,
    updateLastLogin: false,
    extendSession: 'every-refresh',
  },
  MOMENT: { refreshTokenLifetime: '2s', maxActiveSessions: 2, whenFull: 'refuse', reuseGrace: 0 },
} as const satisfies Record<string, SessionPolicyOptions>;

const KILL_OTHER_CONNECTIONS = {
  postgres:
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
  mariadb: 'SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()',
};

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let username: string;
  let users = 0;

  beforeAll(async () => void (app = await startApp({ databaseName, adapter, options: { policies: POLICIES } })));
  afterAll(() => app?.close());
  beforeEach(() => {
    username = `user ${++users}`;
    app.users.users.set(username, { id: username, password: 'a password', active: true });
  });

  const credentials = (session: keyof typeof POLICIES) => ({
    username,
    password: 'a password',
    secret_key: SECRET_KEY,
    session,
  });
  const login = (session: keyof typeof POLICIES) => app.login(credentials(session));
  const refresh = (token: string, session: string) =>
    app.post('refresh/', { refresh: token, secret_key: SECRET_KEY, session });
  const logout = (token: string) => app.post('logout/', { refresh: token, secret_key: SECRET_KEY });
  const list = (access: string, session = 'ALL') => app.post('list/', { session }, bearer(access));
  const rows = async () => (await rowsOf(app)).sessions.filter((row) => row.userId === username);
  const times = <T>(count: number, ask: () => Promise<T>) => Promise.all(Array.from({ length: count }, ask));
  const count = <T>(values: T[], value: T) => values.filter((each) => each === value).length;

  test('parallel logins neither answer 500 nor exceed the limit', async () => {
    const evicting = await times(8, () => app.post('login/', credentials('SHORT')));
    expect(evicting.map(({ status }) => status)).toEqual(Array(8).fill(200));
    const refusing = (await times(8, () => app.post('login/', credentials('FULL')))).map(({ status }) => status);
    expect([count(refusing, 200), count(refusing, 409)]).toEqual([2, 6]);
    expect((await rows()).map(({ type }) => type).sort()).toEqual(['FULL', 'FULL', 'SHORT', 'SHORT']);
  });

  if (databaseName === 'postgres' || databaseName === 'mariadb') {
    test('later logins work after a connection was killed during a login', async () => {
      const dataSource = app.get(DataSource);
      const logins = times(8, () => app.post('login/', credentials('SHORT')));
      for (const wait of [2, 5, 10]) {
        await sleep(wait);
        const others: unknown = await dataSource.query(KILL_OTHER_CONNECTIONS[databaseName]).catch(() => []);
        if (databaseName === 'mariadb')
          for (const { id } of others as { id: number }[]) await dataSource.query(`KILL ${id}`).catch(() => undefined);
      }
      for (const { status } of await logins) expect([200, 503]).toContain(status);
      // The pool needs a moment to learn which of its idle connections are gone.
      await sleep(200);
      expect((await rows()).length).toBeLessThanOrEqual(2);
      await login('SHORT');
      username = 'alice';
      await app.login();
    });
  }

  test('ten parallel refreshes of one rotating token get the same successor, and it works', async () => {
    const { refresh: first } = await login('ROTATING');
    const answers = await times(10, () => refresh(first, 'ROTATING'));
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
    const successors = [...new Set(answers.map(({ body }) => body.refresh as string))];
    expect(successors).toEqual([expect.any(String)]);
    expect(successors[0]).not.toBe(first);
    for (const { body } of answers) expect((await list(body.access)).status).toBe(200);
    expect((await refresh(successors[0], 'ROTATING')).status).toBe(200);
  });

  test('a session is over after a logout during a refresh', async () => {
    for (const type of ['ROTATING', 'LONG', 'EXTENDING'] as const) {
      const { refresh: token, access } = await login(type);
      const [left, ...refreshed] = await Promise.all([
        logout(token),
        ...Array.from({ length: 5 }, () => refresh(token, type)),
      ]);
      expect(left.status).toBe(200);
      for (const { status, body } of refreshed) {
        expect([200, 401]).toContain(status);
        if (status === 200) expect((await list(body.access)).status).toBe(401);
        if (body.refresh) expect((await refresh(body.refresh, type)).status).toBe(401);
      }
      expect((await refresh(token, type)).status).toBe(401);
      expect((await list(access)).status).toBe(401);
      expect(await rows()).toEqual([]);
    }
  });

  test('without updateLastLogin, a refresh extends the session along with its token', async () => {
    const first = await login('EXTENDING');
    const [before] = await rows();
    await sleep(1100);
    const { body } = await refresh(first.refresh, 'EXTENDING');
    const [after] = await rows();
    expect(after.expiresAt.getTime()).toBeGreaterThan(before.expiresAt.getTime());
    expect(decoded(body.refresh, 1).exp).toBe(after.expiresAt.getTime() / 1000);
    expect(after.lastUpdate).toEqual(before.lastUpdate);
    expect((await refresh(first.refresh, 'EXTENDING')).body.refresh).toBe(body.refresh);
  });

  test('a rotated token lives as long as its session type says', async () => {
    for (const [type, seconds] of [
      ['ROTATING', 7200],
      ['EXTENDING', 3600],
    ] as const) {
      const first = await login(type);
      const { body } = await refresh(first.refresh, type);
      const { exp, iat } = decoded(body.refresh, 1) as { exp: number; iat: number };
      expect(body.refresh).not.toBe(first.refresh);
      expect(Math.abs(exp - iat - seconds)).toBeLessThanOrEqual(2);
    }
  });

  test('destroyAllOther with a foreign or garbage token is refused and ends nothing', async () => {
    const [own, sibling] = [await login('LONG'), await login('SHORT')];
    const stranger = await app.login();
    const before = await rowsOf(app);
    for (const token of [
      stranger.refresh,
      sibling.refresh,
      own.access,
      'garbage',
      resigned(own.refresh, {}, SECRET_KEY),
    ]) {
      const answer = await app.post('destroyAllOther/', { session: 'ALL', refresh: token }, bearer(own.access));
      expect([answer.status, answer.body.code]).toEqual([401, 'token_not_valid']);
    }
    expect(await rowsOf(app)).toEqual(before);
    for (const { access } of [own, sibling, stranger]) expect((await list(access)).status).toBe(200);
  });

  test('expired sessions answer 401, do not count and are purged', async () => {
    const [first, unused, watcher] = [await login('MOMENT'), await login('MOMENT'), await login('LONG')];
    expect((await app.post('login/', credentials('MOMENT'))).status).toBe(409);
    await sleep(2100);
    expect((await list(watcher.access)).body.Moment).toEqual({ 'Available Sessions': '2', Sessions: [] });
    expect((await list(first.access)).status).toBe(401);
    const answer = await refresh(first.refresh, 'MOMENT');
    expect([answer.status, answer.body.code]).toEqual([401, 'token_not_valid']);
    expect((await rows()).map(({ id }) => id)).toEqual([unused.session_id, watcher.session_id]);
    await app.get(SessionCleanup).run();
    expect((await rows()).map(({ id }) => id)).toEqual([watcher.session_id]);
    expect((await logout(unused.refresh)).body.code).toBe('session_not_found');
  });

  test('Available Sessions is a string, even for an empty list, and 0 over the limit', async () => {
    const { access } = await login('LONG');
    expect((await list(access, 'SHORT')).body).toEqual({ Short: { 'Available Sessions': '2', Sessions: [] } });
    for (let made = 0; made < 3; made++) await login('ROTATING');
    // The same as after an operator has lowered the limit.
    await app.get(DataSource).manager.update(SessionEntity, { userId: username, type: 'ROTATING' }, { type: 'SHORT' });
    const { Short } = (await list(access, 'SHORT')).body;
    expect([Short['Available Sessions'], Short.Sessions.length]).toEqual(['0', 3]);
  });

  test('list ALL answers 200 for a mix of limited and unlimited types', async () => {
    const { access } = await login('LONG');
    await login('ROTATING');
    const { status, body } = await list(access);
    expect(status).toBe(200);
    expect(
      Object.entries(body as Record<string, any>).map(([type, part]) => [
        type,
        part['Available Sessions'],
        part.Sessions.length,
      ]),
    ).toEqual([
      ['Short', '2', 0],
      ['Long', '4', 1],
      ['Full', '2', 0],
      ['Rotating', 'Unlimited', 1],
      ['Extending', 'Unlimited', 0],
      ['Moment', '2', 0],
    ]);
  });

  test('the secret key in the body does not sign tokens', async () => {
    const { access, refresh: token } = await login('LONG');
    expect((await list(resigned(access, {}, SECRET_KEY))).body.code).toBe('token_not_valid');
    expect((await refresh(resigned(token, {}, SECRET_KEY), 'LONG')).body.code).toBe('session_not_found');
    expect((await list(resigned(access, {}))).status).toBe(200);
  });

  test('a refresh is refused to a deactivated user and ends the session', async () => {
    const [{ access, refresh: token }, other] = [await login('ROTATING'), await login('LONG')];
    const user = app.users.users.get(username) as { active: boolean };
    user.active = false;
    const answer = await refresh(token, 'ROTATING');
    expect([answer.status, answer.body.code]).toEqual([401, 'session_not_found']);
    expect((await list(access)).status).toBe(401);
    expect((await rows()).map(({ type }) => type)).toEqual(['LONG']);
    user.active = true;
    expect((await refresh(token, 'ROTATING')).body.code).toBe('session_not_found');
    expect((await refresh(other.refresh, 'LONG')).status).toBe(200);
  });

  test('no token is stored in the database', async () => {
    const handedOut: string[] = [];
    for (const type of ['ROTATING', 'EXTENDING', 'LONG'] as const) {
      const kept = await login(type);
      const { body } = await refresh(kept.refresh, type);
      const left = await login(type);
      await logout(left.refresh);
      handedOut.push(kept.refresh, kept.access, body.access, left.refresh, left.access, body.refresh ?? kept.refresh);
    }
    const dataSource = app.get(DataSource);
    const tables = dataSource.entityMetadatas.map(({ tablePath }) => dataSource.driver.escape(tablePath));
    const stored = JSON.stringify(await Promise.all(tables.map((table) => dataSource.query(`SELECT * FROM ${table}`))));
    expect(tables).toHaveLength(MULTI_SESSION_ENTITIES.length);
    expect(stored).toContain(decoded(handedOut[0], 1).sid);
    for (const token of handedOut) {
      const [, claims, signature] = token.split('.');
      for (const part of [claims, signature]) {
        expect(stored).not.toContain(part);
        expect(stored).not.toContain(Buffer.from(part, 'base64url').toString('hex'));
      }
    }
  });
});

describe('the option secretKey', () => {
  const start = async (secretKey: unknown) => {
    const app = await startApp({ options: { secretKey: secretKey as string } });
    await app.close();
  };

  test.each([
    ['the signing secret', SIGNING_SECRET, /secretKey: must differ from the signing secret/],
    ['the signing secret among others', ['another', SIGNING_SECRET], /secretKey: must differ from the signing secret/],
    ['none', undefined, /secretKey: is missing/],
    ['null', null, /secretKey: must be/],
    ['blank', '', /secretKey: must be/],
    ['true', true, /secretKey: must be/],
    ['an empty list', [], /secretKey: must/],
  ])('is refused at start if it is %s', async (_what, secretKey, message) => {
    await expect(start(secretKey)).rejects.toThrow(message);
  });

  test('may be false', () => start(false));
});
