import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { REVOCATION, startProcess, type TestProcess } from './process.js';

const BOUND = 5;
const POLLS_PER_FULL_LOAD = 60;

onEachDatabase((name) => {
  let database: TestDatabase;
  let process: TestProcess;
  const said: string[] = [];

  const write = async (count: number): Promise<string[]> => {
    const ids = Array.from({ length: count }, () => newSessionId(Date.now()));
    const expiresAt = new Date(Date.now() + 60_000);
    const entries = ids.map((id) => ({ id, sessionId: id, userId: 'alice', reason: 'logout', expiresAt }));
    await process.database.run((manager) => process.blacklist.record(manager, 'session', entries));
    return ids;
  };
  const begin = async (entries: number): Promise<string[]> => {
    database = await createDatabase(name);
    const revocation = { ...REVOCATION, maxEntries: BOUND, maxStaleness: 60_000 };
    process = await startProcess(database, { revocation, synchronize: true });
    const ids = await write(entries);
    await process.blacklist.poll();
    return ids;
  };
  const pollUntilFullLoad = async () => {
    for (let poll = 0; poll < POLLS_PER_FULL_LOAD; poll++) await process.blacklist.poll();
  };
  const known = (ids: readonly string[]) => ids.filter((id) => process.blacklist.has(id));

  beforeAll(() =>
    Logger.overrideLogger({ log: () => {}, error: () => {}, warn: (text: string) => void said.push(text) }),
  );
  afterEach(async () => {
    said.length = 0;
    await process.close();
    await database.drop();
  });

  describe('the memory for ended sessions', () => {
    test('holds as many as its bound, and is relied on', async () => {
      const ids = await begin(BOUND);
      expect([known(ids), process.blacklist.isFresh(), said]).toEqual([ids, true, []]);
    });

    test('is not relied on where there are more at the start, of which none are read', async () => {
      await begin(BOUND + 3);
      expect([process.blacklist.size, process.blacklist.isFresh()]).toEqual([0, false]);
      await pollUntilFullLoad();
      expect(process.blacklist.size).toBeLessThanOrEqual(BOUND);
      expect(process.blacklist.isFresh()).toBe(false);
      expect(said).toEqual([expect.stringContaining('more than 5 sessions')]);
    });

    test('is not relied on once there are more, which are told of all the same', async () => {
      await begin(BOUND - 1);
      // Beyond the overlap, so that the next poll reads none of them again.
      await process.dataSource.manager.update(
        BlacklistEntity,
        { kind: 'session' },
        { createdAt: new Date(Date.now() - 60_000) },
      );
      const heard: string[] = [];
      process.blacklist.onRevoked(({ sessionId }) => heard.push(sessionId));
      const more = await write(3);
      await process.blacklist.poll();
      expect(heard.toSorted()).toEqual(more.toSorted());
      expect(process.blacklist.size).toBeLessThanOrEqual(BOUND);
      expect(process.blacklist.isFresh()).toBe(false);
      expect(said).toEqual([expect.stringContaining('more than 5 sessions')]);
    });

    test('is not relied on when this process ends too many', async () => {
      await begin(BOUND);
      const expiresAt = Date.now() + 60_000;
      process.blacklist.add({ sessionId: newSessionId(Date.now()), userId: 'alice', reason: 'logout', expiresAt });
      expect(process.blacklist.isFresh()).toBe(false);
    });

    test('a poll reads no more rows than there is room for, and one', async () => {
      await begin(0);
      await write(BOUND * 4);
      const heard: string[] = [];
      process.blacklist.onRevoked(({ sessionId }) => heard.push(sessionId));
      await process.blacklist.poll();
      expect(heard).toHaveLength(BOUND + 1);
      expect(process.blacklist.isFresh()).toBe(false);
    });

    test('is whole again after a full load, when there are fewer', async () => {
      const ids = await begin(BOUND + 1);
      await process.dataSource.manager.delete(BlacklistEntity, { id: ids[0] });
      await process.blacklist.poll();
      expect(process.blacklist.isFresh()).toBe(false);
      await pollUntilFullLoad();
      expect(process.blacklist.isFresh()).toBe(true);
      expect(known(ids)).toEqual(ids.slice(1));
    });
  });
});
