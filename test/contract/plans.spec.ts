import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { LessThan } from 'typeorm';
import { multiSessionMigrations } from '../../lib/migrations/index.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import type { SessionStore } from '../../lib/session/store.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { fillBlacklist, FilledSessions, settle } from '../helpers/fill.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { accessesOf, isPlanned } from '../helpers/plans.js';
import type { SentStatement } from '../helpers/statement-log.js';
import { newJti, newRow, REVOCATION, startProcess, type TestProcess, tokenOf } from './process.js';

const TYPES = ['LONG', 'SHORT'];
/** Enough rows to expose a plan whose cost grows with the table. */
const ROWS = 100_000;
/** How many of the sessions expire in the same second. The operations below act on some of these. */
const BURST = 5000;
/** Maximum batch size of the operations below, and maximum sessions of a user. */
const FEW = 10;
/** Maximum number of rows that one statement may examine, regardless of the size of the table. */
const MOST = 100;

onEachDatabase((name) => {
  let database: TestDatabase;
  let process: TestProcess;
  let filled: FilledSessions;

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    database = await createDatabase(name);
    const revocation = { ...REVOCATION, maxEntries: 2 * ROWS };
    process = await startProcess(database, { migrations: multiSessionMigrations, migrationsRun: true, revocation });
    filled = new FilledSessions(process.dataSource, { rows: ROWS, kid: 'a-key', expiredEvery: 1000 });
    await filled.fill();
    await fillBlacklist(process.dataSource, { entries: ROWS, expiredEvery: 1000 });
    await settle(process.dataSource);
    await beginAtOnce(BURST);
    // The first poll loads the whole blacklist.
    await process.poller.poll();
  });
  afterEach(async () => {
    await process.close();
    await database.drop();
  });

  /**
   * Gives `count` sessions the same expiry, as if their users had all logged in again after an outage.
   * The planner's statistics do not include the change yet.
   */
  const beginAtOnce = async (count: number) => {
    const { dataSource, clock } = process;
    const end = new Date(Math.floor(clock.now() / 1000) * 1000 + 30 * 86_400_000);
    await dataSource.manager.update(SessionEntity, { id: LessThan(filled.session(count).id) }, { expiresAt: end });
  };

  const rowOf = async (number: number): Promise<SessionEntity> =>
    (await process.store.find(filled.session(number).id)) as SessionEntity;
  const nextOf = ({ expiresAt }: SessionEntity) => ({ jti: newJti(), kid: 'key', expiresAt: expiresAt.getTime() });
  const rotated = async (store: SessionStore, number: number) => {
    const row = await rowOf(number);
    const condition = { grace: 0, unread: true, withoutBound: true, blacklistParent: true };
    return store.rotate(tokenOf(row), nextOf(row), process.clock.now(), condition);
  };

  /*
   * Everything that a request, a poll or a timed cleanup sends. Two rare operations are missing, because they scan all
   * sessions: `endOfRemovedTypes` runs once an hour, and `isKeyInUse` before a replaced key is deleted.
   */
  const OPERATIONS: Record<string, (store: SessionStore) => Promise<unknown>> = {
    find: async (store) => store.find(filled.session(1).id),
    findForCheck: async (store) => store.findForCheck(filled.session(1).id),
    listActive: async (store) => store.listActive(filled.userId(3), TYPES),
    'create, without a limit': async (store) => store.create(newRow(filled.userId(3))),
    'create, at a limit': async (store) => store.create(newRow(filled.userId(3)), ([oldest]) => [oldest]),
    replace: async (store) => {
      const { id, userId } = filled.session(2);
      return store.replace({ id, userId }, 'reauthenticated', () => newRow(userId));
    },
    change: async (store) => store.change(filled.session(3).id, () => ({ data: { a: 1 } })),
    touch: async (store) => store.touch(tokenOf(await rowOf(4)), process.clock.now()),
    rotate: async (store) => rotated(store, 5),
    recover: async (store) => {
      const row = (await rotated(store, 6)) as SessionEntity;
      return store.recover(row, nextOf(row), process.clock.now(), { blacklistLost: true });
    },
    confirm: async (store) => {
      const rows = Array.from({ length: FEW }, (_, at) => filled.session(100 + at));
      await store.confirm(rows.map(({ id }) => ({ sessionId: id, generation: 1 })));
      return 'done';
    },
    end: async (store) => {
      const row = await rowOf(7);
      return store.end(row, 'logout', { jti: row.refreshJti });
    },
    endOfUser: async (store) => store.endOfUser(filled.userId(8), TYPES, 'destroyed', (active) => active),
    endExpired: async (store) => store.endExpired(FEW),
    deleteExpiredEntries: async (store) => store.deleteExpiredEntries(FEW),
    'page, of all users': async (store) => store.page({}, FEW),
    'page, before an id': async (store) => store.page({ before: filled.session(50_000).id }, FEW),
    'page, from an id': async (store) => store.page({ from: filled.session(50_000).id }, FEW),
    'page, of a user': async (store) => store.page({ userId: filled.userId(3) }, FEW),
    'page, of a type': async (store) => store.page({ type: 'SHORT', before: filled.session(50_000).id }, FEW),
    endBetween: async (store) => store.endBetween('', filled.session(50_000).id, 'admin', FEW),
    poll: async () => process.poller.poll().then(() => 'done'),
  };

  /** Returns how each statement accesses each table, and whether it examines few rows. */
  const plansOf = async (statements: readonly SentStatement[]) => {
    const plans: { query: string; access: string; byIndex: boolean; few: boolean }[] = [];
    for (const statement of statements.filter(isPlanned)) {
      for (const { text, byIndex, rows = 0 } of await accessesOf(process.dataSource, statement))
        plans.push({ query: statement.query, access: `${text}, ${rows} rows`, byIndex, few: rows <= MOST });
    }
    return plans;
  };

  test('requests, polls and cleanups find their rows by an index, in tables of 100,000 rows', async () => {
    for (const [operation, run] of Object.entries(OPERATIONS)) {
      const { statements, result } = await process.log.during(() => run(process.store));
      expect({ operation, done: Boolean(result) }).toEqual({ operation, done: true });
      const plans = await plansOf(statements);
      expect({ operation, plans }).toEqual({
        operation,
        plans: plans.map((plan) => ({ ...plan, byIndex: true, few: true })),
      });
    }
  });
});
