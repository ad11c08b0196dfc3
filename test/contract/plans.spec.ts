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
/** Enough that a plan which grows with the table shows. */
const ROWS = 100_000;
/** Among them those that the operations below are about. */
const BURST = 5000;
/** What each operation below is asked for, or a user has, at most. */
const FEW = 10;
/** So many rows may each of its statements look at, however many there are. */
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
    // The first poll loads everything there is.
    await process.poller.poll();
  });
  afterEach(async () => {
    await process.close();
    await database.drop();
  });

  /** Lets so many sessions end in the same second, as of users who all log in again after a failure, before the statistics tell. */
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
   * All that a request, a poll or a timed cleanup sends. Not here, since they look at every session and are rare:
   * `endOfRemovedTypes`, once an hour, and `isKeyInUse`, when a key that was replaced is to be deleted.
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
    'page, of anybody': async (store) => store.page({}, FEW),
    'page, further on': async (store) => store.page({ before: filled.session(50_000).id }, FEW),
    'page, since': async (store) => store.page({ from: filled.session(50_000).id }, FEW),
    'page, of a user': async (store) => store.page({ userId: filled.userId(3) }, FEW),
    'page, of a type': async (store) => store.page({ type: 'SHORT', before: filled.session(50_000).id }, FEW),
    endBetween: async (store) => store.endBetween('', filled.session(50_000).id, 'admin', FEW),
    poll: async () => process.poller.poll().then(() => 'done'),
  };

  /** The plans of what was sent, each as few as what it is asked for. */
  const plansOf = async (statements: readonly SentStatement[]) => {
    const plans: { query: string; access: string; byIndex: boolean; few: boolean }[] = [];
    for (const statement of statements.filter(isPlanned)) {
      for (const { text, byIndex, rows = 0 } of await accessesOf(process.dataSource, statement))
        plans.push({ query: statement.query, access: `${text}, ${rows} rows`, byIndex, few: rows <= MOST });
    }
    return plans;
  };

  test('whatever a request, a poll or the cleanup asks for is found by an index, among a hundred thousand others', async () => {
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
