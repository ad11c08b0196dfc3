import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';
import { SessionLimitReachedError, ServerFaultError, UnavailableError } from '../../lib/errors.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { NEVER, SessionEntity } from '../../lib/session/session.entity.js';
import type { ShownRow } from '../../lib/session/session.js';
import type { PolicyValues } from '../../lib/session/policy.js';
import type { RefreshedRow } from '../../lib/session/refresh-store.js';
import { newSessionId } from '../../lib/session/id.js';
import type { EndedSession } from '../../lib/session/change-log.js';
import type { EndingOfUser } from '../../lib/session/ending-store.js';
import type { ChooseEvicted } from '../../lib/session/login-store.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import {
  ACCEPTED_AFTER_END,
  createFreely,
  createUnder,
  endOfUser,
  engineOn,
  granted,
  insertRow,
  newJti,
  newLogin,
  newRow,
  NO_GRACE,
  REVOCATION,
  startProcesses,
  type TestProcess,
  tokenOf,
  shown,
} from './process.js';

const GRACE = { ...NO_GRACE, rotationPause: 10_000 };
const BLACKLIST = { blacklistParent: true };
const TYPES = ['LONG', 'SHORT'];

/** Returns the values that a new generation writes. */
const next = (more = {}) => ({ jti: newJti(), kid: 'another-key', ...more });

const destroyOldest =
  (limit: number): ChooseEvicted =>
  (active) =>
    active.slice(0, Math.max(0, active.length + 1 - limit));

const refuse =
  (limit: number): ChooseEvicted =>
  (active) => {
    if (active.length >= limit) throw new SessionLimitReachedError();
    return [];
  };

const all = (active: ShownRow[]) => active;

/** Whether a login was refused because an ending of the user's sessions has overtaken it. */
const isOvertaken = (error: unknown) =>
  error instanceof UnavailableError && /sessions of the user were ended/.test(String(error.cause));

onEachDatabase((name) => {
  const rotationIsOneStatement = name !== 'mariadb';
  let testDatabase: TestDatabase;
  let processes: TestProcess[];
  let { store, loginStore, refreshStore, endingStore, cleanupStore, log, dataSource, clock } = {} as TestProcess;

  const create = async (userId: string, more: Partial<SessionEntity> = {}) => {
    const row = newRow(userId, more);
    await insertRow(processes[0], row);
    return row;
  };
  const entryOf = (row: SessionEntity) => dataSource.manager.findOneBy(BlacklistEntity, { id: row.id });
  const found = async (row: Pick<SessionEntity, 'id'>) => {
    const stored = await store.find(row.id);
    if (!stored) throw new Error('the session is gone');
    return stored;
  };
  const processInTurn = (at: number) => processes[at % processes.length];
  const rotatedAgo = (row: SessionEntity, ago: number) =>
    dataSource.manager.update(SessionEntity, { id: row.id }, { rotatedAt: new Date(clock.now() - ago - 1000) });

  beforeAll(async () => {
    // These tests provoke errors, which would fill the log.
    Logger.overrideLogger(false);
    testDatabase = await createDatabase(name);
    processes = await startProcesses(testDatabase, 4);
    ({ store, loginStore, refreshStore, endingStore, cleanupStore, log, dataSource, clock } = processes[0]);
    await Promise.all(processes.map((process) => process.poller.poll()));
  });
  afterAll(async () => {
    for (const process of processes ?? []) await process.close();
    await testDatabase?.drop();
  });

  describe('a stored session', () => {
    test('is read back unchanged, to the millisecond and the character', async () => {
      const row = newRow('alice', {
        createdAt: new Date('2026-03-29T01:30:00.001Z'),
        lastUpdate: new Date('2026-10-25T01:30:00.999Z'),
        rotatedAt: new Date('1970-01-01T00:00:00.001Z'),
        expiresAt: new Date('2126-01-01T00:00:00.000Z'),
        absoluteExpiresAt: new Date('2126-02-28T23:59:59.000Z'),
        info: 'Zoë\'s 📱 «phone» \\ \n\t % _ "quoted" ${x} :id ? $1',
        userAgent: 'ü'.repeat(512),
        ipAddress: '2001:db8::1',
        deviceName: '📱'.repeat(255),
        data: { nested: { list: [1, null, '📱'] } },
        claims: { role: 'admin' },
        parentGeneration: 0,
        parentJti: newJti(),
        generation: 2_000_000_000,
        confirmedGeneration: 1,
      });
      await insertRow(processes[0], row);
      expect(await store.find(row.id)).toEqual(row);
      // An update that returns the row maps it by other code than a query.
      const { lastUpdate, confirmedGeneration } = row;
      const touched = await refreshStore.touch(tokenOf(row), {}, { ...NO_GRACE, lifetime: 100 * 365 * 86_400_000 });
      expect(touched).toBeInstanceOf(SessionEntity);
      expect(touched).toEqual({ ...granted(row), lastUpdate: touched?.lastUpdate });
      expect(await store.find(row.id)).toEqual({ ...row, ...touched, confirmedGeneration: row.generation });
      expect(touched?.lastUpdate).not.toEqual(lastUpdate);
      expect(confirmedGeneration).not.toBe(row.generation);
    });

    test('can have a large text', async () => {
      const row = await create('alice', { info: 'x📱'.repeat(5000) });
      expect((await found(row)).info).toBe(row.info);
    });

    test('is found only by its exact id; text that is not a lower-case UUID sends no query', async () => {
      const row = await create('alice');
      const { statements } = await log.during(async () => {
        for (const id of [
          '',
          '1',
          row.id.toUpperCase(),
          `${row.id} `,
          ` ${row.id}`,
          `${row.id}\n`,
          "' OR 1=1 --",
          '%',
        ]) {
          expect(await store.find(id)).toBeNull();
        }
      });
      expect(statements).toEqual([]);
      expect(await store.find(newSessionId(Date.now(), 'alice'))).toBeNull();
      expect(await store.find(row.id)).toEqual(row);
    });

    test('is listed whatever its type, oldest first, unless it has expired or is only prepared', async () => {
      const now = clock.now();
      const second = await create('lister', { createdAt: new Date(now - 1000) });
      const first = await create('lister', { createdAt: new Date(now - 2000), type: 'SHORT' });
      await create('lister', { expiresAt: new Date(now - 1000) });
      await create('lister', { preparedAt: new Date(now), expiresAt: NEVER });
      const third = await create('lister', { type: 'REMOVED', createdAt: new Date(now) });
      const { statements, result } = await log.during(() => store.listActive('lister'));
      expect(result).toEqual([shown(first), shown(second), shown(third)]);
      expect(statements).toHaveLength(1);
      expect(await store.listActive('nobody')).toEqual([]);
    });
  });

  test('user ids are compared byte for byte: similar ids never share sessions', async () => {
    const userIds = [
      ...['bob', 'Bob', 'BOB', 'bob ', ' bob', 'bob  ', 'böb', 'bo\u0308b', 'BÖB', 'bób', 'bob\u200b', 'bob\t'],
      ...[
        '📱',
        '📲',
        'ß',
        'ss',
        'ﬀ',
        'ff',
        'ı',
        'i',
        'I',
        '%',
        '_',
        'b_b',
        'b%',
        "b'b",
        'b"b',
        'b`b',
        'b\\b',
        'b\\\\b',
      ],
      ...[
        '1',
        '01',
        '1.0',
        '1e0',
        '+1',
        '0x1',
        ' 1',
        'null',
        'NULL',
        'true',
        '{"a":1}',
        '{"a": 1}',
        '[]',
        '":id"',
        '?',
        '$1',
      ],
      ...['x'.repeat(254), 'x'.repeat(255), 'é'.repeat(255)],
    ];
    const rows = new Map<string, SessionEntity>();
    for (const userId of userIds) {
      const row = newRow(userId);
      // With a limit of one, two ids that compare as equal would evict each other's session.
      expect(await createUnder(processes[0], row, destroyOldest(1))).toEqual([]);
      rows.set(userId, row);
    }
    for (const userId of userIds)
      expect(await store.listActive(userId)).toEqual([shown(rows.get(userId) as SessionEntity)]);
    for (const userId of userIds) {
      expect(await endOfUser(processes[0], userId)).toEqual([
        expect.objectContaining({ row: rows.get(userId) as SessionEntity, reason: 'destroyed' }),
      ]);
    }
  });

  describe('rotate', () => {
    test('sends one statement if an update can return the row, else two', async () => {
      const row = await create('alice');
      const client = { ipAddress: '203.0.113.7', userAgent: 'UA', deviceName: 'Pixel 9' };
      const successor = next({ client });
      const extending = { ...NO_GRACE, extendBelow: 8.64e15, lifetime: 7_200_000, accessSeconds: 600 };
      const { statements, result } = await log.during(() => refreshStore.rotate(tokenOf(row), successor, extending));
      expect(statements).toHaveLength(rotationIsOneStatement ? 1 : 2);
      const { rotatedAt, lastUpdate, expiresAt } = result as RefreshedRow;
      const expected: SessionEntity = {
        ...row,
        ...client,
        generation: 1,
        parentGeneration: 0,
        refreshJti: successor.jti,
        parentJti: row.refreshJti,
        refreshKid: 'another-key',
        accessLifetime: 600,
        rotatedAt,
        lastUpdate,
        expiresAt,
      };
      expect(result).toEqual(granted(expected));
      expect(await store.find(row.id)).toEqual(expected);
      expect(Math.abs(rotatedAt.getTime() - clock.now())).toBeLessThan(1000);
      expect(lastUpdate).toEqual(rotatedAt);
      // An expiry is in whole seconds, so that it equals the token's.
      expect(expiresAt.getTime()).toBe(Math.floor((rotatedAt.getTime() + 7_200_000) / 1000) * 1000);
    });

    test('leaves lastUpdate unchanged if the policy says so, and confirms the previous generation', async () => {
      const row = await create('alice', { generation: 7 });
      const rotated = await refreshStore.rotate(tokenOf(row), next(), { ...NO_GRACE, setsLastUpdate: 0 });
      expect(rotated).toMatchObject({ generation: 8, lastUpdate: row.lastUpdate });
      expect(await found(row)).toMatchObject({ confirmedGeneration: 7 });
    });

    test('returns null for another jti, another type, an unknown or expired session, and during the grace', async () => {
      const row = await create('alice');
      const token = tokenOf(row);
      expect(await refreshStore.rotate({ ...token, jti: newJti() }, next(), NO_GRACE)).toBeNull();
      expect(await refreshStore.rotate({ ...token, type: 'SHORT' }, next(), NO_GRACE)).toBeNull();
      expect(await refreshStore.rotate({ ...token, generation: 1 }, next(), NO_GRACE)).toBeNull();
      expect(
        await refreshStore.rotate({ ...token, sessionId: newSessionId(Date.now(), 'alice') }, next(), NO_GRACE),
      ).toBeNull();
      const expired = await create('alice', { expiresAt: new Date(clock.now() - 1) });
      expect(await refreshStore.rotate(tokenOf(expired), next(), NO_GRACE)).toBeNull();
      const rotated = (await refreshStore.rotate(token, next(), GRACE)) as RefreshedRow;
      expect(await refreshStore.rotate(tokenOf(rotated), next(), GRACE)).toBeNull();
      expect(await store.find(row.id)).toMatchObject(rotated);
      await rotatedAgo(row, 10_000);
      expect(await refreshStore.rotate(tokenOf(rotated), next(), GRACE)).not.toBeNull();
    });

    test('extends a session if less remains than the policy says, never beyond a bound, and never shortens it', async () => {
      const HOUR = 3_600_000;
      const now = clock.now();
      const inHours = (hours: number) => new Date(Math.floor(now / 1000) * 1000 + hours * HOUR);
      const left = async (more: Partial<SessionEntity>, policy: Partial<PolicyValues>) => {
        const row = await create('extended', { createdAt: new Date(now - HOUR), ...more });
        const rotated = await refreshStore.rotate(tokenOf(row), next(), { ...NO_GRACE, lifetime: 5 * HOUR, ...policy });
        return rotated && Math.round((rotated.expiresAt.getTime() - now) / HOUR);
      };
      const always = { extendBelow: 8.64e15 };
      expect(await left({ expiresAt: inHours(3) }, { extendBelow: 2 * HOUR })).toBe(3);
      expect(await left({ expiresAt: inHours(1) }, { extendBelow: 2 * HOUR })).toBe(5);
      expect(await left({ expiresAt: inHours(1) }, always)).toBe(5);
      expect(await left({ expiresAt: inHours(1), absoluteExpiresAt: inHours(2) }, always)).toBe(2);
      expect(await left({ expiresAt: inHours(4), absoluteExpiresAt: inHours(2) }, always)).toBe(4);
      // The bound of the policy applies to a session that began before the policy had one.
      expect(await left({ expiresAt: inHours(1) }, { ...always, absoluteLifetime: 4 * HOUR })).toBe(3);
      expect(await left({ expiresAt: inHours(9) }, always)).toBe(9);
      // A policy that does not rotate begins a new generation only to extend.
      expect(await left({ expiresAt: inHours(3) }, { extendBelow: 2 * HOUR, onlyExtends: 1 })).toBeNull();
      expect(await left({ expiresAt: inHours(1) }, { extendBelow: 2 * HOUR, onlyExtends: 1 })).toBe(5);
      expect(
        await left({ expiresAt: inHours(1), absoluteExpiresAt: inHours(1) }, { ...always, onlyExtends: 1 }),
      ).toBeNull();
    });

    test('writes the type in the spelling of the options', async () => {
      const row = await create('alice', { type: 'long' });
      const rotated = await refreshStore.rotate(tokenOf(row), next(), NO_GRACE);
      expect(rotated).toMatchObject({ type: 'LONG' });
      expect(await refreshStore.rotate(tokenOf(rotated as RefreshedRow), next(), NO_GRACE)).not.toBeNull();
    });

    test('succeeds for one of twenty concurrent calls, and returns the generation of that call', async () => {
      const row = await create('alice');
      const racers = Array.from({ length: 20 }, () => next());
      const answers = await Promise.all(
        racers.map((racer, at) => processInTurn(at).refreshStore.rotate(tokenOf(row), racer, NO_GRACE)),
      );
      const winners = racers.filter((_, at) => answers[at]);
      expect(winners).toHaveLength(1);
      expect(answers.find(Boolean)?.refreshJti).toBe(winners[0].jti);
      expect(await store.find(row.id)).toMatchObject({ refreshJti: winners[0].jti, generation: 1 });
    });

    test('never returns a later generation, even if another rotation follows at once', async () => {
      for (let round = 0; round < 15; round++) {
        const row = await create('alice');
        const first = next();
        const second = next();
        const chase = async () => {
          for (let attempt = 0; attempt < 50; attempt++) {
            const token = { ...tokenOf(row), jti: first.jti, generation: 1 };
            if (await processes[1].refreshStore.rotate(token, second, NO_GRACE)) return;
          }
        };
        const [answer] = await Promise.all([refreshStore.rotate(tokenOf(row), first, NO_GRACE), chase()]);
        if (answer) expect(answer.refreshJti).toBe(first.jti);
      }
    });

    test('writes the superseded token to the blacklist if asked to', async () => {
      const row = await create('alice');
      await refreshStore.rotate(tokenOf(row), next(), NO_GRACE, BLACKLIST);
      expect(await refreshStore.rotate(tokenOf(row), next(), NO_GRACE, BLACKLIST)).toBeNull();
      expect(await dataSource.manager.findBy(BlacklistEntity, { sessionId: row.id })).toEqual([
        expect.objectContaining({
          id: row.refreshJti,
          kind: 'token',
          userId: 'alice',
          reason: 'rotated',
          expiresAt: row.expiresAt,
        }),
      ]);
    });
  });

  describe('recover', () => {
    const rotated = async () => {
      const row = await create('alice');
      return (await refreshStore.rotate(tokenOf(row), next(), NO_GRACE)) as RefreshedRow;
    };

    test('replaces the lost successor and keeps its parent', async () => {
      const row = await rotated();
      const successor = next();
      const recovered = (await refreshStore.recover(row, successor, NO_GRACE)) as RefreshedRow;
      const { rotatedAt, lastUpdate } = recovered;
      expect(recovered).toEqual({ ...row, generation: 2, refreshJti: successor.jti, rotatedAt, lastUpdate });
      expect(rotatedAt.getTime()).toBeGreaterThanOrEqual(row.rotatedAt.getTime());
    });

    test('returns null once the current generation has been used', async () => {
      const row = await rotated();
      await refreshStore.confirm([{ sessionId: row.id, generation: 1 }]);
      expect(await refreshStore.recover(row, next(), NO_GRACE)).toBeNull();
      expect(await found(row)).toMatchObject({ refreshJti: row.refreshJti, confirmedGeneration: 1 });
    });

    test('succeeds for one of twenty concurrent calls', async () => {
      const row = await rotated();
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, at) => processInTurn(at).refreshStore.recover(row, next(), NO_GRACE)),
      );
      expect(answers.filter(Boolean)).toHaveLength(1);
    });
  });

  describe('touch', () => {
    test('sets lastUpdate and confirms the generation, only for the current token', async () => {
      const row = await create('alice', { generation: 3, lastUpdate: new Date(clock.now() - 60_000) });
      const { statements, result } = await log.during(() => refreshStore.touch(tokenOf(row), {}, NO_GRACE));
      expect(statements).toHaveLength(rotationIsOneStatement ? 1 : 2);
      expect(await found(row)).toMatchObject({ confirmedGeneration: 3 });
      expect(Math.abs((result as RefreshedRow).lastUpdate.getTime() - clock.now())).toBeLessThan(1000);
      expect(await refreshStore.touch({ ...tokenOf(row), jti: newJti() }, {}, NO_GRACE)).toBeNull();
      const expired = await create('alice', { expiresAt: new Date(clock.now() - 1) });
      expect(await refreshStore.touch(tokenOf(expired), {}, NO_GRACE)).toBeNull();
    });

    test('returns the row even if the update changes nothing', async () => {
      const row = await create('alice');
      expect(await refreshStore.touch(tokenOf(row), { isHandedOutAgain: true }, NO_GRACE)).toEqual(granted(row));
      expect(await refreshStore.touch(tokenOf(row), { isHandedOutAgain: true }, NO_GRACE)).toEqual(granted(row));
    });

    test('records the client, and when another client was seen', async () => {
      const office = { ipAddress: '203.0.113.7', userAgent: 'Firefox', deviceName: 'PC' };
      const row = await create('alice', { ...office, generation: 1 });
      const use = async (client: Partial<typeof office> = {}) =>
        (await refreshStore.touch(
          tokenOf(row),
          { client: { ...office, deviceName: null, ...client }, wantsPreviousClient: true },
          NO_GRACE,
        )) as RefreshedRow;
      expect(await use()).toMatchObject({ ...office, clientChangedAt: null });
      expect(await use({ ipAddress: '203.0.113.200' })).toMatchObject({
        ipAddress: '203.0.113.200',
        clientChangedAt: null,
      });
      const moved = await use({ ipAddress: '198.51.100.1' });
      expect(moved).toMatchObject({ ipAddress: '198.51.100.1', clientChangedAt: expect.any(Date) });
      const previous = { ...office, ipAddress: '203.0.113.200' };
      expect(moved.previousClient).toEqual(name === 'postgres' ? previous : undefined);
      expect((await use({ ipAddress: '198.51.100.1' })).clientChangedAt).toEqual(moved.clientChangedAt);
      await sleep(5);
      const other = await use({ ipAddress: '198.51.100.1', userAgent: 'curl', deviceName: 'Pi' });
      expect(other).toMatchObject({ userAgent: 'curl', deviceName: 'Pi' });
      expect(other.clientChangedAt?.getTime()).toBeGreaterThan(moved.clientChangedAt?.getTime() as number);
    });
  });

  test('confirm writes a batch in one statement, and only generations that are current', async () => {
    const rows = await Promise.all(Array.from({ length: 200 }, () => create('alice', { generation: 5 })));
    const batch = rows.map((row, at) => ({ sessionId: row.id, generation: at === 0 ? 4 : at === 1 ? 6 : 5 }));
    const confirmedAlready = rows[2];
    await refreshStore.touch(tokenOf(confirmedAlready), {}, NO_GRACE);
    const { statements } = await log.during(() => refreshStore.confirm(batch));
    expect(statements).toHaveLength(1);
    const confirmed = await Promise.all(rows.map(async (row) => (await found(row)).confirmedGeneration));
    expect(confirmed).toEqual([0, 0, ...Array.from({ length: 198 }, () => 5)]);
  });

  describe('create under a limit', () => {
    test('lets concurrent logins all succeed, and never shows more sessions than the limit', async () => {
      const limit = 3;
      let most = 0;
      let racing = true;
      const look = async () => (most = Math.max(most, (await processes[3].store.listActive('racer')).length));
      const watch = async () => {
        while (racing) await look().then(() => sleep(1));
      };
      const watching = watch();
      const logins = await Promise.allSettled(
        Array.from({ length: 50 }, async (_, at) => {
          await sleep(at % 5 ? 0 : Math.random() * 100);
          return createUnder(processInTurn(at), newRow('racer'), destroyOldest(limit));
        }),
      );
      racing = false;
      await watching;
      await look();
      expect(logins.filter((login) => login.status === 'rejected')).toEqual([]);
      expect(most).toBe(limit);
      expect(await store.listActive('racer')).toHaveLength(limit);
      expect(await dataSource.manager.countBy(BlacklistEntity, { userId: 'racer', reason: 'evicted' })).toBe(
        50 - limit,
      );
    });

    test('lets exactly as many logins succeed as the limit allows, if a full limit refuses them', async () => {
      const logins = await Promise.allSettled(
        Array.from({ length: 30 }, (_, at) => createUnder(processInTurn(at), newRow('refused'), refuse(4))),
      );
      const errors = logins.flatMap((login) => (login.status === 'rejected' ? [login.reason] : []));
      expect(errors).toHaveLength(26);
      for (const error of errors) expect(error).toBeInstanceOf(SessionLimitReachedError);
      expect(await store.listActive('refused')).toHaveLength(4);
    });

    test('chooses among the active sessions of every type, without expired and prepared ones', async () => {
      const short = await create('apart', { type: 'SHORT', createdAt: new Date(Date.now() - 1000) });
      await create('apart', { expiresAt: new Date(Date.now() - 1000) });
      await create('apart', { preparedAt: new Date(), expiresAt: NEVER });
      const offered: string[][] = [];
      const refuseSecondLong: ChooseEvicted = (active) => {
        offered.push(active.map(({ id, type }) => `${type} ${id}`));
        return refuse(1)(active.filter(({ type }) => type === 'LONG'));
      };
      const first = newRow('apart');
      await createUnder(processes[0], first, refuseSecondLong);
      const second = createUnder(processes[0], newRow('apart'), refuseSecondLong);
      await expect(second).rejects.toBeInstanceOf(SessionLimitReachedError);
      expect(offered).toEqual([[`SHORT ${short.id}`], [`SHORT ${short.id}`, `LONG ${first.id}`]]);
    });

    test('stores and evicts nothing if the chooser throws or the insert fails', async () => {
      const old = await create('unlucky');
      const refused = createUnder(processes[0], newRow('unlucky'), refuse(1));
      await expect(refused).rejects.toBeInstanceOf(SessionLimitReachedError);
      // The id is taken, so the insert fails. The eviction of the old session must be undone.
      const taken = newRow('unlucky', { id: (await create('lucky')).id });
      const failed = createUnder(processes[0], taken, destroyOldest(1));
      await expect(failed).rejects.toBeInstanceOf(ServerFaultError);
      expect(await store.listActive('unlucky')).toEqual([shown(old)]);
      expect(await entryOf(old)).toBeNull();
    });
  });

  describe('end', () => {
    test('replaces the row by a blacklist entry', async () => {
      const row = await create('alice');
      const before = clock.now();
      expect(await endingStore.end(row, 'logout')).toMatchObject({ row: shown(row), reason: 'logout' });
      const after = clock.now();
      expect(await store.find(row.id)).toBeNull();
      const entry = (await entryOf(row)) as BlacklistEntity;
      expect(entry).toMatchObject({ kind: 'session', sessionId: row.id, userId: 'alice', reason: 'logout' });
      // The entry has the database's time, which this process knows only to a few milliseconds.
      expect(entry.expiresAt.getTime()).toBeGreaterThan(before + ACCEPTED_AFTER_END - 50);
      expect(entry.expiresAt.getTime()).toBeLessThan(after + ACCEPTED_AFTER_END + 50);
      expect(Math.abs(entry.createdAt.getTime() - before)).toBeLessThan(1000);
    });

    test('does nothing unless its condition holds: the current token, or the expiry', async () => {
      const row = await create('alice');
      expect(await endingStore.end(row, 'mismatch', { jti: newJti() })).toBeUndefined();
      expect(await endingStore.end(row, 'expired', { hasExpired: true })).toBeUndefined();
      expect(await store.find(row.id)).toEqual(row);
      expect(await entryOf(row)).toBeNull();
      expect(await endingStore.end(row, 'mismatch', { jti: row.refreshJti })).toBeDefined();
    });

    test('writes no entry for an expired session', async () => {
      const row = await create('alice', { expiresAt: new Date(clock.now() - 1) });
      expect(await endingStore.end(row, 'expired', { hasExpired: true })).toBeDefined();
      expect(await entryOf(row)).toBeNull();
    });

    test('succeeds for one of twenty concurrent calls', async () => {
      const row = await create('alice');
      const ended = await Promise.all(
        Array.from({ length: 20 }, (_, at) => processInTurn(at).endingStore.end(row, 'logout')),
      );
      expect(ended.filter(Boolean)).toHaveLength(1);
    });

    test('keeps the session if the blacklist entry cannot be written', async () => {
      const row = await create('neither');
      const table = dataSource.driver.escape(dataSource.getMetadata(BlacklistEntity).tableName);
      const away = dataSource.driver.escape('blacklist_away');
      await dataSource.query(`ALTER TABLE ${table} RENAME TO ${away}`);
      try {
        await expect(endingStore.end(row, 'logout')).rejects.toBeInstanceOf(ServerFaultError);
        await expect(endOfUser(processes[0], 'neither')).rejects.toBeInstanceOf(ServerFaultError);
        await expect(endingStore.endSome('neither', 'destroyed', all)).rejects.toBeInstanceOf(ServerFaultError);
        const evicting = createUnder(processes[0], newRow('neither'), destroyOldest(1));
        await expect(evicting).rejects.toBeInstanceOf(ServerFaultError);
      } finally {
        await dataSource.query(`ALTER TABLE ${away} RENAME TO ${table}`);
      }
      expect(await store.listActive('neither')).toEqual([shown(row)]);
      expect(await endingStore.end(row, 'logout')).toBeDefined();
    });
  });

  test('endOfUser during concurrent logins leaves each session either live or ended, or refuses its login', async () => {
    const rows = Array.from({ length: 30 }, () => newRow('contended'));
    const ended: EndedSession[] = [];
    const refused = new Set<string>();
    const login = async (row: SessionEntity, at: number) => {
      // Some start while the endings run, and some before.
      await sleep(at % 3 ? Math.random() * 50 : 0);
      const evicted = await createUnder(processInTurn(at), row, destroyOldest(5)).catch((error: unknown) => {
        if (!isOvertaken(error)) throw error;
        refused.add(row.id);
        return [];
      });
      ended.push(...evicted);
    };
    const endings = Array.from({ length: 8 }, async (_, at) => {
      await sleep(at % 2 ? Math.random() * 50 : 0);
      ended.push(...(await endOfUser(processInTurn(at), 'contended')));
    });
    await Promise.all([...rows.map(login), ...endings]);
    // PostgreSQL rounds the time of an ending up.
    await sleep(2);
    const last = newRow('contended');
    ended.push(...(await createUnder(processes[0], last, destroyOldest(5))));
    const endedIds = ended.map((one) => one.row.id);
    const liveIds = (await store.listActive('contended')).map((row) => row.id);
    const inserted = rows.filter((row) => !refused.has(row.id));
    expect([...endedIds, ...liveIds].sort()).toEqual([...inserted, last].map((row) => row.id).sort());
    const entries = await dataSource.manager.findBy(BlacklistEntity, { userId: 'contended' });
    expect(entries.map((entry) => entry.id).sort()).toEqual(endedIds.sort());
  });

  test('endSome and endOfUser change nothing if their check throws', async () => {
    const startedAt = Date.now();
    const row = await create('kept');
    const refusal = () => {
      throw new SessionLimitReachedError();
    };
    await expect(endingStore.endSome('kept', 'destroyed', refusal)).rejects.toBeInstanceOf(SessionLimitReachedError);
    const ending = endOfUser(processes[0], 'kept', { assertKept: refusal });
    await expect(ending).rejects.toBeInstanceOf(SessionLimitReachedError);
    expect(await store.find(row.id)).toEqual(row);
    // Logins that started before are not refused either.
    await loginStore.create(newLogin(newRow('kept'), { startedAt }), {
      chooseEvicted: () => [],
      limit: { sessions: 10, isExact: true },
    });
  });

  describe('endOfUser with a session to keep', () => {
    const kept = (row: SessionEntity, ending: Partial<EndingOfUser> = {}) => {
      const assertKept = (found: ShownRow | undefined) => {
        if (!found) throw new SessionLimitReachedError();
      };
      return endOfUser(processes[0], row.userId, { except: row.id, assertKept, ...ending });
    };

    test('finds it even if it is of another type', async () => {
      const [row, other] = [await create('keeper'), await create('keeper', { type: 'SHORT' })];
      expect((await kept(row, { types: ['SHORT'] })).map((one) => one.row.id)).toEqual([other.id]);
      expect(await store.listActive('keeper')).toEqual([shown(row)]);
    });

    test('finds it even if it is in a later transaction', async () => {
      const many = Array.from({ length: 1005 }, () => newRow('crowd'));
      for (let at = 0; at < many.length; at += 201)
        await dataSource.manager.insert(
          SessionEntity,
          // TypeORM changes the objects that it inserts.
          many.slice(at, at + 201).map((row) => ({ ...row })) as QueryDeepPartialEntity<SessionEntity>[],
        );
      const row = [...many].sort((a, b) => (a.id < b.id ? -1 : 1))[1003];
      expect(await kept(row)).toHaveLength(1004);
      expect((await store.listActive('crowd')).map(({ id }) => id)).toEqual([row.id]);
    });

    test('ends nothing if the session is of another user, or has ended', async () => {
      const [mine, foreign] = [await create('cautious'), await create('foreign')];
      const gone = await create('cautious', { expiresAt: new Date(Date.now() - 1000) });
      for (const row of [{ ...foreign, userId: 'cautious' }, gone, { ...gone, id: 'no id' }])
        await expect(kept(row)).rejects.toBeInstanceOf(SessionLimitReachedError);
      expect(await store.listActive('cautious')).toEqual([shown(mine)]);
      expect(await store.listActive('foreign')).toEqual([shown(foreign)]);
    });
  });

  test('endSome ends the sessions that it chooses, and no others', async () => {
    const [first, second, third] = [3, 2, 1].map((age) => newRow('some', { createdAt: new Date(Date.now() - age) }));
    for (const row of [first, second, third]) await insertRow(processes[0], row);
    const ended = await endingStore.endSome('some', 'destroyed', (active) => active.slice(1));
    expect(ended.map((one) => one.row.id)).toEqual([second, third].map((row) => row.id).sort());
    expect(await store.listActive('some')).toEqual([shown(first)]);
  });

  test('a key is in use if a session on any page needs it that has not expired', async () => {
    await create('keys', { refreshKid: 'of-the-first', createdAt: new Date(1) });
    for (let at = 0; at < 5; at++) await create('keys', { refreshKid: 'of-others' });
    await create('keys', { refreshKid: 'of-the-last' });
    await create('keys', { refreshKid: 'of-an-expired-one', expiresAt: new Date(clock.now() - 1000) });
    const inUse = async (kid: string) => [await store.isKeyInUse(kid, 2), await store.isKeyInUse(kid)];
    expect(await inUse('of-the-first')).toEqual([true, true]);
    expect(await inUse('of-the-last')).toEqual([true, true]);
    expect(await inUse('of-an-expired-one')).toEqual([false, false]);
    expect(await inUse('of-none')).toEqual([false, false]);
  });

  describe('cleaning up', () => {
    /**
     * Runs the cleanup on two processes at once, until neither finds any more sessions.
     *
     * @returns how often each session was ended, by id, and the size of each batch
     */
    const cleanUp = async (batch: (process: TestProcess) => ReturnType<TestProcess['cleanupStore']['endExpired']>) => {
      const endings = new Map<string, number>();
      const sizes: number[] = [];
      let refused = 0;
      const worker = async (process: TestProcess) => {
        for (let idle = 0; idle < 3;) {
          const reviewed = await batch(process);
          const ended = reviewed?.ended;
          if (!ended) refused++;
          if (!ended?.length) idle++;
          else sizes.push(ended.length);
          for (const { row } of ended ?? []) endings.set(row.id, (endings.get(row.id) ?? 0) + 1);
          if (!ended) await sleep(5);
        }
      };
      await Promise.all([worker(processes[0]), worker(processes[1])]);
      while ((await batch(processes[0]))?.ended.length) refused++;
      return { endings, sizes, refused };
    };

    test('ends expired sessions in batches, each of them once, and no others', async () => {
      const past = new Date(Math.floor(clock.now() / 1000) * 1000 - 5000);
      const expired = await Promise.all(Array.from({ length: 45 }, () => create('expired', { expiresAt: past })));
      const live = await create('expired');
      await cleanupStore.endExpired(1000).then((reviewed) => expect(reviewed?.ended.length).toBeGreaterThan(44));
      expect(await store.find(live.id)).toEqual(live);
      expect(await entryOf(expired[0])).toBeNull();

      const again = await Promise.all(Array.from({ length: 45 }, () => create('expired', { expiresAt: past })));
      const { endings, sizes } = await cleanUp((process) => process.cleanupStore.endExpired(10));
      expect([...endings.keys()].sort()).toEqual(again.map((row) => row.id).sort());
      expect([...endings.values()].every((times) => times === 1)).toBe(true);
      expect(Math.max(...sizes)).toBe(10);
      expect(await dataSource.manager.countBy(SessionEntity, { userId: 'expired' })).toBe(1);
    });

    test('keeps a session that was extended after it was found expired', async () => {
      const past = new Date(Math.floor(clock.now() / 1000) * 1000 - 1000);
      const row = await create('extended', { expiresAt: past });
      await dataSource.manager.update(SessionEntity, { id: row.id }, { expiresAt: new Date(clock.now() + 60_000) });
      expect(await endingStore.end(row, 'expired', { hasExpired: true })).toBeUndefined();
      await cleanupStore.endExpired(100);
      expect(await store.find(row.id)).not.toBeNull();
    });

    if (name === 'postgres' || name === 'mariadb') {
      test('keeps a session that is extended after the cleanup has found it', async () => {
        const past = new Date(Math.floor(clock.now() / 1000) * 1000 - 5000);
        const later = new Date(clock.now() + 60_000);
        const cases = [
          {
            row: await create('late', { expiresAt: past }),
            used: { expiresAt: later },
            cleanUp: () => cleanupStore.endExpired(10),
          },
        ];
        for (const { row, used, cleanUp } of cases) {
          const runner = processes[2].dataSource.createQueryRunner();
          await runner.startTransaction();
          await runner.manager.update(SessionEntity, { id: row.id }, used);
          // The cleanup still sees the old row, and waits for the transaction.
          const cleaning = cleanUp();
          await sleep(100);
          await runner.commitTransaction();
          await runner.release();
          await cleaning;
          expect(await store.find(row.id)).toEqual({ ...row, ...used });
        }
      });
    }
  });

  test('all operations run concurrently without an error, and no live session is blacklisted', async () => {
    const users = ['h1', 'h2', 'h3'];
    const deadline = performance.now() + 2500;
    const known: SessionEntity[] = [];
    const errors: unknown[] = [];
    const pick = <T>(list: readonly T[]) => list[Math.floor(Math.random() * list.length)];
    const someRow = () => pick(known) ?? newRow('h1');
    const operations: ((process: TestProcess) => Promise<unknown>)[] = [
      async (process) => {
        const row = newRow(pick(users), {
          expiresAt: new Date(Math.floor(Date.now() / 1000) * 1000 + pick([0, 3_600_000])),
        });
        await createUnder(process, row, destroyOldest(4));
        known.push(row);
      },
      async (process) => {
        const row = newRow(pick(users), { type: pick(['SHORT', 'REMOVED']) });
        await createFreely(process, row);
        known.push(row);
      },
      async ({ store, refreshStore }) => {
        const row = await store.find(someRow().id);
        const condition = { blacklistParent: Math.random() < 0.5 };
        if (row) await refreshStore.rotate(tokenOf(row), next(), NO_GRACE, condition);
      },
      async ({ store, refreshStore }) => {
        const row = await store.find(someRow().id);
        if (row?.parentJti) await refreshStore.recover(row, next(), NO_GRACE);
      },
      ({ refreshStore }) => refreshStore.touch(tokenOf(someRow()), {}, NO_GRACE),
      ({ refreshStore }) =>
        refreshStore.confirm(
          Array.from({ length: 20 }, () => ({ sessionId: someRow().id, generation: pick([1, 2, 3]) })),
        ),
      ({ endingStore }) => endingStore.end(someRow(), 'logout'),
      ({ endingStore }) => endingStore.endSome(pick(users), 'destroyed', (active) => active.slice(2)),
      (process) => endOfUser(process, pick(users), { types: pick([['SHORT'], ['LONG'], TYPES]) }),
      async ({ store, loginStore }) => {
        const old = await store.find(someRow().id);
        if (old) await loginStore.replace(old, 'reauthenticated', ({ userId }) => newLogin(newRow(userId)));
      },
      ({ cleanupStore }) => cleanupStore.endExpired(7),
      ({ cleanupStore }) => cleanupStore.deleteExpiredEntries(7),
      ({ store }) => store.listActive(pick(users)),
    ];
    let done = 0;
    const worker = async (process: TestProcess) => {
      while (performance.now() < deadline) {
        await pick(operations)(process).catch((error: unknown) => {
          if (!isOvertaken(error)) errors.push(error);
        });
        done++;
      }
    };
    await Promise.all(processes.flatMap((process) => Array.from({ length: 4 }, () => worker(process))));
    expect(errors).toEqual([]);
    expect(done).toBeGreaterThan(50);
    const [live, entries] = [
      await dataSource.manager.find(SessionEntity),
      await dataSource.manager.findBy(BlacklistEntity, { kind: 'session' }),
    ];
    const refused = new Set(entries.map((entry) => entry.id));
    expect(live.filter((row) => refused.has(row.id))).toEqual([]);
  });

  test('a transaction that took so long that polls could miss its entries is rolled back', async () => {
    const row = await create('slow');
    const impatient = engineOn(dataSource, { ...REVOCATION, overlap: 0 });
    await expect(endOfUser(impatient, 'slow')).rejects.toBeInstanceOf(UnavailableError);
    await expect(impatient.endingStore.endSome('slow', 'logout', all)).rejects.toBeInstanceOf(UnavailableError);
    expect(await store.find(row.id)).toEqual(row);
    expect(await entryOf(row)).toBeNull();
  });
});
