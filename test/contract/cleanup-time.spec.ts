import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { readOptions } from '../../lib/engine/options.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { insertRow, JWT_SECRET, newRow, setClock, startProcess, type TestProcess } from './process.js';

const PAST = new Date(1000);
const POLICIES = {
  EXTENDS: { refreshTokenLifetime: '1d', extendSession: 'every-refresh', reuseGrace: 0 },
  GRACE: { refreshTokenLifetime: '1d', extendSession: 'every-refresh' },
  KEEPS: { refreshTokenLifetime: '1d', rotateRefreshTokens: false },
  PERMANENT: { refreshTokenLifetime: '7d', permanent: true },
} as const;

onEachDatabase((name) => {
  let database: TestDatabase;
  let process: TestProcess;

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    database = await createDatabase(name);
    process = await startProcess(database, { synchronize: true });
    await process.poller.poll();
  });
  afterEach(async () => {
    await process?.close();
    await database?.drop();
  });

  describe(`the time at which the cleanup looks at a session on ${name}`, () => {
    const left = async () => (await process.dataSource.manager.find(SessionEntity)).map(({ userId }) => userId).sort();
    const times = async (id: string) => {
      const row = await process.dataSource.manager.findOneOrFail(SessionEntity, {
        select: { expiresAt: true, cleanupAt: true },
        where: { id },
      });
      return [row.cleanupAt?.getTime(), row.expiresAt.getTime()];
    };
    const setCleanupAt = (time: Date) =>
      process.dataSource.createQueryBuilder().update(SessionEntity).set({ cleanupAt: time }).execute();

    test('is its expiry after a login, and a refresh leaves it alone', async () => {
      const { sessions } = await engineWith(process);
      const { session, refresh } = await sessions.create('alice', { type: 'EXTENDS' });
      const [cleanupAt, expiresAt] = await times(session.id);
      expect(cleanupAt).toBe(expiresAt);
      await sleep(1100);
      await sessions.refresh(refresh);
      const [same, later] = await times(session.id);
      expect(same).toBe(cleanupAt);
      expect(later).toBeGreaterThan(expiresAt as number);
    });

    test('is its expiry once a prepared session is issued', async () => {
      const { sessions, dataSource } = process;
      const prepared = await dataSource.transaction((manager) => sessions.prepare('a', { type: 'LONG' }, manager));
      const { session } = await prepared.issue();
      const [cleanupAt, expiresAt] = await times(session.id);
      expect([cleanupAt, expiresAt]).toEqual([session.expiresAt.getTime(), session.expiresAt.getTime()]);
    });

    test('is put off for a session that was extended, which then ends at its expiry', async () => {
      const { clock, cleanupStore } = process;
      const expiresAt = new Date(Math.ceil(clock.now() / 1000) * 1000 + 1000);
      const row = newRow('extended', { expiresAt });
      await insertRow(process, row);
      await setCleanupAt(PAST);
      expect(await cleanupStore.endExpired(10)).toEqual({ ended: [], lapsed: 0, postponed: 1 });
      expect(await times(row.id)).toEqual([expiresAt.getTime(), expiresAt.getTime()]);
      while (clock.now() <= expiresAt.getTime()) {
        expect(await left()).toEqual(['extended']);
        await sleep(50);
      }
      expect(await cleanupStore.endExpired(10)).toMatchObject({ ended: [{ reason: 'expired' }], postponed: 0 });
      expect(await left()).toEqual([]);
    });

    test('does not keep a run from reaching expired sessions behind more extended ones than a batch has', async () => {
      const { batchSize } = process.config.cleanup;
      for (let at = 0; at < batchSize + 5; at++) await insertRow(process, newRow('live'));
      await setCleanupAt(PAST);
      const expired = new Date(Math.floor(process.clock.now() / 1000) * 1000 - 5000);
      await insertRow(process, newRow('expired', { expiresAt: expired }));
      expect(await process.cleanup.run()).toMatchObject({ sessions: 1 });
      expect(new Set(await left())).toEqual(new Set(['live']));
    });

    test('is at once for a row of a version that does not know the column', async () => {
      const now = process.clock.now();
      const [live, expired] = [newRow('live'), newRow('expired')];
      for (const { id, userId } of [live, expired]) {
        const expiresAt = Math.floor(now / 1000) * 1000 + (userId === 'live' ? 60_000 : -5000);
        await process.dataSource.query(
          `INSERT INTO user_session (id, user_id, type, refresh_jti, refresh_kid, created_at, last_update, expires_at, info)
           VALUES ('${id}', '${userId}', 'LONG', '', '', ${now}, ${now}, ${expiresAt}, '')`,
        );
      }
      expect((await times(live.id))[0]).toBe(0);
      expect(await process.cleanup.run()).toMatchObject({ sessions: 1 });
      expect(await left()).toEqual(['live']);
      const [cleanupAt, expiresAt] = await times(live.id);
      expect(cleanupAt).toBe(expiresAt);
    });
  });

  test(`no index on ${name} contains a column that a refresh sets`, async () => {
    const { sessions } = await engineWith(process);
    const { statements } = await process.log.during(async () => {
      for (const type of Object.keys(POLICIES)) {
        const login = await sessions.create('alice', { type });
        const client = { userAgent: 'another browser' };
        const first = await sessions.refresh(login.refresh, { client });
        // A second use within the grace, as after an answer that was lost.
        if (type === 'GRACE') await sessions.refresh(login.refresh, { client });
        await sessions.refresh(first.refresh ?? login.refresh, { client });
      }
    });
    const updates = statements.filter(({ query }) => /UPDATE \W?user_session/.test(query));
    expect(updates.length).toBeGreaterThanOrEqual(6);
    const set = new Set(updates.flatMap(({ query }) => assignedColumns(query)));
    expect([...set]).toEqual(expect.arrayContaining(['expires_at', 'last_update', 'generation', 'refresh_jti']));
    // A refresh only corrects the spelling of the type: its value changes after somebody has changed the options.
    set.delete('type');

    const runner = process.dataSource.createQueryRunner();
    const table = await runner.getTable('user_session');
    await runner.release();
    const indexed = [...(table?.indices ?? []), { columnNames: ['id'] }].flatMap(({ columnNames }) => columnNames);
    expect(indexed).toContain('cleanup_at');
    expect([...set].filter((column) => indexed.includes(column))).toEqual([]);
  });
});

async function engineWith({ dataSource }: TestProcess): Promise<Engine> {
  const engine = createEngine(
    readOptions({ jwt: { secret: JWT_SECRET }, secretKey: false, policies: POLICIES }, Object.keys(POLICIES)),
    dataSource,
  );
  setClock(engine);
  await engine.epochs.load();
  return engine;
}

/** Returns the columns that an UPDATE assigns. */
function assignedColumns(query: string): string[] {
  const afterSet = query.slice(query.indexOf(' SET ') + 5);
  const columns: string[] = [];
  let depth = 0;
  let isStart = true;
  for (const [token] of afterSet.matchAll(/\w+|[(),]/g)) {
    if (depth === 0 && /^(WHERE|FROM)$/.test(token)) break;
    if (isStart) columns.push(token);
    isStart = token === ',' && depth === 0;
    if (token === '(') depth++;
    if (token === ')') depth--;
  }
  return columns;
}
