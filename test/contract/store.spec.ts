import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { SessionLimitReachedError, UnavailableError } from '../../lib/errors.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import type { ShownRow } from '../../lib/session/session.js';
import { newSessionId } from '../../lib/session/id.js';
import type { ChooseEvicted } from '../../lib/session/store.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import {
  ACCEPTED_AFTER_END,
  engineOn,
  newJti,
  newRow,
  REVOCATION,
  startProcesses,
  type TestProcess,
  tokenOf,
  shown,
} from './process.js';

const NO_GRACE = { grace: 0 };
const TYPES = ['LONG', 'SHORT'];

/** Returns the values that a new generation writes. */
const next = (row: SessionEntity, more = {}) => ({
  jti: newJti(),
  kid: 'another-key',
  expiresAt: row.expiresAt.getTime(),
  ...more,
});

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

onEachDatabase((name) => {
  const rotationIsOneStatement = name !== 'mariadb';
  let testDatabase: TestDatabase;
  let processes: TestProcess[];
  let { store, log, dataSource, clock } = {} as TestProcess;

  const create = async (userId: string, more: Partial<SessionEntity> = {}) => {
    const row = newRow(userId, more);
    await store.create(row);
    return row;
  };
  const entryOf = (row: SessionEntity) => dataSource.manager.findOneBy(BlacklistEntity, { id: row.id });
  const found = async (row: SessionEntity) => {
    const stored = await store.find(row.id);
    if (!stored) throw new Error('the session is gone');
    return stored;
  };
  const inTurn = (at: number) => processes[at % processes.length].store;

  beforeAll(async () => {
    // These tests provoke errors, which would fill the log.
    Logger.overrideLogger(false);
    testDatabase = await createDatabase(name);
    processes = await startProcesses(testDatabase, 4);
    ({ store, log, dataSource, clock } = processes[0]);
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
      await store.create(row);
      expect(await store.find(row.id)).toEqual(row);
      // An update that returns the row maps it by other code than a query.
      const { lastUpdate, confirmedGeneration, ...unchanged } = row;
      const touched = await store.touch(tokenOf(row), lastUpdate.getTime() + 1);
      expect(touched).toBeInstanceOf(SessionEntity);
      expect(touched).toEqual({
        ...unchanged,
        lastUpdate: new Date(lastUpdate.getTime() + 1),
        confirmedGeneration: row.generation,
      });
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
      expect(await store.find(newSessionId(Date.now()))).toBeNull();
      expect(await store.find(row.id)).toEqual(row);
    });

    test('is listed by type, oldest first, unless it has expired', async () => {
      const now = clock.now();
      const second = await create('lister', { createdAt: new Date(now - 1000) });
      const first = await create('lister', { createdAt: new Date(now - 2000), type: 'SHORT' });
      await create('lister', { expiresAt: new Date(now - 1000) });
      await create('lister', { type: 'REMOVED' });
      const { statements, result } = await log.during(() => store.listActive('lister', TYPES));
      expect(result).toEqual([shown(first), shown(second)]);
      expect(statements).toHaveLength(1);
      expect(await store.listActive('lister', ['SHORT'])).toEqual([shown(first)]);
      expect(await store.listActive('nobody', TYPES)).toEqual([]);
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
      expect(await store.create(row, destroyOldest(1))).toEqual([]);
      rows.set(userId, row);
    }
    for (const userId of userIds)
      expect(await store.listActive(userId, TYPES)).toEqual([shown(rows.get(userId) as SessionEntity)]);
    for (const userId of userIds) {
      expect(await store.endOfUser(userId, TYPES, 'destroyed', all)).toEqual([
        expect.objectContaining({ row: shown(rows.get(userId) as SessionEntity), reason: 'destroyed' }),
      ]);
    }
  });

  describe('rotate', () => {
    test('sends one statement if an update can return the row, else two', async () => {
      const row = await create('alice');
      const now = clock.now();
      const client = { ipAddress: '203.0.113.7', userAgent: 'UA', deviceName: 'Pixel 9' };
      const successor = next(row, { lastUpdate: now, expiresAt: row.expiresAt.getTime() + 60_000, client });
      const { statements, result } = await log.during(() => store.rotate(tokenOf(row), successor, now, NO_GRACE));
      expect(statements).toHaveLength(rotationIsOneStatement ? 1 : 2);
      const expected: SessionEntity = {
        ...row,
        ...client,
        generation: 1,
        parentGeneration: 0,
        refreshJti: successor.jti,
        parentJti: row.refreshJti,
        refreshKid: 'another-key',
        rotatedAt: new Date(now),
        lastUpdate: new Date(now),
        expiresAt: new Date(successor.expiresAt),
      };
      expect(result).toEqual(expected);
      expect(await store.find(row.id)).toEqual(expected);
    });

    test('leaves lastUpdate unchanged if the policy says so, and confirms the previous generation', async () => {
      const row = await create('alice', { generation: 7 });
      const rotated = await store.rotate(tokenOf(row), next(row), clock.now(), NO_GRACE);
      expect(rotated).toMatchObject({ generation: 8, lastUpdate: row.lastUpdate, confirmedGeneration: 7 });
    });

    test('returns null for another jti, an unknown or expired session, during the grace, or for an unexpected absolute expiry', async () => {
      const row = await create('alice', { absoluteExpiresAt: new Date(Date.now() + 7_200_000) });
      const now = clock.now();
      const token = tokenOf(row);
      expect(await store.rotate({ ...token, jti: newJti() }, next(row), now, NO_GRACE)).toBeNull();
      expect(
        await store.rotate({ ...token, sessionId: newSessionId(Date.now()) }, next(row), now, NO_GRACE),
      ).toBeNull();
      expect(await store.rotate(token, next(row), row.expiresAt.getTime(), NO_GRACE)).toBeNull();
      expect(await store.rotate(token, next(row), now, { grace: 0, withoutBound: true })).toBeNull();
      const rotated = (await store.rotate(token, next(row), now, { grace: 10_000 })) as SessionEntity;
      expect(await store.rotate(tokenOf(rotated), next(row), now + 9_999, { grace: 10_000 })).toBeNull();
      expect(await store.find(row.id)).toEqual(rotated);
      expect(await store.rotate(tokenOf(rotated), next(row), now + 10_000, { grace: 10_000 })).not.toBeNull();
    });

    test('succeeds for one of twenty concurrent calls, and returns the generation of that call', async () => {
      const row = await create('alice');
      const racers = Array.from({ length: 20 }, () => next(row));
      const answers = await Promise.all(
        racers.map((racer, at) => inTurn(at).rotate(tokenOf(row), racer, clock.now(), NO_GRACE)),
      );
      const winners = racers.filter((_, at) => answers[at]);
      expect(winners).toHaveLength(1);
      expect(answers.find(Boolean)?.refreshJti).toBe(winners[0].jti);
      expect(await store.find(row.id)).toMatchObject({ refreshJti: winners[0].jti, generation: 1 });
    });

    test('never returns a later generation, even if another rotation follows at once', async () => {
      for (let round = 0; round < 15; round++) {
        const row = await create('alice');
        const first = next(row);
        const second = next(row);
        const chase = async () => {
          for (let attempt = 0; attempt < 50; attempt++) {
            const token = { ...tokenOf(row), jti: first.jti, generation: 1 };
            if (await processes[1].store.rotate(token, second, clock.now(), NO_GRACE)) return;
          }
        };
        const [answer] = await Promise.all([store.rotate(tokenOf(row), first, clock.now(), NO_GRACE), chase()]);
        if (answer) expect(answer.refreshJti).toBe(first.jti);
      }
    });

    test('writes the superseded token to the blacklist if asked to', async () => {
      const row = await create('alice');
      const condition = { grace: 0, blacklistParent: true };
      await store.rotate(tokenOf(row), next(row), clock.now(), condition);
      expect(await store.rotate(tokenOf(row), next(row), clock.now(), condition)).toBeNull();
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
      return (await store.rotate(tokenOf(row), next(row), clock.now() - 60_000, NO_GRACE)) as SessionEntity;
    };

    test('replaces the lost successor and keeps its parent', async () => {
      const row = await rotated();
      const now = clock.now();
      const successor = next(row);
      expect(await store.recover(row, successor, now)).toEqual({
        ...row,
        generation: 2,
        refreshJti: successor.jti,
        rotatedAt: new Date(now),
      });
    });

    test('returns null once the current generation has been used', async () => {
      const row = await rotated();
      await store.confirm([{ sessionId: row.id, generation: 1 }]);
      expect(await store.recover(row, next(row), clock.now())).toBeNull();
      expect(await found(row)).toMatchObject({ refreshJti: row.refreshJti, confirmedGeneration: 1 });
    });

    test('succeeds for one of twenty concurrent calls', async () => {
      const row = await rotated();
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, at) => inTurn(at).recover(row, next(row), clock.now())),
      );
      expect(answers.filter(Boolean)).toHaveLength(1);
    });
  });

  describe('touch', () => {
    test('sets lastUpdate and confirms the generation, only for the current token', async () => {
      const row = await create('alice', { generation: 3 });
      const seen = clock.now() + 12_345;
      const { statements, result } = await log.during(() => store.touch(tokenOf(row), seen));
      expect(statements).toHaveLength(rotationIsOneStatement ? 1 : 2);
      expect(result).toMatchObject({ lastUpdate: new Date(seen), confirmedGeneration: 3 });
      expect(await store.touch({ ...tokenOf(row), jti: newJti() }, clock.now())).toBeNull();
      expect(await store.touch(tokenOf(row), row.expiresAt.getTime())).toBeNull();
    });

    test('returns the row even if the update changes nothing', async () => {
      const row = await create('alice');
      expect(await store.touch(tokenOf(row), row.lastUpdate.getTime())).toEqual(row);
      expect(await store.touch(tokenOf(row), row.lastUpdate.getTime())).toEqual(row);
    });
  });

  test('confirm writes a batch in one statement, and only generations that are current', async () => {
    const rows = await Promise.all(Array.from({ length: 200 }, () => create('alice', { generation: 5 })));
    const batch = rows.map((row, at) => ({ sessionId: row.id, generation: at === 0 ? 4 : at === 1 ? 6 : 5 }));
    const confirmedAlready = rows[2];
    await store.touch(tokenOf(confirmedAlready), clock.now());
    const { statements } = await log.during(() => store.confirm(batch));
    expect(statements).toHaveLength(1);
    const confirmed = await Promise.all(rows.map(async (row) => (await found(row)).confirmedGeneration));
    expect(confirmed).toEqual([0, 0, ...Array.from({ length: 198 }, () => 5)]);
  });

  describe('create under a limit', () => {
    test('lets concurrent logins all succeed, and never shows more sessions than the limit', async () => {
      const limit = 3;
      let most = 0;
      let racing = true;
      const look = async () => (most = Math.max(most, (await processes[3].store.listActive('racer', TYPES)).length));
      const watch = async () => {
        while (racing) await look().then(() => sleep(1));
      };
      const watching = watch();
      const logins = await Promise.allSettled(
        Array.from({ length: 50 }, async (_, at) => {
          await sleep(at % 5 ? 0 : Math.random() * 100);
          return inTurn(at).create(newRow('racer'), destroyOldest(limit));
        }),
      );
      racing = false;
      await watching;
      await look();
      expect(logins.filter((login) => login.status === 'rejected')).toEqual([]);
      expect(most).toBe(limit);
      expect(await store.listActive('racer', TYPES)).toHaveLength(limit);
      expect(await dataSource.manager.countBy(BlacklistEntity, { userId: 'racer', reason: 'evicted' })).toBe(
        50 - limit,
      );
    });

    test('lets exactly as many logins succeed as the limit allows, if a full limit refuses them', async () => {
      const logins = await Promise.allSettled(
        Array.from({ length: 30 }, (_, at) => inTurn(at).create(newRow('refused'), refuse(4))),
      );
      const errors = logins.flatMap((login) => (login.status === 'rejected' ? [login.reason] : []));
      expect(errors).toHaveLength(26);
      for (const error of errors) expect(error).toBeInstanceOf(SessionLimitReachedError);
      expect(await store.listActive('refused', TYPES)).toHaveLength(4);
    });

    test('counts each type separately and ignores expired sessions', async () => {
      await create('apart', { type: 'SHORT' });
      await create('apart', { expiresAt: new Date(Date.now() - 1000) });
      await store.create(newRow('apart'), refuse(1));
      await expect(store.create(newRow('apart'), refuse(1))).rejects.toBeInstanceOf(SessionLimitReachedError);
    });

    test('stores and evicts nothing if the chooser throws or the insert fails', async () => {
      const old = await create('unlucky');
      await expect(store.create(newRow('unlucky'), refuse(1))).rejects.toBeInstanceOf(SessionLimitReachedError);
      // The id is taken, so the insert fails. The eviction of the old session must be undone.
      const taken = newRow('unlucky', { id: (await create('lucky')).id });
      await expect(store.create(taken, destroyOldest(1))).rejects.toBeInstanceOf(UnavailableError);
      expect(await store.listActive('unlucky', TYPES)).toEqual([shown(old)]);
      expect(await entryOf(old)).toBeNull();
    });
  });

  describe('end', () => {
    test('replaces the row by a blacklist entry', async () => {
      const row = await create('alice');
      const before = clock.now();
      expect(await store.end(row, 'logout')).toMatchObject({ row: shown(row), reason: 'logout' });
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
      expect(await store.end(row, 'mismatch', { jti: newJti() })).toBeUndefined();
      expect(await store.end(row, 'expired', { expiredAt: row.expiresAt.getTime() - 1 })).toBeUndefined();
      expect(await store.find(row.id)).toEqual(row);
      expect(await entryOf(row)).toBeNull();
      expect(await store.end(row, 'mismatch', { jti: row.refreshJti })).toBeDefined();
    });

    test('writes no entry for an expired session', async () => {
      const row = await create('alice');
      expect(await store.end(row, 'expired', { expiredAt: row.expiresAt.getTime() })).toBeDefined();
      expect(await entryOf(row)).toBeNull();
    });

    test('succeeds for one of twenty concurrent calls', async () => {
      const row = await create('alice');
      const ended = await Promise.all(Array.from({ length: 20 }, (_, at) => inTurn(at).end(row, 'logout')));
      expect(ended.filter(Boolean)).toHaveLength(1);
    });

    test('keeps the session if the blacklist entry cannot be written', async () => {
      const row = await create('neither');
      const table = dataSource.driver.escape(dataSource.getMetadata(BlacklistEntity).tableName);
      const away = dataSource.driver.escape('blacklist_away');
      await dataSource.query(`ALTER TABLE ${table} RENAME TO ${away}`);
      try {
        await expect(store.end(row, 'logout')).rejects.toBeInstanceOf(UnavailableError);
        await expect(store.endOfUser('neither', TYPES, 'destroyed', all)).rejects.toBeInstanceOf(UnavailableError);
        await expect(store.create(newRow('neither'), destroyOldest(1))).rejects.toBeInstanceOf(UnavailableError);
      } finally {
        await dataSource.query(`ALTER TABLE ${away} RENAME TO ${table}`);
      }
      expect(await store.listActive('neither', TYPES)).toEqual([shown(row)]);
      expect(await store.end(row, 'logout')).toBeDefined();
    });
  });

  test('endOfUser during concurrent logins leaves each session either live or ended, never both', async () => {
    const rows = Array.from({ length: 30 }, () => newRow('contended'));
    const ended = await Promise.all([
      ...rows.map((row, at) => inTurn(at).create(row, destroyOldest(5))),
      ...Array.from({ length: 8 }, (_, at) => inTurn(at).endOfUser('contended', TYPES, 'destroyed', all)),
    ]);
    const endedIds = ended.flat().map((one) => one.row.id);
    const liveIds = (await store.listActive('contended', TYPES)).map((row) => row.id);
    expect([...endedIds, ...liveIds].sort()).toEqual(rows.map((row) => row.id).sort());
    const entries = await dataSource.manager.findBy(BlacklistEntity, { userId: 'contended' });
    expect(entries.map((entry) => entry.id).sort()).toEqual(endedIds.sort());
  });

  test('endOfUser ends nothing if the chooser throws', async () => {
    const row = await create('kept');
    const choose = () => {
      throw new SessionLimitReachedError();
    };
    await expect(store.endOfUser('kept', TYPES, 'destroyed', choose)).rejects.toBeInstanceOf(SessionLimitReachedError);
    expect(await store.find(row.id)).toEqual(row);
  });

  describe('cleaning up', () => {
    /**
     * Runs the cleanup on two processes at once, until neither finds any more sessions.
     *
     * @returns how often each session was ended, by id, and the size of each batch
     */
    const cleanUp = async (batch: (process: TestProcess) => ReturnType<TestProcess['store']['endExpired']>) => {
      const endings = new Map<string, number>();
      const sizes: number[] = [];
      let refused = 0;
      const worker = async (process: TestProcess) => {
        for (let idle = 0; idle < 3;) {
          const ended = await batch(process);
          if (!ended) refused++;
          if (!ended?.length) idle++;
          else sizes.push(ended.length);
          for (const { row } of ended ?? []) endings.set(row.id, (endings.get(row.id) ?? 0) + 1);
          if (!ended) await sleep(5);
        }
      };
      await Promise.all([worker(processes[0]), worker(processes[1])]);
      while ((await batch(processes[0]))?.length) refused++;
      return { endings, sizes, refused };
    };

    test('ends expired sessions in batches, each of them once, and no others', async () => {
      const past = new Date(Math.floor(clock.now() / 1000) * 1000 - 5000);
      const expired = await Promise.all(Array.from({ length: 45 }, () => create('expired', { expiresAt: past })));
      const live = await create('expired');
      await store.endExpired(1000).then((ended) => expect(ended?.length).toBeGreaterThan(44));
      expect(await store.find(live.id)).toEqual(live);
      expect(await entryOf(expired[0])).toBeNull();

      const again = await Promise.all(Array.from({ length: 45 }, () => create('expired', { expiresAt: past })));
      const { endings, sizes } = await cleanUp((process) => process.store.endExpired(10));
      expect([...endings.keys()].sort()).toEqual(again.map((row) => row.id).sort());
      expect([...endings.values()].every((times) => times === 1)).toBe(true);
      expect(Math.max(...sizes)).toBe(10);
      expect(await dataSource.manager.countBy(SessionEntity, { userId: 'expired' })).toBe(1);
    });

    test('keeps a session that was extended after it was found expired', async () => {
      const past = new Date(Math.floor(clock.now() / 1000) * 1000 - 1000);
      const row = await create('extended', { expiresAt: past });
      await dataSource.manager.update(SessionEntity, { id: row.id }, { expiresAt: new Date(clock.now() + 60_000) });
      expect(await store.end(row, 'expired', { expiredAt: clock.now() })).toBeUndefined();
      await store.endExpired(100);
      expect(await store.find(row.id)).not.toBeNull();
    });

    test('ends sessions of removed types that were not used since the given time, with a blacklist entry', async () => {
      const [longAgo, lately] = [new Date(clock.now() - 100_000), new Date(clock.now() - 1000)];
      const gone = await Promise.all(
        Array.from({ length: 25 }, () => create('gone', { type: 'REMOVED', lastUpdate: longAgo })),
      );
      const used = await create('gone', { type: 'REMOVED', lastUpdate: lately });
      const known = await create('gone', { type: 'SHORT', lastUpdate: longAgo });
      const unusedSince = clock.now() - 50_000;
      const { endings } = await cleanUp((process) => process.store.endOfRemovedTypes(TYPES, unusedSince, 10));
      expect([...endings.keys()].sort()).toEqual(gone.map((row) => row.id).sort());
      expect([...endings.values()].every((times) => times === 1)).toBe(true);
      expect(await store.find(used.id)).toEqual(used);
      expect(await store.find(known.id)).toEqual(known);
      expect(await dataSource.manager.countBy(BlacklistEntity, { userId: 'gone', reason: 'expired' })).toBe(25);
    });

    if (name === 'postgres' || name === 'mariadb') {
      test('keeps a session that is used or extended after the cleanup has found it', async () => {
        const past = new Date(Math.floor(clock.now() / 1000) * 1000 - 5000);
        const later = new Date(clock.now() + 60_000);
        const cases = [
          {
            row: await create('late', { expiresAt: past }),
            used: { expiresAt: later },
            cleanUp: () => store.endExpired(10),
          },
          {
            row: await create('late', { type: 'REMOVED', lastUpdate: past }),
            used: { lastUpdate: later },
            cleanUp: () => store.endOfRemovedTypes(TYPES, clock.now() - 1000, 10),
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
      async ({ store }) => {
        const row = newRow(pick(users), {
          expiresAt: new Date(Math.floor(Date.now() / 1000) * 1000 + pick([0, 3_600_000])),
        });
        await store.create(row, destroyOldest(4));
        known.push(row);
      },
      async ({ store }) => {
        const row = newRow(pick(users), { type: pick(['SHORT', 'REMOVED']) });
        await store.create(row);
        known.push(row);
      },
      async ({ store, clock }) => {
        const row = await store.find(someRow().id);
        const condition = { grace: 0, blacklistParent: Math.random() < 0.5 };
        if (row) await store.rotate(tokenOf(row), next(row), clock.now(), condition);
      },
      async ({ store, clock }) => {
        const row = await store.find(someRow().id);
        if (row?.parentJti) await store.recover(row, next(row), clock.now());
      },
      ({ store, clock }) => store.touch(tokenOf(someRow()), clock.now()),
      ({ store }) =>
        store.confirm(Array.from({ length: 20 }, () => ({ sessionId: someRow().id, generation: pick([1, 2, 3]) }))),
      ({ store }) => store.end(someRow(), 'logout'),
      ({ store }) => store.endOfUser(pick(users), TYPES, 'destroyed', (active) => active.slice(2)),
      ({ store }) => store.endExpired(7),
      ({ store, clock }) => store.endOfRemovedTypes(TYPES, clock.now(), 7),
      ({ store }) => store.deleteExpiredEntries(7),
      ({ store }) => store.listActive(pick(users), TYPES),
    ];
    let done = 0;
    const worker = async (process: TestProcess) => {
      while (performance.now() < deadline) {
        await pick(operations)(process).catch((error: unknown) => errors.push(error));
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
    const { store: impatient } = engineOn(dataSource, { ...REVOCATION, overlap: 0 });
    const ending = impatient.endOfUser('slow', TYPES, 'logout', all);
    await expect(ending).rejects.toBeInstanceOf(UnavailableError);
    expect(await store.find(row.id)).toEqual(row);
    expect(await entryOf(row)).toBeNull();
  });
});
