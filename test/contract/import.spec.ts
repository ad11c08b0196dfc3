import { afterEach, describe, expect, test } from '@jest/globals';
import { ImportDatabaseError, type ImportOptions, type ImportResult, importSessions } from '../../lib/import/index.js';
import { Target } from '../../lib/import/target.js';
import type { ImportedRow, KnownAlias } from '../../lib/import/target-sql.js';
import { SessionAliasEntity } from '../../lib/session/alias.entity.js';
import { aliasTokenOf, legacyJtiOf, type LegacySystem } from '../../lib/session/alias.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, selectedDatabases } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { copyOldTable, OLD_TABLES } from '../helpers/old-tables.js';
import { type OldDatabase, type OldDatabaseName, openOldDatabase, readOldTokens } from '../helpers/old-systems.js';
import { endOfUser, NO_GRACE, startProcess, type TestProcess, tokenOf } from './process.js';

const SIMPLEJWT = 'simplejwt-multisessions';
const SESSIONS = 'simplejwt_multisessions_authenticationsession';

/** Policies under which no session of the old databases is overdue, and no user has too many. */
const POLICIES = {
  SHORT: { refreshTokenLifetime: '10y', accessTokenLifetime: '5m' },
  LONG: { refreshTokenLifetime: '20y', accessTokenLifetime: '5m' },
  DEVICE: { refreshTokenLifetime: '10y', accessTokenLifetime: '5m', permanent: true },
} as const;

const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());

/** The skipped rows of a result, without the reasons that did not occur. */
const skippedOf = ({ skipped }: ImportResult) =>
  Object.fromEntries(Object.entries(skipped).filter(([, count]) => count > 0));

onEachDatabase((name) => {
  const opened: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of opened.splice(0).reverse()) await close();
  });

  async function start(): Promise<TestProcess> {
    const database = await createDatabase(name);
    opened.push(() => database.drop());
    const process = await startProcess(database, { synchronize: true });
    opened.push(() => process.close());
    return process;
  }

  async function openOld(of: OldDatabaseName): Promise<OldDatabase> {
    const old = await openOldDatabase(of);
    opened.push(() => old.drop());
    return old;
  }

  const run = (
    { dataSource }: TestProcess,
    old: OldDatabase,
    system: LegacySystem = SIMPLEJWT,
    more: Partial<ImportOptions> = {},
  ) =>
    importSessions({ system, from: old.url, to: dataSource, ...more, config: { policies: POLICIES, ...more.config } });

  const count = ({ dataSource }: TestProcess, entity: new () => object = SessionEntity) =>
    dataSource.manager.count(entity);

  /** Sets the state that a use here leaves behind: an access token was issued. */
  const refreshHere = async ({ refreshStore, store }: TestProcess, id: string) => {
    const row = (await store.find(id)) as SessionEntity;
    const values = { ...NO_GRACE, currentType: row.type, lifetime: 8.64e15 };
    const next = { jti: 'f'.repeat(32), kid: 'ours' };
    expect(await refreshStore.rotate(tokenOf(row), next, values, { blacklistParent: false })).toBeTruthy();
  };

  describe(`the import to ${name}`, () => {
    test('of simplejwt_multisessions finds each stored session by its token and by its key', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      const result = await run(process, old);
      expect(result).toMatchObject({ read: 56, imported: 52, updated: 0, removed: 0, failed: 0, interrupted: false });
      expect(skippedOf(result)).toEqual({ expired: 4 });
      const users = await readOldTokens(SIMPLEJWT);
      const found = { live: 0, 'stored-but-expired-or-inactive': 0, gone: 0 };
      for (const { id, tokens } of users) {
        for (const { refresh, session, session_id: key, state } of tokens) {
          const { jti } = claimsOf(refresh);
          const row = await process.aliases.findByToken(SIMPLEJWT, jti);
          if (row) found[state]++;
          if (state === 'live') {
            expect(row).toMatchObject({
              userId: String(id),
              type: session,
              generation: 0,
              refreshJti: legacyJtiOf(aliasTokenOf(SIMPLEJWT, jti)),
            });
            expect(await process.aliases.findByKey(SIMPLEJWT, key)).toMatchObject({ id: row?.id });
          }
        }
      }
      expect(found).toEqual({ live: 41, 'stored-but-expired-or-inactive': 11, gone: 0 });
      const first = await process.aliases.findByKey(SIMPLEJWT, 'an91nm3nwg-1');
      expect(first).toMatchObject({
        info: 'Ωμέγα браузер 浏览器 🦊',
        createdAt: new Date('2026-08-10T10:49:41.749Z'),
        lastUpdate: new Date('2026-08-11T10:49:41.749Z'),
        expiresAt: new Date('2036-11-25T13:28:59Z'),
        refreshKid: 'legacy',
        accessLifetime: null,
        transport: null,
      });
    });

    test('of the three other systems', async () => {
      const process = await start();
      const old = await openOld('other-systems');
      const tokens = await readOldTokens('other-systems');

      expect(await run(process, old, 'drf-jwt-devices')).toMatchObject({ read: 24, imported: 24, failed: 0 });
      for (const { user_id: user, device_id: device, permanent_token: token } of tokens.jwt_devices) {
        const row = await process.aliases.findByToken('drf-jwt-devices', token);
        expect(row).toMatchObject({ userId: String(user), type: 'DEVICE' });
        expect(await process.aliases.sessionIdOf(['drf-jwt-devices'], String(device), String(user))).toBe(row?.id);
      }
      expect(await process.dataSource.manager.findOneBy(SessionEntity, { deviceName: 'Ünïcode Gerät' })).toMatchObject({
        userAgent: expect.stringContaining('Pixel 7'),
      });
      const stored = JSON.stringify(await process.dataSource.manager.find(SessionAliasEntity));
      expect(tokens.jwt_devices.filter(({ permanent_token: token }) => stored.includes(token))).toEqual([]);

      expect(await run(process, old, 'django-token-manager')).toMatchObject({ read: 18, imported: 18, failed: 0 });
      for (const { user_id: user, lookup_id: id, state } of tokens.token_manager) {
        const row = await process.aliases.findByKey('django-token-manager', String(id));
        if (state === 'live') expect(row).toMatchObject({ userId: String(user), type: 'DEVICE' });
        else expect(row).toBeNull();
      }

      const strings = await run(process, old, 'supertokens-django-ref-jwt');
      expect(strings).toMatchObject({ read: 27, imported: 20, failed: 0 });
      expect(skippedOf(strings)).toEqual({ expired: 3, 'wrong-user-id': 4 });
      const numbers = await run(await start(), old, 'supertokens-django-ref-jwt', { userIdType: 'number' });
      expect(skippedOf(numbers)).toEqual({ expired: 3, 'wrong-user-id': 20 });
      expect(numbers).toMatchObject({ imported: 4 });
      const odd = tokens.supertokens.find(({ user_id: user }) => user === '{"j": 2}');
      expect(await process.aliases.findByKey('supertokens-django-ref-jwt', odd?.handle ?? '')).toMatchObject({
        userId: '{"j": 2}',
        data: { cart: [1, 2] },
        claims: { deep: { a: [1, 2, 'ü'] } },
      });
    });

    test('can be repeated: it follows the old system, and keeps what has happened here', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      await run(process, old);
      const again = await run(process, old);
      expect(again).toMatchObject({ imported: 0, updated: 0, removed: 0 });
      expect(skippedOf(again)).toEqual({ 'already-imported': 52, expired: 4 });

      const keys = (await process.dataSource.manager.find(SessionAliasEntity, { order: { oldKey: 'ASC' } })).slice(
        0,
        6,
      );
      const [used, ended, usedAndGone, rotated, gone, expired] = keys;
      // Here: two sessions are refreshed and one is ended.
      await refreshHere(process, used.sessionId);
      await refreshHere(process, usedAndGone.sessionId);
      await process.dataSource.manager.delete(SessionEntity, { id: ended.sessionId });
      // There: one session rotates, two are deleted, one expires, and a user logs in.
      const [{ refresh }] = await old.run(`SELECT refresh FROM ${SESSIONS} WHERE session_id = ?`, [rotated.oldKey]);
      const newToken = withJti(refresh, '0123456789abcdef0123456789abcdef');
      await old.run(`UPDATE ${SESSIONS} SET refresh = ?, lastUpdateDate = ? WHERE session_id = ?`, [
        newToken,
        '2026-11-28 20:00:00',
        rotated.oldKey,
      ]);
      for (const { oldKey } of [gone, usedAndGone])
        await old.run(`DELETE FROM ${SESSIONS} WHERE session_id = ?`, [oldKey]);
      await old.run(`UPDATE ${SESSIONS} SET expiresAt = '2026-01-01' WHERE session_id = ?`, [expired.oldKey]);
      await old.run(
        `INSERT INTO ${SESSIONS} (session_id, session, refresh, expiresAt, createdAt, lastUpdateDate, info, user_id)
         SELECT 'new-1000', session, ?, expiresAt, createdAt, lastUpdateDate, NULL, user_id FROM ${SESSIONS}
         WHERE session_id = ?`,
        [withJti(refresh, 'a'.repeat(32)), rotated.oldKey],
      );

      const dry = await run(process, old, SIMPLEJWT, { dryRun: true });
      const third = await run(process, old);
      for (const result of [dry, third]) {
        expect(result).toMatchObject({ imported: 1, updated: 1, removed: 2, failed: 0 });
        expect(skippedOf(result)).toEqual({ 'already-imported': 46, 'used-here': 1, 'ended-here': 1, expired: 5 });
      }
      const { aliases, store } = process;
      expect(await aliases.findByToken(SIMPLEJWT, claimsOf(refresh).jti)).toBeNull();
      expect(await aliases.findByToken(SIMPLEJWT, claimsOf(newToken).jti)).toMatchObject({
        id: rotated.sessionId,
        refreshJti: legacyJtiOf(aliasTokenOf(SIMPLEJWT, claimsOf(newToken).jti)),
        lastUpdate: new Date('2026-11-28T20:00:00Z'),
      });
      expect(await store.find(used.sessionId)).toMatchObject({ generation: 1 });
      expect(await store.find(usedAndGone.sessionId)).toMatchObject({ generation: 1 });
      for (const { sessionId } of [gone, expired, ended]) expect(await store.find(sessionId)).toBeNull();
      expect(await aliases.findByKey(SIMPLEJWT, 'new-1000')).toMatchObject({ info: '' });
    });

    test('takes an extension for a use, because the old system may not record uses', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      const [day, now] = [86_400_000, Math.floor(Date.now() / 1000) * 1000];
      const text = (time: number) => new Date(time).toISOString().replace('T', ' ').replace('Z', '');
      const set = (key: string, expiresAt: number) =>
        old.run(
          `UPDATE ${SESSIONS} SET session = 1, createdAt = ?, lastUpdateDate = ?, expiresAt = ? WHERE session_id = ?`,
          [text(now - 100 * day), text(now - 100 * day), text(expiresAt), key],
        );
      // The first session was extended ten days ago. The second one has an expiry that this policy would never give.
      await set('an91nm3nwg-1', now + 20 * day);
      await set('xyvch3m2gg-2', now + 40 * day);
      await run(process, old, SIMPLEJWT, {
        config: { policies: { ...POLICIES, LONG: { refreshTokenLifetime: '30d', accessTokenLifetime: '5m' } } },
      });
      const { aliases } = process;
      expect((await aliases.findByKey(SIMPLEJWT, 'an91nm3nwg-1'))?.lastUpdate).toEqual(new Date(now - 10 * day));
      expect((await aliases.findByKey(SIMPLEJWT, 'xyvch3m2gg-2'))?.lastUpdate).toEqual(new Date(now - 100 * day));
    });

    test('leaves imported sessions alone after the cut-over, and still imports new ones', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      await run(process, old);
      const [first, second] = await process.dataSource.manager.find(SessionAliasEntity);
      await old.run(`DELETE FROM ${SESSIONS} WHERE session_id = ?`, [first.oldKey]);
      expect(await run(process, old, SIMPLEJWT, { cutover: true })).toMatchObject({ removed: 1, cutOver: true });
      await old.run(`UPDATE ${SESSIONS} SET lastUpdateDate = '2026-11-28' WHERE session_id = ?`, [second.oldKey]);
      await old.run(`DELETE FROM ${SESSIONS} WHERE session_id NOT IN (?, ?)`, [second.oldKey, 'x']);
      await old.run(`UPDATE ${SESSIONS} SET session_id = session_id`);
      const after = await run(process, old);
      expect(after).toMatchObject({ imported: 0, updated: 0, removed: 0, cutOver: true });
      expect(skippedOf(after)).toEqual({ 'after-cutover': 1 });
      expect(await count(process)).toBe(51);
    });

    test('a run that has begun before another one declares the cut-over changes no session afterwards', async () => {
      const process = await start();
      await run(process, await openOld(SIMPLEJWT));
      const [begun, declaring] = [1, 2].map(() => new Target(process.dataSource, SIMPLEJWT));
      const before = await count(process);
      const [ended, changed] = await begun.list('');
      const known = (await begun.find([changed.oldKey])).get(changed.id) as KnownAlias;
      const row = {} as ImportedRow;
      const change = { row, known, refreshJti: '0'.repeat(32), token: null, expiresAt: 8.64e15, lastUpdate: 0 };
      expect(await begun.isCutOver()).toBe(false);
      await Promise.all([declaring.cutOver(), begun.cutOver()]);
      expect([await begun.remove([ended]), await begun.update([change])]).toEqual([0, undefined]);
      expect(await count(process)).toBe(before);
    });

    test('imports no session that an ending of all sessions has overtaken', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      // User 1 has two sessions. All of the user's sessions end here before the first import.
      await endOfUser(process, '1');
      const result = await run(process, old);
      expect(result).toMatchObject({ imported: 50 });
      expect(skippedOf(result)).toEqual({ expired: 4, 'ended-here': 2 });
      expect(await process.store.listActive('1')).toEqual([]);
    });

    test('writes nothing in a dry run, and reports what the policies would end at once', async () => {
      const process = await start();
      const old = await openOld('other-systems');
      const config = {
        devices: true,
        policies: { DEVICE: { ...POLICIES.DEVICE, absoluteLifetime: '11y', maxActiveSessions: 2 } },
        maxActiveSessionsPerUser: 1,
      } as const;
      await old.run("UPDATE jwt_devices_device SET created = '2015-01-01' WHERE id IN (1, 3, 4)");
      const result = await run(process, old, 'drf-jwt-devices', { dryRun: true, config, cutover: true });
      expect(result).toMatchObject({ imported: 24, dryRun: true });
      const perUser: { n: number }[] = await old.run('SELECT COUNT(*) AS n FROM jwt_devices_device GROUP BY user_id');
      const above = (limit: number) => perUser.reduce((sum, { n }) => sum + Math.max(0, n - limit), 0);
      expect(above(2)).toBeGreaterThan(0);
      expect(result.endingsAtOnce).toEqual({
        lifetimes: { DEVICE: 3 },
        limits: { 'maxActiveSessions of DEVICE': above(2), maxActiveSessionsPerUser: above(1) },
      });
      expect([await count(process), await count(process, SessionAliasEntity)]).toEqual([0, 0]);
      // The dry run has not declared the cut-over either.
      expect(await run(process, old, 'drf-jwt-devices')).toMatchObject({ cutOver: false });
    });

    test('ends after the current batch if the signal says so, and continues the next time', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      const abort = new AbortController();
      const done: number[] = [];
      const onProgress = (progress: { done: number; total?: number }) => {
        expect(progress.total).toBe(56);
        done.push(progress.done);
        if (done.length === 3) abort.abort();
      };
      const first = await run(process, old, SIMPLEJWT, {
        batchSize: 7,
        signal: abort.signal,
        onProgress,
        cutover: true,
      });
      expect(first).toMatchObject({ read: 21, interrupted: true, cutOver: false });
      expect(done).toEqual([7, 14, 21]);
      const second = await run(process, old, SIMPLEJWT, { batchSize: 5 });
      expect(first.imported + second.imported).toBe(52);
      expect(skippedOf(second)).toMatchObject({ 'already-imported': first.imported });
      expect([await count(process), await count(process, SessionAliasEntity)]).toEqual([52, 52]);
    });

    test('twice at once imports each session once', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      const results = await Promise.all([3, 4].map((batchSize) => run(process, old, SIMPLEJWT, { batchSize })));
      expect(results[0].imported + results[1].imported).toBe(52);
      expect(results.map(({ failed }) => failed)).toEqual([0, 0]);
      expect([await count(process), await count(process, SessionAliasEntity)]).toEqual([52, 52]);

      // Both see that the old system has given out new tokens. Neither takes the other's update for a use of the session here.
      for (const { id, refresh } of await old.run(`SELECT id, refresh FROM ${SESSIONS}`)) {
        const [head, , tail] = refresh.split('.');
        const claims = { ...claimsOf(refresh), jti: String(id).padStart(32, '0') };
        const token = [head, Buffer.from(JSON.stringify(claims)).toString('base64url'), tail].join('.');
        await old.run(`UPDATE ${SESSIONS} SET refresh = ? WHERE id = ?`, [token, id]);
      }
      const again = await Promise.all([3, 4].map((batchSize) => run(process, old, SIMPLEJWT, { batchSize })));
      expect(again[0].updated + again[1].updated).toBe(52);
      expect(again.map(({ failed, skipped }) => [failed, skipped['used-here']])).toEqual([
        [0, 0],
        [0, 0],
      ]);
    });

    test('reports rows that cannot be imported, and imports the others', async () => {
      const process = await start();
      const old = await openOld('other-systems');
      const handles: { session_handle: string }[] = await old.run(
        "SELECT session_handle FROM refresh_token WHERE expires_at > '2030' AND user_id NOT LIKE '{%' LIMIT 4",
      );
      const set = (at: number, column: string, value: string) =>
        old.run(`UPDATE refresh_token SET ${column} = ? WHERE session_handle = ?`, [value, handles[at].session_handle]);
      await set(0, 'refresh_token_hash_2', 'no hash');
      await set(1, 'jwt_payload', '{"sid": "another session"}');
      await set(2, 'session_info', 'no JSON');
      await set(3, 'session_info', '{"nul": "a\\u0000b"}');
      const result = await run(process, old, 'supertokens-django-ref-jwt');
      expect(result).toMatchObject({ imported: 17, failed: 3 });
      expect(result.failures).toEqual(
        expect.arrayContaining([
          { oldKey: handles[0].session_handle, fault: expect.stringContaining('refresh_token_hash_2') },
          { oldKey: handles[1].session_handle, fault: expect.stringContaining('names sid') },
          { oldKey: handles[2].session_handle, fault: expect.stringContaining('session_info') },
        ]),
      );
      expect(await process.aliases.findByKey('supertokens-django-ref-jwt', handles[3].session_handle)).toMatchObject({
        data: { nul: 'a\0b' },
      });
    });

    test('does not take the session of another database of the same system for its own', async () => {
      const process = await start();
      await run(process, await openOld(SIMPLEJWT));
      const other = await openOld(SIMPLEJWT);
      await other.run(`UPDATE ${SESSIONS} SET user_id = 30 WHERE user_id = 1`);
      const result = await run(process, other);
      expect(result).toMatchObject({ imported: 0, updated: 0, failed: 2 });
      expect(await process.store.listActive('1')).toHaveLength(2);
    });

    test('names the tables and columns that are missing', async () => {
      const process = await start();
      const old = await openOld(SIMPLEJWT);
      await old.run(`ALTER TABLE ${SESSIONS} RENAME COLUMN info TO notes`);
      await old.run('DROP TABLE token_blacklist_blacklistedtoken');
      const database = await createDatabase(name);
      opened.push(() => database.drop());
      const error = await run(process, old).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(ImportDatabaseError);
      expect((error as ImportDatabaseError).faults).toEqual([
        `table ${SESSIONS} of the source lacks the columns info`,
        'the source has no table token_blacklist_blacklistedtoken',
      ]);
      await process.dataSource.query(`DROP TABLE ${process.dataSource.driver.escape('session_alias')}`);
      await expect(run(process, old, 'drf-jwt-devices')).rejects.toThrow(
        /the source has no table jwt_devices_device\n.*to: tables: the database lacks session_alias/,
      );
    });

    test('reads the tables of each system from this database too', async () => {
      const process = await start();
      const sources = [
        [SIMPLEJWT, SIMPLEJWT, 52],
        ['drf-jwt-devices', 'other-systems', 24],
        ['supertokens-django-ref-jwt', 'other-systems', 20],
        ['django-token-manager', 'other-systems', 18],
      ] as const;
      for (const [system, from, imported] of sources) {
        const table = OLD_TABLES[system];
        const old = await copyOldTable(await openOld(from), system, name);
        opened.push(() => old.drop());
        expect(await run(process, old, system)).toMatchObject({ imported, failed: 0 });
        const again = await run(process, old, system);
        expect(again).toMatchObject({ imported: 0, updated: 0, removed: 0 });
        const [alias] = await process.dataSource.manager.findBy(SessionAliasEntity, { system });
        await old.run(`DELETE FROM ${table.name} WHERE ${table.key} = '${alias.oldKey}'`);
        expect(await run(process, old, system)).toMatchObject({ imported: 0, updated: 0, removed: 1 });
        expect(await process.store.find(alias.sessionId)).toBeNull();
      }
      const first = await process.aliases.findByKey('drf-jwt-devices', '3');
      expect(first).toMatchObject({ deviceName: 'Ünïcode Gerät' });
      // 25.828976 seconds. SQLite rounds them.
      const rounded = name === 'sqlite' || name === 'sqljs' ? '829' : '828';
      expect(first?.createdAt).toEqual(new Date(`2026-11-18T17:32:25.${rounded}Z`));
    });

    if (selectedDatabases().includes('postgres')) {
      test('of rotating tokens from PostgreSQL: only the current token of a session counts, and none of the blacklist', async () => {
        const process = await start();
        const old = await openOld('simplejwt-multisessions-rotated');
        const result = await run(process, old);
        const users = await readOldTokens('simplejwt-multisessions-rotated');
        const tokens = users.flatMap((user) => user.tokens);
        const found: Record<string, number> = {};
        for (const { refresh, superseded, state } of tokens) {
          if (await process.aliases.findByToken(SIMPLEJWT, claimsOf(refresh).jti))
            found[state] = (found[state] ?? 0) + 1;
          if (superseded) expect(await process.aliases.findByToken(SIMPLEJWT, claimsOf(superseded).jti)).toBeNull();
        }
        expect(found).toMatchObject({ live: 31 });
        expect(found.gone).toBeUndefined();
        expect(result).toMatchObject({ imported: 31 + (found['stored-but-expired-or-inactive'] ?? 0), failed: 0 });

        // A token comes onto the blacklist after the import.
        const [{ refresh }] = tokens.filter(({ state }) => state === 'live');
        await old.run(
          `INSERT INTO token_blacklist_blacklistedtoken (blacklisted_at, token_id)
           SELECT now(), id FROM token_blacklist_outstandingtoken WHERE jti = $1`,
          [claimsOf(refresh).jti],
        );
        const second = await run(process, old);
        expect(second).toMatchObject({ imported: 0, removed: 1 });
        expect(skippedOf(second)).toMatchObject({ blacklisted: 1 });
        expect(await process.aliases.findByToken(SIMPLEJWT, claimsOf(refresh).jti)).toBeNull();
      });
    }
  });
});

/** Replaces the `jti` of a token. The import does not check signatures. */
function withJti(token: string, jti: string): string {
  const [header, , signature] = token.split('.');
  const payload = Buffer.from(JSON.stringify({ ...claimsOf(token), jti })).toString('base64url');
  return [header, payload, signature].join('.');
}
