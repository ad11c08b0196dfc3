import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { Engine } from '../../lib/engine/engine.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { engineOn, REVOCATION, startProcess, type TestProcess } from './process.js';

/** Polls from a full load until the next one. */
const POLLS_PER_FULL_LOAD = 60;
const MAX_READS = 6;

onEachDatabase((name) => {
  let testDatabase: TestDatabase;
  let writer: TestProcess;
  /** Another memory and its poller. */
  let reader: Engine;
  /** How often polls have read each entry since the test began. */
  let reads: Map<string, number>;

  /** Commits an entry that was written some time ago, as a transaction does that was open for so long. */
  const commit = async (age = 0, more: Partial<BlacklistEntity> = {}) => {
    const id = newSessionId(Date.now(), 'alice');
    const { database, revocations, clock } = writer;
    const expiresAt = new Date(clock.now() + 60_000);
    const entry = { id, sessionId: id, userId: 'alice', reason: 'logout', expiresAt, ...more };
    await database.run(async (manager) => {
      await revocations.record(manager, more.kind ?? 'session', [entry]);
      if (age > 0) await manager.decrement(BlacklistEntity, { id }, 'createdAt', age);
    });
    return id;
  };
  const poll = () => reader.poller.poll();
  const waitUntil = async (time: number) => {
    while (reader.clock.now() <= time) await sleep(5);
  };
  const statementsOfPoll = async () => (await writer.log.during(poll)).statements.map(({ query }) => query);

  beforeAll(async () => {
    Logger.overrideLogger(false);
    testDatabase = await createDatabase(name);
    writer = await startProcess(testDatabase, { synchronize: true });
    await writer.poller.poll();
  });
  beforeEach(async () => {
    reader = engineOn(writer.dataSource, REVOCATION);
    // The second poll reads what the first one has loaded.
    for (let time = 0; time < 2; time++) await poll();
    reads = new Map();
    const addPolled = reader.revoked.addPolled.bind(reader.revoked);
    jest.spyOn(reader.revoked, 'addPolled').mockImplementation((entries) => {
      for (const { sessionId } of entries) reads.set(sessionId, (reads.get(sessionId) ?? 0) + 1);
      addPolled(entries);
    });
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    await reader.poller.stop();
    await writer.dataSource.manager.clear(BlacklistEntity);
  });
  afterAll(async () => {
    await writer?.close();
    await testDatabase?.drop();
  });

  test('a poll without news sends one statement, and one with news sends two', async () => {
    await commit();
    expect(await statementsOfPoll()).toHaveLength(2);
    expect(await statementsOfPoll()).toHaveLength(1);
    expect(await statementsOfPoll()).toHaveLength(1);
  });

  test(`an ending is read at most ${MAX_READS} times while others follow it`, async () => {
    const ids: string[] = [];
    for (let count = 0; count < POLLS_PER_FULL_LOAD - 10; count++) {
      ids.push(await commit());
      await poll();
      await sleep(REVOCATION.pollInterval);
    }
    expect(ids.every((id) => reader.revoked.has(id))).toBe(true);
    expect(ids.every((id) => Number(reads.get(id)) >= 1)).toBe(true);
    expect(Math.max(...ids.map((id) => Number(reads.get(id))))).toBeLessThanOrEqual(MAX_READS);
  });

  describe('an entry that is committed late is seen by the next poll', () => {
    test.each([0, 200, 1000, REVOCATION.overlap - 500])('%i ms after it was written', async (age) => {
      for (let count = 0; count < 3; count++) {
        const [late, other] = [await commit(age), await commit()];
        await poll();
        expect([reader.revoked.has(late), reader.revoked.has(other)]).toEqual([true, true]);
      }
    });

    test('while another one expires and is deleted', async () => {
      const expiresAt = new Date(writer.clock.now() + 500);
      const brief = await commit(0, { expiresAt });
      await poll();
      expect(reader.revoked.has(brief)).toBe(reader.clock.now() < expiresAt.getTime());
      await waitUntil(expiresAt.getTime());
      await writer.dataSource.manager.delete(BlacklistEntity, { id: brief });
      const late = await commit(300);
      await poll();
      expect(reader.revoked.has(late)).toBe(true);
    });

    test('while another one expires and is still in the table', async () => {
      const expiresAt = new Date(writer.clock.now() + 500);
      await commit(0, { expiresAt });
      await poll();
      await waitUntil(expiresAt.getTime());
      const late = await commit(300);
      await poll();
      expect(reader.revoked.has(late)).toBe(true);
    });

    test('while memory knows others of itself or from a push, whose commits come later', async () => {
      const revoked = { userId: 'alice', reason: 'logout', expiresAt: writer.clock.now() + 60_000 };
      reader.revoked.add({ sessionId: newSessionId(Date.now(), 'alice'), ...revoked });
      reader.revoked.addPushed({ sessionId: newSessionId(Date.now(), 'alice'), ...revoked });
      const late = await commit(300);
      await poll();
      expect(reader.revoked.has(late)).toBe(true);
    });

    test('while a token is superseded', async () => {
      await commit();
      await poll();
      await commit(300, { kind: 'token' });
      expect(await statementsOfPoll()).toHaveLength(1);
    });

    test('after an operator has deleted an entry', async () => {
      const deleted = await commit();
      await poll();
      await writer.dataSource.manager.delete(BlacklistEntity, { id: deleted });
      await poll();
      const late = await commit(300);
      await poll();
      expect(reader.revoked.has(late)).toBe(true);
    });

    test('after a poll that has failed, although a restart of the server has lost an entry', async () => {
      const lost = await commit();
      await poll();
      await writer.dataSource.manager.delete(BlacklistEntity, { id: lost });
      const late = await commit();
      const learn = jest.spyOn(reader.clock, 'learn').mockImplementation(() => {
        throw new Error('the connection was lost');
      });
      await expect(poll()).rejects.toThrow();
      learn.mockRestore();
      await poll();
      expect(reader.revoked.has(late)).toBe(true);
    });
  });
});
