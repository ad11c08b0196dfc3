import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import {
  PERMANENT_DEVICE,
  type SessionEventMap,
  SessionEntity,
  SessionEvents,
  type SessionPolicyOptions,
  SessionService,
} from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import { startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { StatementLog } from '../helpers/statement-log.js';
import { decoded } from '../helpers/tokens.js';

const DAY = 86_400_000;
const MINUTE = 60_000;
const POLICIES = {
  DEVICE: { ...PERMANENT_DEVICE, maxActiveSessions: 1000 },
  BOUND: { ...PERMANENT_DEVICE, absoluteLifetime: '8d' },
  CHECKED: { ...PERMANENT_DEVICE, accessCheck: 'session' },
  LONG: { refreshTokenLifetime: '30d' },
} as const satisfies Record<string, SessionPolicyOptions>;

onEachDatabase((databaseName) => {
  let app: TestApp;
  let database: TestDatabase;
  let sessions: SessionService;
  let rows: Repository<SessionEntity>;
  const log = new StatementLog();

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    app = await startApp({ database, options: { policies: POLICIES } });
    sessions = app.get(SessionService);
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    Object.assign(app.get(DataSource), { logger: log });
  });
  afterAll(() => app?.close());

  const create = (type: keyof typeof POLICIES) => sessions.create('alice', { type });
  const rowOf = (id: string) => rows.findOneByOrFail({ id });
  /** Moves the last refresh of a session into the past by so many milliseconds. */
  const age = async (id: string, by: number) => {
    const { lastUpdate, expiresAt } = await rowOf(id);
    const earlier = (time: Date) => new Date(time.getTime() - by);
    await rows.update(id, { lastUpdate: earlier(lastUpdate), expiresAt: earlier(expiresAt) });
  };
  const statementsDuring = async (work: () => Promise<unknown>) => {
    const { statements } = await log.during(work);
    return statements.map(({ query }) => query).filter((query) => query.includes('user_session'));
  };

  describe('a permanent session', () => {
    test('has a refresh token that does not expire and stays the same', async () => {
      const { session, refresh } = await create('DEVICE');
      expect(decoded(refresh, 1)).not.toHaveProperty('exp');
      await sessions.refresh(refresh);
      await age(session.id, 31 * MINUTE);
      const { access, refresh: again } = await sessions.refresh(refresh, { type: 'DEVICE' });
      expect(again).toBe(refresh);
      expect(await sessions.verify(access)).toMatchObject({ sessionId: session.id, generation: 0 });
      expect(await rowOf(session.id)).toMatchObject({ generation: 0, parentJti: null });
    });

    test('is read at every refresh and written once per touchInterval', async () => {
      const { session, refresh } = await create('DEVICE');
      await age(session.id, 29 * MINUTE);
      const before = await rowOf(session.id);
      const reads = await statementsDuring(() => sessions.refresh(refresh));
      expect(reads).toEqual([expect.stringMatching(/^SELECT/)]);
      expect(await rowOf(session.id)).toEqual(before);

      await age(session.id, 2 * MINUTE);
      const sent = await statementsDuring(() => sessions.refresh(refresh));
      expect(sent.filter((query) => query.startsWith('UPDATE'))).toHaveLength(1);
      const after = await rowOf(session.id);
      expect(Date.now() - after.lastUpdate.getTime()).toBeLessThan(MINUTE);
      expect(Math.abs(after.expiresAt.getTime() - Date.now() - 7 * DAY)).toBeLessThan(MINUTE);
      expect(await statementsDuring(() => sessions.refresh(refresh))).toHaveLength(1);
    });

    test('is written by one of many parallel refreshes, and all succeed', async () => {
      const { session, refresh } = await create('DEVICE');
      await age(session.id, DAY);
      const { statements, result } = await log.during(() =>
        Promise.all(Array.from({ length: 20 }, () => sessions.refresh(refresh))),
      );
      expect(statements.length).toBeGreaterThan(20);
      const times = new Set(result.map((refreshed) => refreshed.session.lastUpdate.getTime()));
      expect([...times]).toEqual([(await rowOf(session.id)).lastUpdate.getTime()]);
      expect(new Set(result.map((refreshed) => refreshed.refresh ?? refresh))).toEqual(new Set([refresh]));
    });

    test('ends if it was not used for its lifetime, and reports it', async () => {
      const { session, refresh } = await create('DEVICE');
      const ended: SessionEventMap['session.ended'][] = [];
      const stop = app.get(SessionEvents).on('session.ended', (event) => ended.push(event));
      await age(session.id, 7 * DAY + 1000);
      await expect(sessions.refresh(refresh)).rejects.toMatchObject({
        code: 'token_not_valid',
        message: 'The permanent token has expired, and the device is logged out',
      });
      stop();
      expect(ended).toMatchObject([{ reason: 'expired', session: { id: session.id } }]);
      expect(await rows.findOneBy({ id: session.id })).toBeNull();
      await expect(sessions.refresh(refresh)).rejects.toMatchObject({ code: 'session_not_found' });
    });

    test('is never extended past its absolute lifetime', async () => {
      const { session, refresh } = await create('BOUND');
      await age(session.id, 6 * DAY);
      await rows.update(session.id, { absoluteExpiresAt: new Date(Math.floor(Date.now() / 1000) * 1000 + 2 * DAY) });
      await sessions.refresh(refresh);
      const { expiresAt, absoluteExpiresAt } = await rowOf(session.id);
      expect(expiresAt).toEqual(absoluteExpiresAt);
    });

    test.each(['DEVICE', 'CHECKED'] as const)('is refused at once when its device is removed (%s)', async (type) => {
      const { session, access, refresh } = await create(type);
      expect(await sessions.verify(access)).toMatchObject({ sessionId: session.id });
      await sessions.destroy(session.id);
      await expect((async () => sessions.verify(access))()).rejects.toMatchObject({ code: 'token_not_valid' });
      await expect(sessions.refresh(refresh)).rejects.toMatchObject({ code: 'session_not_found' });
    });
  });

  // Two applications cannot share an embedded database.
  if (databaseName === 'sqlite' || databaseName === 'sqljs') return;

  describe('a session whose type becomes permanent, or stops being permanent,', () => {
    const swapped = { ...POLICIES, DEVICE: POLICIES.LONG, LONG: PERMANENT_DEVICE };
    let other: TestApp;
    beforeAll(async () => void (other = await startApp({ database, options: { policies: swapped } })));
    afterAll(() => other?.close());
    let later: SessionService;
    beforeEach(() => void (later = other.get(SessionService)));

    test('continues with the token that it has', async () => {
      const { session, refresh } = await create('LONG');
      await age(session.id, 31 * MINUTE);
      const { access, refresh: slid } = await later.refresh(refresh);
      expect(decoded(slid as string, 1)).not.toHaveProperty('exp');
      expect(await later.verify(access)).toMatchObject({ sessionId: session.id });
      await expect(later.refresh(refresh)).resolves.toMatchObject({ session: { id: session.id } });
    });

    test('rotates again, and reuse of the permanent token ends it', async () => {
      const { session, refresh } = await create('DEVICE');
      const { refresh: next } = await later.refresh(refresh);
      expect(decoded(next as string, 1)).toHaveProperty('exp', session.expiresAt.getTime() / 1000);
      await rows.update(session.id, { rotatedAt: new Date(Date.now() - MINUTE), confirmedGeneration: 1 });
      await expect(later.refresh(refresh)).rejects.toMatchObject({ code: 'token_not_valid' });
      expect(await rows.findOneBy({ id: session.id })).toBeNull();
    });
  });
});
