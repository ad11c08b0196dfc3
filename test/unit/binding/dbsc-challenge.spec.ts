import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import type { JwtOptions } from 'nestjs-multisession';
import { DbscChallenges, isRecent } from '../../../lib/binding/dbsc-challenge.js';
import { derivedKeys } from '../../../lib/token/derived-keys.js';
import { configOf } from '../../helpers/options.js';

const SESSION = '0199f3c2-7a51-7c3e-9d0a-3f6b1c2d4e5f';
const OTHER = '0199f3c2-7a51-7c3e-9d0a-3f6b1c2d4e60';
const [ONE, TWO] = ['one', 'two'].map((name) => `the secret ${name} of more than thirty-two bytes`);
const PAIR = generateKeyPairSync('ec', {
  namedCurve: 'P-256',
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const CONTENT = { sessionId: SESSION, generation: 41, madeAt: 1_796_000_000_123 };
const challengesWith = (jwt: JwtOptions) => new DbscChallenges(derivedKeys(configOf({ jwt }).tokens, 'dbsc challenge'));

describe('a challenge', () => {
  const challenges = challengesWith({ secret: ONE });
  const text = challenges.write('refresh', CONTENT);

  test('states its session, generation and time, and may be read again', () => {
    expect(text).toMatch(/^[\w.-]{60,160}$/);
    expect(challenges.read('refresh', text)).toEqual(CONTENT);
    expect(challenges.read('refresh', text)).toEqual(CONTENT);
  });

  test('for a registration is none for a refresh, nor the other way round', () => {
    expect(challenges.read('register', text)).toBeUndefined();
    expect(challenges.read('refresh', challenges.write('register', CONTENT))).toBeUndefined();
  });

  test('cannot be made without the key, nor changed', () => {
    const [session, generation, time, code] = text.split('.');
    const changed = [
      '',
      'c0',
      `${OTHER}.${generation}.${time}.${code}`,
      `${session}.0.${time}.${code}`,
      `${session}.${generation}.${time}0.${code}`,
      `${session}.${generation}.${time}.${'A'.repeat(43)}`,
      `${session}.${generation}.${time}`,
      `${text}A`,
      `${text} `,
      challengesWith({ secret: TWO }).write('refresh', CONTENT),
    ];
    for (const attempt of changed) expect([attempt, challenges.read('refresh', attempt)]).toEqual([attempt, undefined]);
  });

  test('is good for its life, and not if it seems to come from the future', () => {
    const at = (offset: number) => isRecent(CONTENT, CONTENT.madeAt + offset, 60_000);
    expect([0, 59_999, 60_000, -5000, -5001].map(at)).toEqual([true, true, false, true, false]);
  });
});

test.each<[string, JwtOptions, JwtOptions]>([
  ['a secret', { secret: ONE }, { secret: ONE }],
  ['a new secret before the old one', { secret: ONE }, { keys: [{ secret: TWO }, { secret: ONE }] }],
  [
    'a key pair',
    { keys: [{ algorithm: 'ES256', privateKey: PAIR.privateKey }] },
    { keys: [{ secret: ONE }, { algorithm: 'ES256', privateKey: PAIR.privateKey }] },
  ],
  ['managed keys', { managed: { encryptionKey: ONE } }, { managed: { encryptionKey: ONE } }],
  ['managed keys after a secret', { secret: ONE }, { secret: ONE, managed: { encryptionKey: TWO } }],
  ['a new encryption key', { managed: { encryptionKey: ONE } }, { managed: { encryptionKey: [TWO, ONE] } }],
])('%s: another process, and one after the keys were rotated, reads the challenge', (_, before, after) => {
  const old = challengesWith(before).write('refresh', CONTENT);
  expect(challengesWith(before).read('refresh', old)).toEqual(CONTENT);
  expect(challengesWith(after).read('refresh', old)).toEqual(CONTENT);
});
