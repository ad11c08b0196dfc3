import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Issued, LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { decoded } from '../helpers/tokens.js';
import { type Build, buildVersion } from './builds.js';
import { sharedDatabases } from '../helpers/databases.js';
import { createShared, type SharedDatabase } from './scene.js';

const HOUR = 3_600_000;
const OPTIONS = {
  secretKey: false,
  rememberDevices: '30d',
  revocation: { pollInterval: '200ms' },
  policies: {
    GRACE: { refreshTokenLifetime: '30d', accessTokenLifetime: '1h', reuseGrace: '10m' },
    NO_GRACE: { refreshTokenLifetime: '30d', accessTokenLifetime: '1h', reuseGrace: 0 },
    KEEPS: { refreshTokenLifetime: '30d', rotateRefreshTokens: false },
    PERMANENT: { refreshTokenLifetime: '7d', permanent: true },
    EXTENDED: { refreshTokenLifetime: '1d', extendSession: 'every-refresh', absoluteLifetime: '90d' },
    LIMITED: { refreshTokenLifetime: '1d', maxActiveSessions: 2, whenFull: 'refuse' },
    BRIEF: { refreshTokenLifetime: '2s', accessTokenLifetime: '1s', reuseGrace: 0 },
  },
};
const KEYS = {
  'a secret': { secret: 'a signing secret of more than thirty-two bytes' },
  'managed keys': { managed: { encryptionKey: 'an encryption key of more than thirty-two bytes' } },
};
const PHONE = { userAgent: 'Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/120.0 Mobile', deviceName: 'a phone' };
const LAPTOP = { userAgent: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Firefox/121.0' };
const REUSED = '401 token_not_valid';
const GONE = '401 session_not_found';

/** A session that always has a refresh token. */
type WithRefresh = Issued & { readonly refresh: string };

let old: Build;

beforeAll(async () => {
  old = await buildVersion('0.1.0');
});
afterAll(() => old?.remove());

describe.each(sharedDatabases())('%s', (name) => {
  describe.each(Object.entries(KEYS))('tables that 0.1.0 filled, with tokens signed with %s', (_, jwt) => {
    let database: SharedDatabase;
    /** The process of this version, after that of 0.1.0 has stopped and the tables have been migrated. */
    let process: LibraryProcess;
    let filled: Awaited<ReturnType<typeof fill>>;

    beforeAll(async () => {
      database = await createShared(name);
      const start = (build?: string) =>
        LibraryProcess.start({
          build,
          database: database.options,
          options: { ...OPTIONS, jwt },
          migrate: true,
        });
      const before = await start(old.folder);
      filled = await fill(before);
      await before.stop();
      process = await start();
    });
    afterAll(async () => {
      await process?.stop();
      await database?.drop();
    });

    const refresh = (refresh: string, type?: string) => process.ask('refresh', { refresh, type });
    const refreshed = async (refresh: string) => (await process.do('refresh', { refresh })) as WithRefresh;
    const jtiOf = (token: string) => decoded(token, 1).jti as string;
    const accessOutcome = async (access: string) => outcomeOf(await process.ask('verify', { access }));
    const isAlive = async ({ sessionId }: Issued, user: string) =>
      (await process.do('list', { user })).some(({ id }) => id === sessionId);
    const eventsOf = async ({ sessionId }: Issued) =>
      (await process.do('takeEvents', {})).filter((event) => event.sessionId === sessionId).map((event) => event.name);

    test('nobody is logged out: every live session is listed, and its access token is accepted', async () => {
      for (const [user, session] of Object.entries(filled.living)) {
        expect([user, await isAlive(session, user)]).toEqual([user, true]);
        // To use this one would show that the client has received the lost answer.
        if (session !== filled.living.lost) expect([user, await accessOutcome(session.access)]).toEqual([user, '200']);
      }
    });

    test('nothing that had ended is let in', async () => {
      for (const [user, session] of Object.entries(filled.ended)) {
        expect([user, await accessOutcome(session.access)]).toEqual([user, REUSED]);
        expect([user, outcomeOf(await refresh(session.refresh))]).toEqual([user, GONE]);
        expect([user, await isAlive(session, user)]).toEqual([user, false]);
      }
      expect(outcomeOf(await refresh(filled.expired.refresh))).not.toBe('200');
      expect(await accessOutcome(filled.expired.access)).toBe(REUSED);
    });

    test('a current token rotates, and so does its successor', async () => {
      const { fresh } = filled.living;
      const first = await refreshed(fresh.refresh);
      expect(jtiOf(first.refresh)).not.toBe(jtiOf(fresh.refresh));
      expect(await accessOutcome(first.access)).toBe('200');
      const second = await refreshed(first.refresh);
      expect(second.sessionId).toBe(fresh.sessionId);
      expect(await accessOutcome(second.access)).toBe('200');
    });

    test('a parent within the grace gets the successor that it already has', async () => {
      const { rotated, living } = filled;
      const replayed = await refreshed(rotated.parent);
      expect(jtiOf(replayed.refresh)).toBe(jtiOf(living.rotated.refresh));
      expect(await eventsOf(living.rotated)).toEqual(['refresh.replayed']);
      expect(outcomeOf(await refresh(living.rotated.refresh))).toBe('200');
    });

    test('a parent whose successor was never used gets another one', async () => {
      const { lost, living } = filled;
      const recovered = await refreshed(lost.parent);
      expect(jtiOf(recovered.refresh)).not.toBe(jtiOf(living.lost.refresh));
      expect(await eventsOf(living.lost)).toEqual(['refresh.recovered']);
      expect(outcomeOf(await refresh(recovered.refresh))).toBe('200');
    });

    test('a parent whose successor was seen in use ends the session', async () => {
      const { stolen, living } = filled;
      expect(outcomeOf(await refresh(stolen.parent))).toBe(REUSED);
      expect((await eventsOf(living.stolen)).sort()).toEqual(['refresh.reused', 'session.ended']);
      expect(outcomeOf(await refresh(living.stolen.refresh))).toBe(GONE);
      expect(await accessOutcome(living.stolen.access)).toBe(REUSED);
    });

    test('a token older than the parent ends the session', async () => {
      expect(outcomeOf(await refresh(filled.older.grandparent))).toBe(REUSED);
      expect(outcomeOf(await refresh(filled.living.older.refresh))).toBe(GONE);
    });

    test('a type that does not rotate keeps its token', async () => {
      const { keeps } = filled.living;
      expect((await process.do('refresh', { refresh: keeps.refresh })).refresh).toBeUndefined();
      expect(outcomeOf(await refresh(keeps.refresh))).toBe('200');
    });

    test('a permanent token stays good', async () => {
      const { permanent } = filled.living;
      expect(outcomeOf(await refresh(permanent.refresh, 'PERMANENT'))).toBe('200');
      expect(outcomeOf(await refresh(permanent.refresh))).toBe('200');
      expect(await isAlive(permanent, 'permanent')).toBe(true);
    });

    test('an extended session keeps its absolute expiry', async () => {
      const { extended } = filled.living;
      const sql = `SELECT absolute_expires_at AS absolute FROM user_session WHERE id = '${extended.sessionId}'`;
      const before = await process.do('query', { sql });
      expect(outcomeOf(await refresh(extended.refresh))).toBe('200');
      expect(Number(before[0].absolute)).toBeGreaterThan(0);
      expect(await process.do('query', { sql })).toEqual(before);
    });

    test('data and claims are kept', async () => {
      const { rich } = filled.living;
      expect(await process.do('getData', { sessionId: rich.sessionId })).toEqual({ cart: [1, 'ß'], theme: 'dark' });
      expect(await process.do('verify', { access: rich.access })).toMatchObject({ claims: { role: 'editor' } });
      const { access } = await refreshed(rich.refresh);
      expect(await process.do('verify', { access })).toMatchObject({ claims: { role: 'editor' } });
      expect(decoded(access, 1)).toMatchObject({ role: 'editor', amr: ['pwd'] });
      const patch = { theme: null, size: 2 };
      expect(await process.do('mergeData', { sessionId: rich.sessionId, patch })).toEqual({ cart: [1, 'ß'], size: 2 });
    });

    test('a known device is still known, and another one is not', async () => {
      await process.do('takeEvents', {});
      const again = await process.do('login', { user: 'known', type: 'GRACE', client: PHONE });
      const other = await process.do('login', { user: 'known', type: 'GRACE', client: LAPTOP });
      const deadline = performance.now() + 10_000;
      const events: string[] = [];
      while (events.length === 0 && performance.now() < deadline) {
        const taken = await process.do('takeEvents', {});
        events.push(...taken.filter(({ name }) => name === 'login.new-device').map(({ sessionId }) => sessionId));
        await sleep(20);
      }
      expect(events).toEqual([other.sessionId]);
      expect(events).not.toContain(again.sessionId);
    });

    test('sessions of 0.1.0 count towards a limit', async () => {
      expect(outcomeOf(await process.ask('login', { user: 'limited', type: 'LIMITED' }))).toBe(
        '409 session_limit_reached',
      );
      await process.do('destroy', { sessionId: filled.living.limited.sessionId });
      expect(outcomeOf(await process.ask('login', { user: 'limited', type: 'LIMITED' }))).toBe('200');
    });

    test('a session of 0.1.0 can be re-authenticated', async () => {
      const { renewed } = filled.living;
      const next = await process.do('reauthenticate', { access: renewed.access, user: 'renewed' });
      expect(await accessOutcome(renewed.access)).toBe(REUSED);
      expect(await accessOutcome(next.access)).toBe('200');
    });

    test('destroyAll ends sessions of 0.1.0, and refuses their access tokens until the last one has expired', async () => {
      expect(await process.do('destroyAll', { user: 'many' })).toBe(4);
      expect(await process.do('list', { user: 'many' })).toEqual([]);
      for (const session of filled.many) {
        expect(await accessOutcome(session.access)).toBe(REUSED);
        expect(outcomeOf(await refresh(session.refresh))).toBe(GONE);
      }
      const entries = await process.do('query', {
        sql: "SELECT expires_at - created_at AS life FROM session_blacklist WHERE user_id = 'many'",
      });
      expect(entries).toHaveLength(4);
      for (const { life } of entries) expect(Number(life)).toBeGreaterThanOrEqual(HOUR);
    });
  });
});

/** Makes sessions in every state that a session can be in. */
async function fill(process: LibraryProcess) {
  const login = async (user: string, type: string, more: object = {}) =>
    (await process.do('login', { user, type, ...more })) as WithRefresh;
  const refreshed = async ({ refresh }: WithRefresh) => (await process.do('refresh', { refresh })) as WithRefresh;

  const brief = await login('brief', 'BRIEF');
  const [rotated, lost, stolen, older] = [
    await login('rotated', 'GRACE'),
    await login('lost', 'NO_GRACE'),
    await login('stolen', 'NO_GRACE'),
    await login('older', 'NO_GRACE'),
  ];
  const living = {
    fresh: await login('fresh', 'GRACE'),
    rotated: await refreshed(rotated),
    lost: await refreshed(lost),
    stolen: await refreshed(stolen),
    older: await refreshed(await refreshed(older)),
    keeps: await login('keeps', 'KEEPS'),
    permanent: await login('permanent', 'PERMANENT'),
    extended: await login('extended', 'EXTENDED'),
    rich: await login('rich', 'GRACE', { data: { cart: [1, 'ß'] }, claims: { role: 'editor' } }),
    known: await login('known', 'GRACE', { client: PHONE }),
    limited: await login('limited', 'LIMITED'),
    renewed: await login('renewed', 'GRACE'),
  };
  await process.do('mergeData', { sessionId: living.rich.sessionId, patch: { theme: 'dark' } });
  await login('limited', 'LIMITED');
  // Its successor is seen in use, and the process writes that down when it stops at the latest.
  await process.do('verify', { access: living.stolen.access });

  const ended = {
    'logged-out': await login('logged-out', 'GRACE'),
    destroyed: await login('destroyed', 'KEEPS'),
    'all-ended': await login('all-ended', 'GRACE'),
    caught: await login('caught', 'NO_GRACE'),
  };
  await process.do('logout', { refresh: ended['logged-out'].refresh });
  await process.do('destroy', { sessionId: ended.destroyed.sessionId });
  await process.do('destroyAll', { user: 'all-ended' });
  const second = await refreshed(await refreshed(ended.caught));
  await process.ask('refresh', { refresh: ended.caught.refresh });

  const many = [];
  for (const type of ['GRACE', 'NO_GRACE', 'KEEPS', 'PERMANENT']) many.push(await login('many', type));
  await sleep(2000);
  return {
    living,
    ended: { ...ended, caught: second },
    many,
    expired: brief,
    rotated: { parent: rotated.refresh },
    lost: { parent: lost.refresh },
    stolen: { parent: stolen.refresh },
    older: { grandparent: older.refresh },
  };
}
