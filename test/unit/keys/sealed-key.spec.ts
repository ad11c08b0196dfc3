import { createSecretKey } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { generateKey, KeySealer, type ManagedKey } from '../../../lib/keys/sealed-key.js';
import type { JwtAlgorithm } from '../../../lib/token/options.js';

const SECRET = 'an encryption key of more than thirty-two bytes';
const OTHER_SECRET = 'another encryption key of more than thirty-two bytes';
const sealer = new KeySealer([SECRET]);

const isSameKey = (one: ManagedKey | undefined, other: ManagedKey) =>
  one !== undefined &&
  one.signingKey.equals(other.signingKey) &&
  one.kid === other.kid &&
  one.algorithm === other.algorithm;

// RSA keys take a second to generate: the contract test of managed keys creates them.
describe('generateKey', () => {
  test.each<[JwtAlgorithm, number]>([
    ['HS256', 32],
    ['HS384', 48],
    ['HS512', 64],
  ])('creates a secret as long as the hash of %s', async (algorithm, bytes) => {
    const { signingKey, verifyingKey } = await generateKey(algorithm);
    expect([signingKey.type, signingKey.symmetricKeySize]).toEqual(['secret', bytes]);
    expect(verifyingKey.equals(signingKey)).toBe(true);
  });

  test.each<[JwtAlgorithm, string]>([
    ['ES256', 'prime256v1'],
    ['ES384', 'secp384r1'],
    ['ES512', 'secp521r1'],
  ])('creates a key pair on the curve of %s', async (algorithm, namedCurve) => {
    const { signingKey, verifyingKey } = await generateKey(algorithm);
    expect([signingKey.type, verifyingKey.type]).toEqual(['private', 'public']);
    expect(signingKey.asymmetricKeyDetails?.namedCurve).toBe(namedCurve);
  });

  test('gives every key its own kid and its own secret', async () => {
    const [one, other] = [await generateKey('HS256'), await generateKey('HS256')];
    expect(one.kid).not.toBe(other.kid);
    expect(one.signingKey.equals(other.signingKey)).toBe(false);
  });
});

describe('KeySealer', () => {
  test.each<JwtAlgorithm>(['HS256', 'ES512'])('decrypts a %s key that it has encrypted', async (algorithm) => {
    const key = await generateKey(algorithm);
    const opened = sealer.open(key.kid, algorithm, sealer.seal(key));
    expect(isSameKey(opened, key)).toBe(true);
    expect(opened?.verifyingKey.equals(key.verifyingKey)).toBe(true);
  });

  test('encrypts the same key differently each time', async () => {
    const key = await generateKey('HS256');
    expect(sealer.seal(key)).not.toBe(sealer.seal(key));
  });

  test('does not contain the key in the clear', () => {
    const bytes = Buffer.alloc(32, 'secret');
    const signingKey = createSecretKey(bytes);
    const sealed = sealer.seal({ kid: 'a', algorithm: 'HS256', signingKey, verifyingKey: signingKey });
    expect(Buffer.from(sealed, 'base64url').includes(bytes)).toBe(false);
  });

  test('does not decrypt with another encryption key', async () => {
    const key = await generateKey('HS256');
    const sealed = sealer.seal(key);
    expect(new KeySealer([OTHER_SECRET]).open(key.kid, 'HS256', sealed)).toBeUndefined();
    expect(new KeySealer([]).open(key.kid, 'HS256', sealed)).toBeUndefined();
  });

  test('encrypts with the first of several encryption keys and decrypts with each', async () => {
    const key = await generateKey('HS256');
    const both = new KeySealer([OTHER_SECRET, SECRET]);
    expect(isSameKey(both.open(key.kid, 'HS256', sealer.seal(key)), key)).toBe(true);
    const sealed = both.seal(key);
    expect(isSameKey(new KeySealer([OTHER_SECRET]).open(key.kid, 'HS256', sealed), key)).toBe(true);
    expect(sealer.open(key.kid, 'HS256', sealed)).toBeUndefined();
  });

  test('does not decrypt under another kid', async () => {
    const key = await generateKey('HS256');
    expect(sealer.open(`${key.kid}x`, 'HS256', sealer.seal(key))).toBeUndefined();
  });

  test('does not decrypt under another algorithm', async () => {
    const key = await generateKey('HS256');
    expect(sealer.open(key.kid, 'HS384', sealer.seal(key))).toBeUndefined();
  });

  test('does not decrypt if any byte was changed', async () => {
    const key = await generateKey('HS256');
    const sealed = Buffer.from(sealer.seal(key), 'base64url');
    for (let at = 0; at < sealed.length; at++) {
      const tampered = Buffer.from(sealed);
      tampered[at] ^= 1;
      expect(sealer.open(key.kid, 'HS256', tampered.toString('base64url'))).toBeUndefined();
    }
  });

  test('does not decrypt what is too short', async () => {
    const key = await generateKey('HS256');
    const sealed = sealer.seal(key);
    for (const short of ['', 'AAAA', sealed.slice(0, 30), sealed.slice(0, -4)])
      expect(sealer.open(key.kid, 'HS256', short)).toBeUndefined();
  });
});
