import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { KeySealer } from '../../lib/keys/sealed-key.js';
import { ManagedKeys } from '../../lib/keys/managed-keys.js';
import { SigningKeyEntity } from '../../lib/keys/signing-key.entity.js';
import { MultiSessionConfigurationError, UnavailableError } from '../../lib/errors.js';
import { AccessTokens } from '../../lib/token/access-token.js';
import { Keyring } from '../../lib/token/keyring.js';
import type { JwtAlgorithm, ManagedKeyOptions } from '../../lib/token/options.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { configOf } from '../helpers/options.js';
import { newRow, startProcesses, type TestProcess } from './process.js';

const ENCRYPTION_KEY = 'an encryption key of more than thirty-two bytes';
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
  const on = (process: TestProcess, more: Partial<ManagedKeyOptions> = {}): KeyProcess => {
    const { tokens } = configOf({ jwt: { managed: { encryptionKey: ENCRYPTION_KEY, ...more } } });
    const keyring = new Keyring(tokens);
    const now = () => process.clock.now() + later;
    const isInUse: ConstructorParameters<typeof ManagedKeys>[5] = (manager, kid) =>
      process.store.isKeyInUse(manager, kid);
    const times = { activation: ACTIVATION, retention: RETENTION };
    const keys = new ManagedKeys(process.database, keyring, tokens.managed, times, now, isInUse);
    const poll = async () => {
      await process.database.run((manager) => keys.poll(manager));
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
    const [{ kid, sealed, algorithm }] = await rows();
    const secret = one.keyring.current.verifyingKey.export();
    for (const encoding of ['base64url', 'base64', 'hex', 'latin1'] as const)
      expect(sealed).not.toContain(secret.toString(encoding));
    expect(Buffer.from(sealed, 'base64url').includes(secret)).toBe(false);

    const sealer = new KeySealer([ENCRYPTION_KEY]);
    const opens = (...as: Parameters<KeySealer['open']>) =>
      sealer
        .open(...as)
        ?.signingKey.export()
        .equals(secret);
    expect(opens(kid, algorithm as JwtAlgorithm, sealed)).toBe(true);
    expect(opens('another', algorithm as JwtAlgorithm, sealed)).toBeUndefined();
    expect(opens(kid, 'HS512', sealed)).toBeUndefined();
    expect(new KeySealer([`${ENCRYPTION_KEY}!`]).open(kid, 'HS256', sealed)).toBeUndefined();
    for (const at of [0, 20, sealed.length - 2]) {
      const broken = sealed.slice(0, at) + (sealed[at] === 'A' ? 'B' : 'A') + sealed.slice(at + 1);
      expect(opens(kid, 'HS256', broken)).toBeUndefined();
    }
    for (const short of ['', 'AAAA', sealed.slice(0, 30)]) expect(opens(kid, 'HS256', short)).toBeUndefined();
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
    await one.process.store.create(session);
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
    await one.process.store.end(session, 'logout');
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
    const [, { kid, sealed }] = await rows();
    expect(new KeySealer([other]).open(kid, 'HS256', sealed)).toBeDefined();
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
