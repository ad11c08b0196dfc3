import { afterEach, describe, expect, test } from '@jest/globals';
import { aliasIdOf, aliasTokenOf, importedSessionId, type LegacySystem } from '../../lib/session/alias.js';
import { SessionAliasEntity } from '../../lib/session/alias.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { insertRow, newRow, startProcess, type TestProcess } from './process.js';

const SYSTEM = 'simplejwt-multisessions';

onEachDatabase((name) => {
  describe(`the aliases of imported sessions on ${name}`, () => {
    let database: TestDatabase | undefined;
    let process: TestProcess | undefined;
    afterEach(async () => {
      await process?.close();
      await database?.drop();
      process = database = undefined;
    });

    /** Stores a session with its alias, as the importer does. */
    async function imported(userId: string, oldKey: string, tokenKey: string, system: LegacySystem = SYSTEM) {
      const createdAt = Date.now() - 1000;
      const row = newRow(userId, {
        id: importedSessionId(system, oldKey, createdAt, userId),
        createdAt: new Date(createdAt),
      });
      await insertRow(process as TestProcess, row);
      const alias = Object.assign(new SessionAliasEntity(), {
        id: aliasIdOf(system, oldKey),
        system,
        oldKey,
        token: aliasTokenOf(system, tokenKey),
        userId,
        sessionId: row.id,
        importedAt: new Date(),
      });
      await (process as TestProcess).dataSource.manager.insert(SessionAliasEntity, alias);
      return row;
    }

    async function start(): Promise<TestProcess> {
      database = await createDatabase(name);
      process = await startProcess(database, { synchronize: true });
      return process;
    }

    test('find a session by its old token and by its old key, in one statement', async () => {
      const { aliases, log } = await start();
      const row = await imported('user-1', 'abc-1', 'jti-1');
      const { statements } = await log.during(async () => {
        expect(await aliases.findByToken(SYSTEM, 'jti-1')).toMatchObject({ id: row.id, userId: 'user-1' });
        expect(await aliases.findByKey(SYSTEM, 'abc-1')).toMatchObject({ id: row.id, askedAt: expect.any(Number) });
      });
      expect(statements).toHaveLength(2);
    });

    test('are scoped by system and user, and letter case matters', async () => {
      const { aliases } = await start();
      const row = await imported('user-1', 'abc-1', 'jti-1');
      expect(await aliases.findByToken('drf-jwt-devices', 'jti-1')).toBeNull();
      expect(await aliases.findByToken(SYSTEM, 'JTI-1')).toBeNull();
      expect(await aliases.findByKey(SYSTEM, 'ABC-1')).toBeNull();
      expect(await aliases.sessionIdOf(['drf-jwt-devices', SYSTEM], 'abc-1', 'user-1')).toBe(row.id);
      for (const other of ['User-1', 'user-1 ', 'user-2'])
        expect(await aliases.sessionIdOf([SYSTEM], 'abc-1', other)).toBeNull();
    });

    test('outlive their session, and are listed while it lives', async () => {
      const { aliases, dataSource } = await start();
      const row = await imported('user-1', 'abc-1', 'jti-1');
      const another = await imported('user-1', '17', 'permanent', 'drf-jwt-devices');
      await imported('user-2', 'xyz-3', 'jti-3');
      expect(await aliases.keysOfUser('user-1')).toEqual(
        new Map([
          [row.id, expect.objectContaining({ system: SYSTEM, oldKey: 'abc-1' })],
          [another.id, expect.objectContaining({ system: 'drf-jwt-devices', oldKey: '17' })],
        ]),
      );
      await dataSource.manager.delete('SessionEntity', { id: row.id });
      expect(await aliases.findByToken(SYSTEM, 'jti-1')).toBeNull();
      expect(await aliases.sessionIdOf([SYSTEM], 'abc-1', 'user-1')).toBe(row.id);
      expect([...(await aliases.keysOfUser('user-1')).keys()]).toEqual([another.id]);
    });
  });
});

test('the same old session always gets the same id, and another one another', () => {
  const id = importedSessionId(SYSTEM, 'abc-1', 1_790_000_000_123, 'alice');
  // The SHA-256 of "alice" starts with 2bd.
  expect(id).toMatch(/^01a0c450-6c7b-72bd-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(importedSessionId(SYSTEM, 'abc-1', 1_790_000_000_123, 'alice')).toBe(id);
  expect(importedSessionId(SYSTEM, 'abc-1', 1_790_000_000_124, 'alice')).not.toBe(id);
  expect(importedSessionId(SYSTEM, 'ABC-1', 1_790_000_000_123, 'alice')).not.toBe(id);
  expect(importedSessionId('drf-jwt-devices', 'abc-1', 1_790_000_000_123, 'alice')).not.toBe(id);
});
