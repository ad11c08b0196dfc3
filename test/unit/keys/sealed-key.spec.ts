import { createSecretKey } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { generateKey, KeySealer, type ManagedKey, sealedEpoch, type SealedRow } from '../../../lib/keys/sealed-key.js';
import type { JwtAlgorithm } from '../../../lib/token/key-options.js';

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

const ACTIVE_AT = new Date(1_800_000_000_000);
const EPOCH = '0123456789abcdef';

describe('KeySealer', () => {
  /** The row of a sealed key. */
  const rowOf = (key: ManagedKey, by = sealer, activeAt: Date | null = ACTIVE_AT): SealedRow => ({
    kid: key.kid,
    algorithm: key.algorithm,
    activeAt,
    sealed: by.seal(key, activeAt, EPOCH),
  });

  test.each<[JwtAlgorithm, Date | null]>([
    ['HS256', ACTIVE_AT],
    ['HS256', null],
    ['ES512', ACTIVE_AT],
  ])('decrypts a %s key that it has encrypted; active at %s', async (algorithm, activeAt) => {
    const key = await generateKey(algorithm);
    const opened = sealer.open(rowOf(key, sealer, activeAt));
    expect(isSameKey(opened, key)).toBe(true);
    expect(opened?.verifyingKey.equals(key.verifyingKey)).toBe(true);
  });

  test('decrypts what version 0.1.0 has encrypted', () => {
    const bytes = Buffer.alloc(32, 'secret');
    const sealed = 'BwcHBwcHBwcHBwcHPYdBjiRd3m7IqZUwbjd4IBFXZpGnbwU9M1NyYR3Cz7Y-u1nGO40CP0_avyaZjN99';
    const opened = sealer.open({ kid: 'a key of 0.1.0', algorithm: 'HS256', activeAt: ACTIVE_AT, sealed });
    expect(opened?.signingKey.export().equals(bytes)).toBe(true);
    expect(sealedEpoch(sealed)).toBeUndefined();
  });

  test('encrypts the same key differently each time', async () => {
    const key = await generateKey('HS256');
    expect(rowOf(key).sealed).not.toBe(rowOf(key).sealed);
  });

  test('does not contain the key in the clear', () => {
    const bytes = Buffer.alloc(32, 'secret');
    const signingKey = createSecretKey(bytes);
    const { sealed } = rowOf({ kid: 'a', algorithm: 'HS256', signingKey, verifyingKey: signingKey });
    for (const part of sealed.split('.')) expect(Buffer.from(part, 'base64url').includes(bytes)).toBe(false);
  });

  test('does not decrypt with another encryption key', async () => {
    const row = rowOf(await generateKey('HS256'));
    expect(new KeySealer([OTHER_SECRET]).open(row)).toBeUndefined();
    expect(new KeySealer([]).open(row)).toBeUndefined();
  });

  test('encrypts with the first of several encryption keys and decrypts with each', async () => {
    const key = await generateKey('HS256');
    const both = new KeySealer([OTHER_SECRET, SECRET]);
    expect(isSameKey(both.open(rowOf(key)), key)).toBe(true);
    const row = rowOf(key, both);
    expect(isSameKey(new KeySealer([OTHER_SECRET]).open(row), key)).toBe(true);
    expect(sealer.open(row)).toBeUndefined();
  });

  test.each<[string, Partial<SealedRow>]>([
    ['kid', { kid: 'another' }],
    ['algorithm', { algorithm: 'HS384' }],
    ['time of activation', { activeAt: new Date(ACTIVE_AT.getTime() + 1) }],
    ['time of activation, which is missing', { activeAt: null }],
  ])('does not decrypt under another %s', async (_, change) => {
    expect(sealer.open({ ...rowOf(await generateKey('HS256')), ...change })).toBeUndefined();
  });

  test('states the epoch in which a key was sealed, and does not decrypt under another', async () => {
    const row = rowOf(await generateKey('HS256'));
    expect(sealedEpoch(row.sealed)).toBe(EPOCH);
    const [version, , text] = row.sealed.split('.');
    for (const sealed of [
      `${version}.another.${text}`,
      `${version}..${text}`,
      text,
      `1.${EPOCH}.${text}`,
      `${row.sealed}.x`,
    ])
      expect(sealer.open({ ...row, sealed })).toBeUndefined();
  });

  test('does not decrypt if any byte was changed', async () => {
    const row = rowOf(await generateKey('HS256'));
    const at = row.sealed.lastIndexOf('.') + 1;
    const bytes = Buffer.from(row.sealed.slice(at), 'base64url');
    for (let byte = 0; byte < bytes.length; byte++) {
      const tampered = Buffer.from(bytes);
      tampered[byte] ^= 1;
      const sealed = row.sealed.slice(0, at) + tampered.toString('base64url');
      expect(sealer.open({ ...row, sealed })).toBeUndefined();
    }
  });

  test('does not decrypt what is too short', async () => {
    const row = rowOf(await generateKey('HS256'));
    for (const sealed of ['', 'AAAA', '2.', '2..', row.sealed.slice(0, 30), row.sealed.slice(0, -4)])
      expect(sealer.open({ ...row, sealed })).toBeUndefined();
  });
});
