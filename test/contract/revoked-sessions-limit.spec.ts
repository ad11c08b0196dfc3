import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { TokenNotValidError } from '../../lib/errors.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { REVOCATION, startProcess, type TestProcess } from './process.js';
import { isFresh } from '../helpers/fresh.js';

const MAX_ENTRIES = 5;
const POLLS_PER_FULL_LOAD = 60;

onEachDatabase((name) => {
  let database: TestDatabase;
  let process: TestProcess;
  const warnings: string[] = [];

  const write = async (count: number): Promise<string[]> => {
    const ids = Array.from({ length: count }, () => newSessionId(Date.now(), 'alice'));
    const expiresAt = new Date(Date.now() + 60_000);
    const entries = ids.map((id) => ({ id, sessionId: id, userId: 'alice', reason: 'logout', expiresAt }));
    await process.database.run((manager) => process.revocations.record(manager, 'session', entries));
    return ids;
  };
  const start = async () => {
    database = await createDatabase(name);
    const revocation = { ...REVOCATION, maxEntries: MAX_ENTRIES, maxStaleness: 60_000 };
    process = await startProcess(database, { revocation, synchronize: true });
  };
  const begin = async (entries: number): Promise<string[]> => {
    await start();
    const ids = await write(entries);
    await process.poller.poll();
    return ids;
  };
  /** Makes all entries older than the overlap, so that the next poll does not read them again. */
  const age = () =>
    process.dataSource.manager.update(
      BlacklistEntity,
      { kind: 'session' },
      { createdAt: new Date(Date.now() - 60_000) },
    );
  const pollUntilFullLoad = async () => {
    for (let poll = 0; poll < POLLS_PER_FULL_LOAD; poll++) await process.poller.poll();
  };
  const known = (ids: readonly string[]) => ids.filter((id) => process.revoked.has(id));

  beforeAll(() =>
    Logger.overrideLogger({ log: () => {}, error: () => {}, warn: (text: string) => void warnings.push(text) }),
  );
  afterEach(async () => {
    jest.restoreAllMocks();
    warnings.length = 0;
    await process.close();
    await database.drop();
  });

  describe('memory for ended sessions', () => {
    test('is fresh with as many entries as maxEntries allows', async () => {
      const ids = await begin(MAX_ENTRIES);
      expect([known(ids), isFresh(process.revoked), warnings]).toEqual([ids, true, []]);
    });

    test('is not fresh if the table has more entries at the start, and holds them in the filter only', async () => {
      await begin(MAX_ENTRIES + 3);
      expect([process.revoked.size, isFresh(process.revoked)]).toEqual([0, false]);
      await pollUntilFullLoad();
      expect(process.revoked.size).toBeLessThanOrEqual(MAX_ENTRIES);
      expect(isFresh(process.revoked)).toBe(false);
      expect(warnings).toEqual([expect.stringContaining('more than 5 sessions')]);
    });

    test('is not fresh once there are too many entries, and still announces each of them', async () => {
      await begin(MAX_ENTRIES - 1);
      await age();
      const heard: string[] = [];
      process.revoked.onRevoked(({ sessionId }) => heard.push(sessionId));
      const more = await write(3);
      await process.poller.poll();
      expect(heard.toSorted()).toEqual(more.toSorted());
      expect(process.revoked.size).toBeLessThanOrEqual(MAX_ENTRIES);
      expect(isFresh(process.revoked)).toBe(false);
      expect(warnings).toEqual([expect.stringContaining('more than 5 sessions')]);
    });

    test('is not fresh after this process has ended too many sessions', async () => {
      await begin(MAX_ENTRIES);
      const expiresAt = Date.now() + 60_000;
      process.revoked.add({
        sessionId: newSessionId(Date.now(), 'alice'),
        userId: 'alice',
        reason: 'logout',
        expiresAt,
      });
      expect(isFresh(process.revoked)).toBe(false);
    });

    test('reads at most maxEntries and one more rows in a poll', async () => {
      await begin(0);
      await write(MAX_ENTRIES * 4);
      const heard: string[] = [];
      process.revoked.onRevoked(({ sessionId }) => heard.push(sessionId));
      await process.poller.poll();
      expect(heard).toHaveLength(MAX_ENTRIES + 1);
      expect(isFresh(process.revoked)).toBe(false);
    });

    test('leaves it to a full load to find what such a poll has left out', async () => {
      await begin(0);
      const ids = await write(MAX_ENTRIES * 4);
      await process.poller.poll();
      const states = () => new Set(ids.map((id) => process.revoked.stateOf(id)));
      expect(process.revoked.isCovering).toBe(false);
      expect(states()).not.toContain('not-ended');
      await age();
      await pollUntilFullLoad();
      expect(process.revoked.isCovering).toBe(true);
      expect(states()).not.toContain('not-ended');
    });

    test('is fresh again after a full load that finds fewer entries', async () => {
      const ids = await begin(MAX_ENTRIES + 1);
      await process.dataSource.manager.delete(BlacklistEntity, { id: ids[0] });
      await process.poller.poll();
      expect(isFresh(process.revoked)).toBe(false);
      await pollUntilFullLoad();
      expect(isFresh(process.revoked)).toBe(true);
      expect(known(ids)).toEqual(ids.slice(1));
    });
  });

  describe('the filter for more ended sessions than maxEntries', () => {
    const LIVE = 200;
    const create = async (count: number) => {
      const sessions = [];
      for (let at = 0; at < count; at++) sessions.push(await process.sessions.create(`user ${at}`, { type: 'LONG' }));
      return sessions;
    };
    const pageReads = async () => {
      const { statements } = await process.log.during(() => process.poller.poll());
      return statements.filter(({ query }) => /session_blacklist.* ORDER BY/s.test(query)).length;
    };

    test('spares nearly all live sessions the read of their row, and refuses all ended ones', async () => {
      await begin(0);
      const [live, ended] = [await create(LIVE), await create(50)];
      for (const { session } of ended) await process.sessions.destroy(session.id);
      await write(LIVE);
      await age();
      await pollUntilFullLoad();
      expect([process.revoked.isComplete, process.revoked.isCovering]).toEqual([false, true]);
      const { statements } = await process.log.during(async () => {
        for (const { access } of live) await process.access.verify(access);
      });
      // Without the filter, each of them reads its row.
      expect(statements.length).toBeLessThan(LIVE / 10);
      for (const { access } of ended)
        await expect((async () => process.access.verify(access))()).rejects.toThrow(TokenNotValidError);
    });

    test('costs a session that it takes for an ended one a read, and no more', async () => {
      await begin(MAX_ENTRIES + 1);
      const [{ access, session }] = await create(1);
      jest.spyOn(process.revoked, 'stateOf').mockReturnValue('unknown');
      const { statements, result } = await process.log.during(async () => process.access.verify(access));
      expect([statements.length, result.sessionId]).toEqual([1, session.id]);
    });

    test('is filled page by page, at once at first, and then by one page per poll', async () => {
      const pages = 3;
      await start();
      const count = (pages - 1) * 10_000 + 1;
      const expiresAt = new Date(Date.now() + 600_000);
      const rows = Array.from({ length: count }, () => newSessionId(Date.now(), 'alice')).map((id) => ({
        ...{ id, kind: 'session' as const, sessionId: id, userId: 'alice', reason: 'logout' },
        ...{ createdAt: new Date(Date.now() - 60_000), expiresAt },
      }));
      for (let at = 0; at < count; at += 500)
        await process.dataSource.manager.insert(BlacklistEntity, rows.slice(at, at + 500));
      expect(await pageReads()).toBe(pages);
      expect(process.revoked.isCovering).toBe(true);
      expect(rows.filter(({ id }) => process.revoked.stateOf(id) !== 'unknown')).toEqual([]);
      for (let poll = 1; poll < POLLS_PER_FULL_LOAD; poll++) expect(await pageReads()).toBe(0);
      for (let page = 0; page < pages; page++) expect(await pageReads()).toBe(1);
      expect(await pageReads()).toBe(0);
    }, 60_000);
  });
});
