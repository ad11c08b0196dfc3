import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import type { JwtOptions } from 'nestjs-multisession';
import { CookieProof } from '../../../lib/http/cookie-proof.js';
import { configOf } from '../../helpers/options.js';

const ID = '0199f3c2-7a51-7c3e-9d0a-3f6b1c2d4e5f';
const OTHER = '0199f3c2-7a51-7c3e-9d0a-3f6b1c2d4e60';
const proofWith = (jwt: JwtOptions) => new CookieProof(configOf({ jwt }).tokens);
const [ONE, TWO] = ['one', 'two'].map((name) => `the secret ${name} of more than thirty-two bytes`);
const PAIR = generateKeyPairSync('ec', {
  namedCurve: 'P-256',
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});

describe('the proof of a session', () => {
  const proof = proofWith({ secret: ONE });
  const text = proof.write(ID);

  test('names the session, and is always the same', () => {
    expect(text).toMatch(new RegExp(`^${ID}\\.[\\w-]{43}$`));
    expect(proof.write(ID)).toBe(text);
    expect(proof.read(text)).toEqual({ sessionId: ID });
  });

  test('of a bound session also states when the device has proved its key', () => {
    const proven = proof.write(ID, 1_796_000_000_123);
    expect(proof.read(proven)).toEqual({ sessionId: ID, provenAt: 1_796_000_000_123 });
    const [, time, code] = proven.split('.');
    const later = (parseInt(time, 36) + 1).toString(36);
    for (const forged of [`${ID}.${later}.${code}`, `${ID}.${code}`, `${ID}.${time}.${text.slice(37)}`])
      expect([forged, proof.read(forged)]).toEqual([forged, undefined]);
  });

  test('cannot be made without the key, or from the proof of another session', () => {
    const code = text.slice(37);
    const [head, tail] = [text.slice(0, -2), text.slice(-1)];
    const forged = [
      '',
      ID,
      `${ID}.`,
      `${OTHER}.${code}`,
      `${ID.toUpperCase()}.${code}`,
      `${ID}.${'A'.repeat(43)}`,
      `${head}${text.at(-2) === 'A' ? 'B' : 'A'}${tail}`,
      `${text}A`,
      ` ${text}`,
      proofWith({ secret: TWO }).write(ID),
    ];
    for (const attempt of forged) expect([attempt, proof.read(attempt)]).toEqual([attempt, undefined]);
  });

  test.each<[string, JwtOptions, JwtOptions]>([
    ['a new secret before the old one', { secret: ONE }, { keys: [{ secret: TWO }, { secret: ONE }] }],
    [
      'a key pair',
      { keys: [{ algorithm: 'ES256', privateKey: PAIR.privateKey }] },
      { keys: [{ secret: ONE }, { algorithm: 'ES256', privateKey: PAIR.privateKey }] },
    ],
    ['managed keys after a secret', { secret: ONE }, { secret: ONE, managed: { encryptionKey: TWO } }],
    ['a new encryption key', { managed: { encryptionKey: ONE } }, { managed: { encryptionKey: [TWO, ONE] } }],
  ])('%s: the old proof is accepted, and the new one is another', (_, before, after) => {
    const old = proofWith(before).write(ID);
    expect(proofWith(after).read(old)).toEqual({ sessionId: ID });
    expect(proofWith(after).write(ID)).not.toBe(old);
    expect(proofWith(before).read(proofWith(after).write(ID))).toBeUndefined();
  });

  test('a public key proves nothing', () => {
    const keys = [{ secret: ONE }, { algorithm: 'ES256', publicKey: PAIR.publicKey } as const];
    const text = proofWith({ keys: [{ algorithm: 'ES256', privateKey: PAIR.privateKey }] }).write(ID);
    expect(proofWith({ keys }).read(text)).toBeUndefined();
  });
});
