import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { LessThan } from 'typeorm';
import type { Engine } from '../../lib/engine/engine.js';
import { multiSessionMigrations } from '../../lib/migrations/index.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { fillBlacklist, FilledSessions, settle } from '../helpers/fill.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { accessesOf, isPlanned } from '../helpers/plans.js';
import type { SentStatement } from '../helpers/statement-log.js';
import {
  createFreely,
  createUnder,
  endOfUser,
  newJti,
  newLogin,
  newRow,
  NO_GRACE,
  REVOCATION,
  startProcess,
  type TestProcess,
  tokenOf,
} from './process.js';

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
    const revocation = { ...REVOCATION, maxEntries: 2 * ROWS, maxStaleness: 60_000 };
    process = await startProcess(database, { migrations: multiSessionMigrations, migrationsRun: true, revocation });
    filled = new FilledSessions(process.dataSource, { rows: ROWS, kid: 'a-key', expiredEvery: 1000 });
    await filled.fill();
    await process.dataSource.query(`
      INSERT INTO session_admin_action (id, action, by_user_id, user_id, session_id, ended, details, created_at)
      SELECT id, 'end-session', user_id, user_id, id, 1, '{}', created_at FROM user_session`);
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
   * Gives the `count` oldest sessions the same expiry, as if their users had all come back after an outage.
   * The planner's statistics do not include the change yet.
   */
  const beginAtOnce = async (count: number) => {
    const { dataSource, clock } = process;
    const lastUpdate = new Date(Math.floor(clock.now() / 1000) * 1000);
    const expiresAt = new Date(lastUpdate.getTime() + 30 * 86_400_000);
    await dataSource.manager.update(
      SessionEntity,
      { id: LessThan(filled.session(count).id) },
      { expiresAt, lastUpdate },
    );
  };

  const rowOf = async (number: number): Promise<SessionEntity> =>
    (await process.store.find(filled.session(number).id)) as SessionEntity;
  const next = () => ({ jti: newJti(), kid: 'key' });
  const rotated = async ({ refreshStore }: Engine, number: number) => {
    const row = await rowOf(number);
    return refreshStore.rotate(tokenOf(row), next(), NO_GRACE, { blacklistParent: true });
  };

  /* Everything that a request, a poll or a timed cleanup sends, and the first page of what reads all sessions. */
  const OPERATIONS: Record<string, (engine: Engine) => Promise<unknown>> = {
    find: async ({ store }) => store.find(filled.session(1).id),
    findForCheck: async ({ store }) => store.findForCheck(filled.session(1).id),
    listActive: async ({ store }) => store.listActive(filled.userId(3)),
    'create, without a limit': async (engine) => createFreely(engine, newRow(filled.userId(3))),
    'create, at a limit': async (engine) => createUnder(engine, newRow(filled.userId(3)), ([oldest]) => [oldest]),
    'create, in place of others': async ({ loginStore }) => {
      const replaces = [filled.session(9).id, filled.session(10).id];
      const rules = { chooseEvicted: () => [], limit: { sessions: 100, isExact: true }, replaces };
      return loginStore.create(newLogin(newRow(filled.userId(3))), rules);
    },
    'prepare and issue': async ({ loginStore }) => {
      const session = newLogin(newRow(filled.userId(4)));
      await process.dataSource.transaction((manager) => loginStore.prepare(session, manager));
      return loginStore.issue(session, { chooseEvicted: ([oldest]) => [oldest] });
    },
    replace: async ({ loginStore }) => {
      const { id, userId } = filled.session(2);
      return loginStore.replace({ id, userId }, 'reauthenticated', () => newLogin(newRow(userId)));
    },
    change: async ({ store }) => store.change(filled.session(3).id, () => ({ data: { a: 1 } })),
    touch: async ({ refreshStore }) => refreshStore.touch(tokenOf(await rowOf(4)), {}, NO_GRACE),
    rotate: async (engine) => rotated(engine, 5),
    recover: async (engine) => {
      const row = (await rotated(engine, 6)) as SessionEntity;
      return engine.refreshStore.recover(row, next(), NO_GRACE, { blacklistLost: true });
    },
    confirm: async ({ refreshStore }) => {
      const rows = Array.from({ length: FEW }, (_, at) => filled.session(100 + at));
      await refreshStore.confirm(rows.map(({ id }) => ({ sessionId: id, generation: 1 })));
      return 'done';
    },
    end: async ({ endingStore }) => {
      const row = await rowOf(7);
      return endingStore.end(row, 'logout', { jti: row.refreshJti });
    },
    endSome: async ({ endingStore }) => endingStore.endSome(filled.userId(11), 'destroyed', (active) => active),
    endOfUser: async (engine) => endOfUser(engine, filled.userId(8)),
    'endOfUser, by type': async (engine) => endOfUser(engine, filled.userId(12), { types: TYPES }),
    endExpired: async ({ cleanupStore }) => cleanupStore.endExpired(FEW),
    deleteExpiredEntries: async ({ cleanupStore }) => cleanupStore.deleteExpiredEntries(FEW),
    'page, of all users': async ({ store }) => store.page({}, FEW),
    'page, before an id': async ({ store }) => store.page({ before: filled.session(50_000).id }, FEW),
    'page, from an id': async ({ store }) => store.page({ from: filled.session(50_000).id }, FEW),
    'page, of a user': async ({ store }) => store.page({ userIds: [filled.userId(3)] }, FEW),
    'page, of a type': async ({ store }) => store.page({ before: filled.session(50_000).id }, FEW, 'SHORT'),
    endBetween: async ({ endingStore }) =>
      process.database.transaction(undefined, (manager) =>
        endingStore.endBetween(manager, '', filled.session(50_000).id, 'admin', FEW),
      ),
    isKeyInUse: async ({ store }) => store.isKeyInUse('a-key', FEW),
    'actions of administrators': async ({ adminActions }) => adminActions.list({ limit: FEW }),
    'actions of administrators, in a time': async ({ adminActions, clock }) => {
      const [since, until] = [2, 1].map((days) => new Date(clock.now() - days * 86_400_000));
      return adminActions.list({ since, until, after: filled.session(50_000).id, limit: FEW });
    },
    'actions of one administrator': async ({ adminActions }) => adminActions.list({ by: filled.userId(3), limit: FEW }),
    'old actions of administrators': async ({ adminActions }) => adminActions.deleteOld(FEW).then(() => 'done'),
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
      const { statements, result } = await process.log.during(() => run(process));
      expect({ operation, done: Boolean(result) }).toEqual({ operation, done: true });
      const plans = await plansOf(statements);
      expect({ operation, plans }).toEqual({
        operation,
        plans: plans.map((plan) => ({ ...plan, byIndex: true, few: true })),
      });
    }
  });
});
