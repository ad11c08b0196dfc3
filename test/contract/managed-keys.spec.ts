import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { KeySealer } from '../../lib/keys/sealed-key.js';
import { ManagedKeys } from '../../lib/keys/managed-keys.js';
import { SigningKeyEntity } from '../../lib/keys/signing-key.entity.js';
import { MultiSessionConfigurationError, UnavailableError } from '../../lib/errors.js';
import { AccessTokens } from '../../lib/token/access-token.js';
import { Keyring } from '../../lib/token/keyring.js';
import type { JwtAlgorithm } from '../../lib/token/key-options.js';
import type { ManagedKeyOptions } from '../../lib/token/options.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { configOf } from '../helpers/options.js';
import { insertRow, newRow, startProcesses, type TestProcess } from './process.js';

const ENCRYPTION_KEY = 'an encryption key of more than thirty-two bytes';
/** A key of version 0.1.0 with the kid `a key of 0.1.0`, encrypted with `ENCRYPTION_KEY`. */
const LEGACY_SEAL = 'BwcHBwcHBwcHBwcHPYdBjiRd3m7IqZUwbjd4IBFXZpGnbwU9M1NyYR3Cz7Y-u1nGO40CP0_avyaZjN99';
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const ACTIVATION = 20_000;
const RETENTION = 30 * DAY;

interface KeyProcess {
  readonly process: TestProcess;
  readonly keyring: Keyring;
  readonly keys: ManagedKeys;
  readonly access: AccessTokens;
  /** Reads the table as a poll does, and waits for the step that it starts in the background. */
  poll(): Promise<void>;
}

onEachDatabase((name) => {
  let database: TestDatabase;
  let processes: TestProcess[] = [];
  /** How far the test has moved the database's time forward, for all processes. In milliseconds. */
  let later = 0;

  const open = async (count: number) => {
    database = await createDatabase(name);
    processes = await startProcesses(database, count);
    later = 0;
  };
  const on = (process: TestProcess, more: Partial<ManagedKeyOptions> = {}, longestLifetime = RETENTION): KeyProcess => {
    const { tokens } = configOf({ jwt: { managed: { encryptionKey: ENCRYPTION_KEY, ...more } } });
    const keyring = new Keyring(tokens);
    const now = () => process.clock.now() + later;
    const isInUse = (kid: string) => process.store.isKeyInUse(kid);
    const times = {
      activation: ACTIVATION,
      longestLifetime,
      retention: (lifetime: number | null) => Math.max(RETENTION, lifetime ?? 0),
    };
    const { database: on, epochs } = process;
    const keys = new ManagedKeys(on, keyring, tokens.managed, times, now, epochs, isInUse);
    const poll = async () => {
      await process.database.run(async (manager) => {
        await process.epochs.poll(manager);
        await keys.poll(manager);
      });
      await keys.stop();
    };
    return { process, keyring, keys, access: new AccessTokens(keyring, tokens, now), poll };
  };
  const rows = async () => {
    const found = await processes[0].database.run((manager) => manager.find(SigningKeyEntity));
    return found.sort((a, b) => (a.activeAt?.getTime() ?? Infinity) - (b.activeAt?.getTime() ?? Infinity));
  };
  const kids = async () => (await rows()).map((row) => row.kid);
  const token = ({ access }: KeyProcess, expiresAt = Date.now() + 60 * DAY) =>
    access.issue(
      {
        userId: 'alice',
        sessionId: 'a session',
        type: 'LONG',
        generation: 0,
        expiresAt,
        authenticatedAt: 0,
        lifetime: 60 * DAY,
      },
      Date.now(),
    );
  /** Moves the time forward, then polls on these processes. */
  const pass = async (all: readonly KeyProcess[], span: number) => {
    later += span;
    for (const one of all) await one.poll();
  };

  beforeAll(() => Logger.overrideLogger(false));
  afterEach(async () => {
    for (const process of processes.reverse()) await process.close();
    await database.drop();
  });

  test('processes that start together create one key, which signs at once', async () => {
    await open(4);
    const all = processes.map((process) => on(process));
    await Promise.all(all.map(({ keys }) => keys.start()));
    expect(await kids()).toHaveLength(1);
    for (const one of all) expect(one.keyring.current.kid).toBe((await kids())[0]);
    for (const one of all) for (const other of all) expect(other.access.verify(token(one))).toBeDefined();
  });

  test('a key in the table is encrypted, and opens under its own kid and algorithm only', async () => {
    await open(1);
    const [one] = processes.map((process) => on(process));
    await one.keys.start();
    const [row] = await rows();
    const { kid, sealed } = row;
    const secret = one.keyring.current.verifyingKey.export();
    for (const encoding of ['base64url', 'base64', 'hex', 'latin1'] as const)
      expect(sealed).not.toContain(secret.toString(encoding));
    expect(Buffer.from(sealed, 'base64url').includes(secret)).toBe(false);

    const opens = (change: Partial<SigningKeyEntity>) =>
      new KeySealer([ENCRYPTION_KEY])
        .open({ ...row, ...change, algorithm: (change.algorithm ?? row.algorithm) as JwtAlgorithm })
        ?.signingKey.export()
        .equals(secret);
    expect(opens({})).toBe(true);
    expect(opens({ kid: `${kid}x` })).toBeUndefined();
    expect(opens({ algorithm: 'HS512' })).toBeUndefined();
    expect(opens({ activeAt: new Date(0) })).toBeUndefined();
  });

  test('a new key signs only after every process has had time to read it, so every process knows the key of every token', async () => {
    await open(3);
    const all = processes.map((process) => on(process, { rotateEvery: '7d' }));
    const [one, two] = all;
    for (const { keys } of all) await keys.start();
    const [first] = await kids();
    await pass(all, 7 * DAY - 1000);
    expect(await kids()).toEqual([first]);
    // A new key is due: all processes notice together, and one creates it.
    later += 2000;
    await Promise.all(all.map((one) => one.poll()));
    const [, second, ...more] = await kids();
    expect([second === undefined, more]).toEqual([false, []]);
    for (let passed = 0; passed < ACTIVATION; passed += 5000) {
      expect(one.keyring.current.kid).toBe(first);
      // The second process does not poll during this time.
      await pass([one], 5000);
    }
    await pass([one], 5000);
    expect(one.keyring.current.kid).toBe(second);
    expect(two.keyring.current.kid).toBe(first);
    expect((await one.keys.list()).map(({ kid, state }) => [kid, state])).toEqual([
      [first, 'replaced'],
      [second, 'active'],
    ]);
    await two.poll();
    expect(two.access.verify(token(one))).toBeDefined();
    // The third process still signs with the first key, which all processes accept.
    expect(one.access.verify(token(all[2]))).toBeDefined();
  });

  test('a key becomes active only some time after a process has read it, however late it was committed', async () => {
    await open(2);
    const all = processes.map((process) => on(process));
    const [one, two] = all;
    for (const { keys } of all) await keys.start();
    await one.keys.rotate();
    expect(await rows()).toMatchObject([{}, { activeAt: null }]);
    await pass(all, HOUR);
    const [, { activeAt }] = await rows();
    expect(activeAt?.getTime()).toBeGreaterThanOrEqual(two.process.clock.now() + later + ACTIVATION - 1000);
    expect(one.keyring.current.kid).toBe((await kids())[0]);
  });

  test('a process whose keys are stale answers 503 to a token of an unknown key', async () => {
    await open(2);
    const [one, two] = processes.map((process) => on(process));
    for (const { keys } of [one, two]) await keys.start();
    await one.keys.rotate();
    await pass([one], 1000);
    await pass([one], ACTIVATION);
    const news = token(one);
    two.keyring.isComplete = () => false;
    expect(() => two.access.verify(news)).toThrow(UnavailableError);
    two.keyring.isComplete = () => true;
    expect(two.access.verify(news)).toBeUndefined();
    await two.poll();
    expect(two.access.verify(news)).toBeDefined();
  });

  test('the process signs nothing before it has read the keys', async () => {
    await open(1);
    const { keyring, keys } = on(processes[0]);
    expect(keys.isLoaded).toBe(false);
    expect(() => keyring.sign({}, 'JWT')).toThrow(UnavailableError);
  });

  test('an old key is deleted when no token of it can be live, but not while a session still uses it', async () => {
    await open(2);
    const all = processes.map((process) => on(process));
    const [one, two] = all;
    for (const { keys } of all) await keys.start();
    const [first] = await kids();
    const old = token(two);
    const expiresAt = new Date(Date.now() + later + RETENTION + 20 * DAY);
    const session = newRow('alice', { refreshKid: first, expiresAt });
    await insertRow(one.process, session);
    await one.keys.rotate();
    await pass(all, 1000);
    await pass(all, ACTIVATION);
    expect(one.keyring.current.kid).not.toBe(first);

    expect(two.access.verify(old)).toBeDefined();
    const exists = async () => (await kids()).includes(first);
    const step = 3 * DAY;
    for (let passed = 0; passed < RETENTION - step; passed += step) await pass(all, step);
    expect(await exists()).toBe(true);
    // The retention has passed, but a session in the table still uses the key.
    for (let passed = 0; passed < 3 * step; passed += step) await pass(all, step);
    expect(await exists()).toBe(true);
    expect(two.access.verify(old)).toBeDefined();
    await one.process.endingStore.end(session, 'logout');
    await pass(all, 2 * HOUR);
    await pass(all, 2 * HOUR);
    expect(await exists()).toBe(false);
    // The cache of verified tokens must not keep a token alive after its key is gone.
    expect(two.access.verify(old)).toBeUndefined();
  });

  test('a revoked key is refused at once, and another one signs', async () => {
    await open(2);
    const all = processes.map((process) => on(process));
    const [one, two] = all;
    for (const { keys } of all) await keys.start();
    const [first] = await kids();
    const stolen = token(two);
    expect(one.access.verify(stolen)).toBeDefined();
    expect(two.access.verify(stolen)).toBeDefined();
    await one.keys.revoke(first);
    expect(one.access.verify(stolen)).toBeUndefined();
    expect(one.keyring.current.kid).not.toBe(first);
    await two.poll();
    expect(two.access.verify(stolen)).toBeUndefined();
    expect(two.access.verify(token(one))).toBeDefined();
  });

  test('a poll that began before a revocation and ends after it does not bring the key back', async () => {
    await open(1);
    const [one] = processes.map((process) => on(process));
    await one.keys.start();
    const [first] = await rows();
    const stolen = token(one);
    // The answer to a poll's question arrives late. It was read before the revocation.
    let answer: (found: SigningKeyEntity[]) => void = () => {};
    const answered = new Promise<SigningKeyEntity[]>((resolve) => (answer = resolve));
    jest.spyOn(one.process.database, 'queryWithin').mockReturnValueOnce(answered);
    const polling = one.keys.poll(one.process.dataSource.manager);
    await one.keys.revoke(first.kid);
    expect(one.access.verify(stolen)).toBeUndefined();
    answer([first]);
    await polling;
    expect(one.access.verify(stolen)).toBeUndefined();
    expect(one.keyring.current.kid).not.toBe(first.kid);
  });

  test('keys of version 0.1.0 are used, and record how long their tokens may live', async () => {
    await open(1);
    const [process] = processes;
    await on(process).keys.start();
    const [{ kid }] = await rows();
    const legacy = { sealed: LEGACY_SEAL, longestLifetime: null };
    await process.dataSource.manager.delete(SigningKeyEntity, { kid });
    await process.dataSource.manager.insert(SigningKeyEntity, {
      ...{ kid: 'a key of 0.1.0', algorithm: 'HS256', createdAt: new Date(0), activeAt: new Date(0) },
      ...legacy,
    });
    const after = on(process, { rotateEvery: '100y' });
    await after.keys.start();
    expect(after.keyring.current.kid).toBe('a key of 0.1.0');
    expect(await rows()).toMatchObject([{ kid: 'a key of 0.1.0', longestLifetime: RETENTION }]);
  });

  describe('how long a key is kept', () => {
    test.each([
      ['the process that started it', 0],
      ['a process that starts later', 1],
    ])('is decided by the longest policies: those of %s', async (_, longerAt) => {
      await open(2);
      const all = processes.map((process, at) => on(process, {}, at === longerAt ? 3 * RETENTION : RETENTION));
      for (const { keys } of all) await keys.start();
      expect(await rows()).toMatchObject([{ longestLifetime: 3 * RETENTION }]);
      const shorter = all[1 - longerAt];
      const [first] = await kids();
      await shorter.keys.rotate();
      await pass([shorter], 1000);
      await pass([shorter], ACTIVATION);
      const exists = async () => (await kids()).includes(first);
      for (let passed = 0; passed < 3 * RETENTION - DAY; passed += RETENTION / 2) {
        expect(await exists()).toBe(true);
        await pass([shorter], RETENTION / 2);
      }
      await pass([shorter], DAY);
      await pass([shorter], 2 * HOUR);
      expect(await exists()).toBe(false);
    });

    test('is recorded before a process signs with a key that another one has created', async () => {
      await open(2);
      const [shorter, longer] = processes.map((process, at) => on(process, {}, (at + 1) * RETENTION));
      for (const { keys } of [shorter, longer]) await keys.start();
      await shorter.keys.rotate();
      expect(await rows()).toMatchObject([{ longestLifetime: 2 * RETENTION }, { longestLifetime: RETENTION }]);
      await longer.poll();
      expect((await rows()).at(-1)).toMatchObject({ longestLifetime: 2 * RETENTION });
    });
  });

  describe('somebody who can write the table', () => {
    test('cannot make a replaced key sign again', async () => {
      await open(2);
      const all = processes.map((process) => on(process));
      const [one, two] = all;
      for (const { keys } of all) await keys.start();
      const [first] = await kids();
      await one.keys.rotate();
      await pass(all, 1000);
      await pass(all, ACTIVATION);
      for (const { keyring } of all) expect(keyring.current.kid).not.toBe(first);
      const activeAt = new Date(two.process.clock.now() + later);
      await processes[0].dataSource.manager.update(SigningKeyEntity, { kid: first }, { activeAt });
      await pass(all, 1000);
      for (const { keyring } of all) {
        expect(keyring.jwks()).toBeDefined();
        expect(() => keyring.current).toThrow(UnavailableError);
      }
    });
  });

  test('after the epoch was replaced, keys of a restored backup are deleted, and a new one signs at once', async () => {
    await open(2);
    const all = processes.map((process) => on(process));
    const [one, two] = all;
    for (const { keys } of all) await keys.start();
    const [first] = await kids();
    const backup = await rows();
    await one.keys.revoke(first);
    const stolen = token(two);
    const { manager } = processes[0].dataSource;
    await manager.clear(SigningKeyEntity);
    await manager.insert(SigningKeyEntity, backup);
    await manager.query("UPDATE session_epoch SET epoch = 'replaced by the operator'");
    for (const process of all) await process.poll();
    for (const process of all) await process.poll();
    const [kid, ...more] = await kids();
    expect([kid === first, more]).toEqual([false, []]);
    for (const { keyring, access } of all) {
      expect(keyring.current.kid).toBe(kid);
      expect(access.verify(stolen)).toBeUndefined();
    }
    expect(two.access.verify(token(one))).toBeDefined();
    expect((await rows())[0].sealed).toMatch(/^2\.replaced by the operator\./);
  });

  test('another encryption key stops the start, unless the old one follows it in the list', async () => {
    await open(1);
    const [process] = processes;
    await on(process).keys.start();
    const before = await rows();
    const other = 'quite another key of more than thirty-two bytes';
    await expect(on(process, { encryptionKey: other }).keys.start()).rejects.toThrow(MultiSessionConfigurationError);
    expect(await rows()).toEqual(before);
    const both = on(process, { encryptionKey: [other, ENCRYPTION_KEY] });
    await both.keys.start();
    expect(both.keyring.current.kid).toBe(before[0].kid);
    await both.keys.rotate();
    const [, row] = await rows();
    expect(new KeySealer([other]).open({ ...row, algorithm: 'HS256' })).toBeDefined();
  });

  test.each(['HS256', 'HS384', 'HS512', 'ES256', 'RS256', 'PS256'] as const)(
    'creates, stores and publishes %s keys',
    async (algorithm) => {
      await open(1);
      const [one, again] = [on(processes[0], { algorithm }), on(processes[0], { algorithm })];
      await one.keys.start();
      await again.keys.start();
      expect(again.access.verify(token(one))).toMatchObject({ userId: 'alice' });
      const shown = one.keyring.jwks().keys.map(({ kid, alg, use }) => ({ kid, alg, use }));
      expect(shown).toEqual(
        algorithm.startsWith('HS') ? [] : [{ kid: one.keyring.current.kid, alg: algorithm, use: 'sig' }],
      );
      // 3072 bits.
      if (/^[RP]S/.test(algorithm))
        expect(Buffer.from(one.keyring.jwks().keys[0].n ?? '', 'base64url')).toHaveLength(384);
      expect(JSON.stringify(one.keyring.jwks())).not.toMatch(/"(d|p|q|dp|dq|qi|k)":/);
    },
  );

  test('another algorithm in the options causes one rotation', async () => {
    await open(1);
    const [process] = processes;
    const before = on(process, { algorithm: 'HS256' });
    await before.keys.start();
    const after = on(process, { algorithm: 'ES256' });
    await after.keys.start();
    expect((await rows()).map((row) => [row.algorithm, row.activeAt === null])).toEqual([
      ['HS256', false],
      ['ES256', true],
    ]);
    await pass([before, after], 1000);
    // A process that starts while the new key is pending creates no other.
    await on(process, { algorithm: 'ES256' }).keys.start();
    await pass([before, after], ACTIVATION);
    expect(before.keyring.current.algorithm).toBe('ES256');
    expect(before.access.verify(token(after))).toBeDefined();
    await before.poll();
    expect(await rows()).toHaveLength(2);
  });

  describe('with keys in the options too', () => {
    test('the managed key signs, and tokens of the others are still accepted', async () => {
      await open(1);
      const [process] = processes;
      const secret = 'a signing secret of more than thirty-two bytes';
      const given = { secret, managed: { encryptionKey: ENCRYPTION_KEY } };
      const { tokens } = configOf({ jwt: given });
      const before = new Keyring(configOf({ jwt: { secret } }).tokens);
      const { keys, keyring } = on(process);
      await keys.start();
      const both = new Keyring(tokens);
      both.use([keyring.current], keyring.current.kid);
      expect(both.current.kid).toBe(keyring.current.kid);
      expect(both.verify(before.sign({ sub: 'alice', iat: 1 }, 'JWT'))).toEqual({ sub: 'alice', iat: 1 });
    });
  });
});
