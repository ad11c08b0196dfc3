import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { UnavailableError } from '../../lib/errors.js';
import { createDatabase, type DatabaseName, type TestDatabase } from '../helpers/databases.js';
import { onEachSharedDatabase } from '../helpers/matrix.js';
import { createFreely, newRow, NO_GRACE, REVOCATION, startProcess, type TestProcess, tokenOf } from './process.js';
import { isFresh } from '../helpers/fresh.js';

/** A poll has time enough on a busy machine. */
const PATIENT = { revocation: { ...REVOCATION, maxStaleness: 10_000 } };

/** Statements that raise the errors of a server that is not the primary. */
const REFUSALS: Partial<Record<DatabaseName, string[]>> = {
  postgres: ["DO $$ BEGIN RAISE EXCEPTION 'read-only' USING ERRCODE = '25006'; END $$"],
  mariadb: [1290, 1836, 1792, 1047].map(
    (errno) => `SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = ${errno}, MESSAGE_TEXT = 'the wrong server'`,
  ),
};
const CONNECTION = { postgres: 'SELECT pg_backend_pid() AS id', mariadb: 'SELECT CONNECTION_ID() AS id' };

onEachSharedDatabase((name) => {
  const refusals = REFUSALS[name];
  let testDatabase: TestDatabase;
  let first: TestProcess;
  let errors: unknown[];

  beforeAll(async () => {
    testDatabase = await createDatabase(name);
    first = await startProcess(testDatabase, { ...PATIENT, synchronize: true });
  });
  beforeEach(() => {
    errors = [];
    jest.spyOn(Logger.prototype, 'error').mockImplementation((text) => void errors.push(text));
  });
  afterEach(() => void jest.restoreAllMocks());
  afterAll(async () => {
    await first?.close();
    await testDatabase?.drop();
  });

  test('a poll of a primary leaves memory fresh, and rows available', async () => {
    await first.poller.poll();
    expect(isFresh(first.revoked)).toBe(true);
    expect(await first.store.findForCheck(newRow('nobody').id)).toBeNull();
  });

  if (!refusals) return;

  describe.each(refusals)('after %s', (refusal) => {
    const connectionOf = async (manager: EntityManager) => {
      const [{ id }] = await manager.query<[{ id: number | string }]>(CONNECTION[name as 'postgres']);
      return String(id);
    };

    test.each(['run', 'transaction'] as const)(
      '%s closes the connection, and does its work over another',
      async (how) => {
        const seen: string[] = [];
        const work = async (manager: EntityManager) => {
          seen.push(await connectionOf(manager));
          // The machine is slow, so that the second that the library has is over after the third attempt.
          if (seen.length === 3) await sleep(1000);
          if (seen.length < 4) await manager.query(refusal);
        };
        await (how === 'run' ? first.database.run(work) : first.database.transaction(undefined, work));
        expect(new Set(seen).size).toBe(4);
        expect(errors).toEqual([]);
      },
    );

    if (refusal !== refusals[0]) return;

    test('the answer is 503 if no other connection is better', async () => {
      const began = performance.now();
      await expect(first.database.run((manager) => manager.query(refusal))).rejects.toBeInstanceOf(UnavailableError);
      expect(performance.now() - began).toBeGreaterThan(900);
    });
  });

  if (name !== 'postgres') return;

  describe('a server that is read-only for a while', () => {
    const opened: TestProcess[] = [];
    /** New connections are read-only from now on, as on a standby; those that are open stay as they are. */
    const setReadOnly = async (isReadOnly: boolean) => {
      const { url } = testDatabase.options as { url: string };
      const administration = await new DataSource({
        ...testDatabase.options,
        url: url.replace(/[^/]*$/, 'postgres'),
      } as TestDatabase['options']).initialize();
      const sql = `ALTER DATABASE ${url.replace(/.*\//, '')} SET default_transaction_read_only = ${isReadOnly ? 'on' : 'off'}`;
      await administration.query(sql).finally(() => administration.destroy());
    };
    /** Starts a process whose connections are all read-only. */
    const startOnReadOnly = async () => {
      await setReadOnly(true);
      const process = await startProcess(testDatabase, PATIENT);
      opened.push(process);
      await Promise.all(Array.from({ length: 5 }, () => process.dataSource.query('SELECT pg_sleep(0.05)')));
      return process;
    };
    afterEach(async () => {
      await setReadOnly(false);
      for (const process of opened.splice(0)) await process.close();
    });

    test('writes and verdicts are 503, and come through at once when connections reach a primary', async () => {
      const row = newRow('alice');
      await createFreely(first, row);
      const process = await startOnReadOnly();
      const token = tokenOf(row);
      await expect(process.store.findForCheck(row.id)).rejects.toBeInstanceOf(UnavailableError);
      await expect(process.refreshStore.findToJudge(newRow('nobody').id)).rejects.toBeInstanceOf(UnavailableError);
      const next = { jti: newRow('alice').refreshJti, kid: 'a-key' };
      await expect(process.refreshStore.rotate(token, next, NO_GRACE)).rejects.toBeInstanceOf(UnavailableError);

      await Promise.all(Array.from({ length: 5 }, () => process.dataSource.query('SELECT pg_sleep(0.05)')));
      await setReadOnly(false);
      expect(await process.store.findForCheck(row.id)).toMatchObject({ userId: 'alice' });
      expect(await process.store.findForCheck(newRow('nobody').id)).toBeNull();
      const rotated = Array.from({ length: 10 }, async (_, at) => {
        const other = newRow(`user ${at}`);
        await createFreely(process, other);
        return process.refreshStore.rotate(tokenOf(other), { ...next, jti: newRow('x').refreshJti }, NO_GRACE);
      });
      for (const result of await Promise.all(rotated)) expect(result?.generation).toBe(1);
    });

    test('a poll that reaches it makes memory stale, and rows unavailable, until another one reaches the primary', async () => {
      const row = newRow('alice');
      await createFreely(first, row);
      const process = await startProcess(testDatabase, PATIENT);
      opened.push(process);
      await process.poller.poll();
      expect(isFresh(process.revoked)).toBe(true);
      await setReadOnly(true);
      // The connection of the poller stays on the primary until it is closed.
      await process.poller.poll();
      expect(isFresh(process.revoked)).toBe(true);
      await process.poller.stop();
      const learn = jest.spyOn(process.clock, 'learn');
      await expect(process.poller.poll()).rejects.toThrow('read-only');
      expect(learn).not.toHaveBeenCalled();
      expect(isFresh(process.revoked)).toBe(false);
      expect(process.revoked.isLoaded).toBe(true);
      // These connections still reach the primary, but nobody can know that.
      await expect(process.store.findForCheck(row.id)).rejects.toBeInstanceOf(UnavailableError);
      await expect(process.store.listActive('alice')).rejects.toBeInstanceOf(UnavailableError);

      await setReadOnly(false);
      await process.poller.poll();
      expect(isFresh(process.revoked)).toBe(true);
      expect(await process.store.findForCheck(row.id)).toMatchObject({ userId: 'alice' });
    });
  });
});
