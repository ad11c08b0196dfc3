import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { REVOCATION, startProcess, type TestProcess } from './process.js';

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
  const begin = async (entries: number): Promise<string[]> => {
    database = await createDatabase(name);
    const revocation = { ...REVOCATION, maxEntries: MAX_ENTRIES, maxStaleness: 60_000 };
    process = await startProcess(database, { revocation, synchronize: true });
    const ids = await write(entries);
    await process.poller.poll();
    return ids;
  };
  const pollUntilFullLoad = async () => {
    for (let poll = 0; poll < POLLS_PER_FULL_LOAD; poll++) await process.poller.poll();
  };
  const known = (ids: readonly string[]) => ids.filter((id) => process.revoked.has(id));

  beforeAll(() =>
    Logger.overrideLogger({ log: () => {}, error: () => {}, warn: (text: string) => void warnings.push(text) }),
  );
  afterEach(async () => {
    warnings.length = 0;
    await process.close();
    await database.drop();
  });

  describe('memory for ended sessions', () => {
    test('is fresh with as many entries as maxEntries allows', async () => {
      const ids = await begin(MAX_ENTRIES);
      expect([known(ids), process.revoked.isFresh(), warnings]).toEqual([ids, true, []]);
    });

    test('is not fresh if the table has more entries at the start, and reads none of them', async () => {
      await begin(MAX_ENTRIES + 3);
      expect([process.revoked.size, process.revoked.isFresh()]).toEqual([0, false]);
      await pollUntilFullLoad();
      expect(process.revoked.size).toBeLessThanOrEqual(MAX_ENTRIES);
      expect(process.revoked.isFresh()).toBe(false);
      expect(warnings).toEqual([expect.stringContaining('more than 5 sessions')]);
    });

    test('is not fresh once there are too many entries, and still announces each of them', async () => {
      await begin(MAX_ENTRIES - 1);
      // Older than the overlap, so that the next poll does not read them again.
      await process.dataSource.manager.update(
        BlacklistEntity,
        { kind: 'session' },
        { createdAt: new Date(Date.now() - 60_000) },
      );
      const heard: string[] = [];
      process.revoked.onRevoked(({ sessionId }) => heard.push(sessionId));
      const more = await write(3);
      await process.poller.poll();
      expect(heard.toSorted()).toEqual(more.toSorted());
      expect(process.revoked.size).toBeLessThanOrEqual(MAX_ENTRIES);
      expect(process.revoked.isFresh()).toBe(false);
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
      expect(process.revoked.isFresh()).toBe(false);
    });

    test('reads at most maxEntries and one more rows in a poll', async () => {
      await begin(0);
      await write(MAX_ENTRIES * 4);
      const heard: string[] = [];
      process.revoked.onRevoked(({ sessionId }) => heard.push(sessionId));
      await process.poller.poll();
      expect(heard).toHaveLength(MAX_ENTRIES + 1);
      expect(process.revoked.isFresh()).toBe(false);
    });

    test('is fresh again after a full load that finds fewer entries', async () => {
      const ids = await begin(MAX_ENTRIES + 1);
      await process.dataSource.manager.delete(BlacklistEntity, { id: ids[0] });
      await process.poller.poll();
      expect(process.revoked.isFresh()).toBe(false);
      await pollUntilFullLoad();
      expect(process.revoked.isFresh()).toBe(true);
      expect(known(ids)).toEqual(ids.slice(1));
    });
  });
});
