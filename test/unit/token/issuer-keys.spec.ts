import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { Keyring } from '../../../lib/token/keyring.js';
import type { JwtAlgorithm } from '../../../lib/token/key-options.js';
import { IssuerKeys, type Jwk } from '../../../lib/token/issuer-keys.js';

const newKey = (algorithm: JwtAlgorithm, kid: string) => {
  const curve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[algorithm as string];
  const { privateKey } =
    curve === undefined
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: curve });
  return { kid, algorithm, signingKey: privateKey, verifyingKey: createPublicKey(privateKey) };
};
const ringOf = (keys: ReturnType<typeof newKey>[], more: object = {}) => new Keyring({ keys, ...more });
const jwkOf = (key: KeyObject, more: object): Jwk => ({ ...key.export({ format: 'jwk' }), use: 'sig', ...more });

describe('the keys of an issuer', () => {
  let published: readonly Jwk[];
  let loads: number;
  let expected: { issuer?: string; audience: string[] | false };
  let keys: IssuerKeys;

  beforeEach(() => {
    [published, loads, expected] = [[], 0, { audience: false }];
    const load = () => {
      loads++;
      return Promise.resolve(published);
    };
    keys = new IssuerKeys(load, () => expected);
  });

  test.each(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512'] as const)(
    'verify %s as the issuer signs it',
    async (algorithm) => {
      const ring = ringOf([newKey(algorithm, 'one')]);
      published = ring.jwks().keys;
      await keys.reload();
      const token = ring.sign({ sub: 'alice' }, 'at+jwt');
      expect(keys.verify(token)).toMatchObject({ sub: 'alice' });
      const [header, payload, signature] = token.split('.');
      const changed = Buffer.from(JSON.stringify({ sub: 'bob' })).toString('base64url');
      expect(keys.verify(`${header}.${changed}.${signature}`)).toBeUndefined();
      expect(keys.verify(`${header}.${payload}.`)).toBeUndefined();
      expect(keys.verify(`${token}.${signature}`)).toBeUndefined();
    },
  );

  test('are pinned to their algorithm, and no token brings a key', async () => {
    const key = newKey('RS256', 'one');
    published = ringOf([key]).jwks().keys;
    await keys.reload();
    const other = ringOf([{ ...key, algorithm: 'PS256' }]).sign({ sub: 'alice' }, 'at+jwt');
    expect(keys.verify(other)).toBeUndefined();
    const [header, payload, signature] = ringOf([key]).sign({ sub: 'alice' }, 'at+jwt').split('.');
    const parsed = JSON.parse(Buffer.from(header, 'base64url').toString()) as object;
    for (const more of [{ crit: ['exp'] }, { alg: 'none' }, { alg: 'HS256' }, { kid: 'two' }, { kid: 1 }]) {
      const forged = Buffer.from(JSON.stringify({ ...parsed, ...more })).toString('base64url');
      expect([more, keys.verify(`${forged}.${payload}.${signature}`)]).toEqual([more, undefined]);
    }
    for (const nonsense of ['', '.', '..', 'a.b.c', `${header}.${payload}`])
      expect(keys.verify(nonsense)).toBeUndefined();
  });

  test('leave out keys that are weak, symmetric, for something else, or broken', async () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
    const good = newKey('ES256', 'good');
    published = [
      jwkOf(weak, { kid: 'weak', alg: 'RS256' }),
      { kty: 'oct', k: 'AAAA', kid: 'symmetric', alg: 'HS256' },
      jwkOf(good.verifyingKey, { kid: 'encrypts', alg: 'ES256', use: 'enc' }),
      jwkOf(good.verifyingKey, { kid: 'curve', alg: 'ES384' }),
      jwkOf(good.verifyingKey, { kid: 'type', alg: 'RS256' }),
      jwkOf(good.verifyingKey, { alg: 'ES256' }),
      { kid: 'broken', alg: 'ES256', kty: 'EC', crv: 'P-256', x: 'x', y: 'y' },
      jwkOf(good.verifyingKey, { kid: 'good', alg: 'ES256' }),
    ];
    await keys.reload();
    expect(keys.size).toBe(1);
  });

  test('check the issuer and the audience', async () => {
    const key = newKey('ES256', 'one');
    published = ringOf([key]).jwks().keys;
    await keys.reload();
    const plain = ringOf([key]).sign({ sub: 'alice' }, 'at+jwt');
    const full = ringOf([key], { issuer: 'app', audience: ['notes', 'files'] }).sign({ sub: 'alice' }, 'at+jwt');
    const verdicts = () => [plain, full].map((token) => keys.verify(token) !== undefined);
    expect(verdicts()).toEqual([true, true]);
    expected = { issuer: 'app', audience: ['files', 'mail'] };
    expect(verdicts()).toEqual([false, true]);
    expected = { issuer: 'other', audience: ['files'] };
    expect(verdicts()).toEqual([false, false]);
    expected = { issuer: 'app', audience: ['mail'] };
    expect(verdicts()).toEqual([false, false]);
  });

  test('forget a key that the issuer has removed or replaced', async () => {
    const [one, two] = [newKey('ES256', 'one'), newKey('ES256', 'two')];
    published = ringOf([one, two]).jwks().keys;
    await keys.reload();
    const { edition } = keys;
    const token = ringOf([one]).sign({ sub: 'alice' }, 'at+jwt');
    expect(keys.verify(token)).toBeDefined();
    published = ringOf([two]).jwks().keys;
    await keys.reload();
    expect(keys.verify(token)).toBeUndefined();
    expect(keys.edition).toBe(edition + 1);
    published = ringOf([newKey('ES256', 'two')]).jwks().keys;
    await keys.reload();
    expect(keys.verify(ringOf([two]).sign({ sub: 'alice' }, 'at+jwt'))).toBeUndefined();
    expect(keys.edition).toBe(edition + 2);
  });

  test('are loaded once for all who wait, and at most once a second, by a load that begins after the question', async () => {
    await keys.reload();
    const ring = ringOf([newKey('ES256', 'new')]);
    const token = ring.sign({ sub: 'alice' }, 'at+jwt');
    expect([keys.isUnknown(token), keys.isUnknown('a.b.c'), keys.isUnknown('')]).toEqual([true, false, false]);
    const startedAt = performance.now();
    const waiting = Array.from({ length: 500 }, () => keys.reload());
    published = ring.jwks().keys;
    await Promise.all(waiting);
    expect(loads).toBe(2);
    expect(performance.now() - startedAt).toBeGreaterThan(900);
    expect(keys.verify(token)).toBeDefined();
    expect(keys.isUnknown(token)).toBe(false);
  });

  test('stay as they are if they cannot be loaded', async () => {
    const ring = ringOf([newKey('ES256', 'one')]);
    published = ring.jwks().keys;
    await keys.reload();
    const failing = new IssuerKeys(
      () => Promise.reject(new Error('away')),
      () => expected,
    );
    await expect(failing.reload()).rejects.toThrow('away');
    expect([failing.isUsable, failing.isDue, keys.isUsable, keys.isDue]).toEqual([false, true, true, false]);
    await expect(failing.reload()).rejects.toThrow('away');
  });
});
