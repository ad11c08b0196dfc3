import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { readOptions } from '../../../lib/engine/options.js';
import { MultiSessionConfigurationError } from '../../../lib/errors.js';

const JWT_SECRET = 'a signing secret of more than thirty-two bytes';
const SECRET_KEY = 'the secret key of the tests';
const LONG = { refreshTokenLifetime: '30d' } as const;
const SIMPLEJWT = { system: 'simplejwt-multisessions', signingKey: 'an old key' };
const TOKEN_MANAGER = { system: 'django-token-manager', signingKey: 'an old key' };

const publicPem = (type: 'rsa' | 'ec') =>
  (type === 'ec'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 })
  ).publicKey
    .export({ type: 'spki', format: 'pem' })
    .toString();

function read(legacyTokens: unknown, more: object = {}) {
  const options = { jwt: { secret: JWT_SECRET }, secretKey: SECRET_KEY, policies: { LONG }, legacyTokens, ...more };
  return readOptions(options as Parameters<typeof readOptions>[0], ['LONG']);
}

function faultsOf(...given: Parameters<typeof read>): readonly string[] {
  try {
    read(...given);
  } catch (error) {
    expect(error).toBeInstanceOf(MultiSessionConfigurationError);
    return (error as MultiSessionConfigurationError).faults;
  }
  return [];
}

describe('the option legacyTokens', () => {
  test.each([
    [undefined],
    [[]],
    [[SIMPLEJWT]],
    [
      [
        SIMPLEJWT,
        TOKEN_MANAGER,
        { system: 'drf-jwt-devices' },
        { system: 'supertokens-django-ref-jwt', signingKey: 'k' },
      ],
    ],
    [[{ ...SIMPLEJWT, signingKey: SECRET_KEY }]],
    [[{ ...SIMPLEJWT, algorithm: 'HS512', userIdClaim: 'sub', until: '2027-06-30', replaceAtFirstUse: true }]],
    [[{ ...SIMPLEJWT, until: '2027-06-30T12:00:00+02:00' }]],
    [[{ ...SIMPLEJWT, algorithm: 'RS256', signingKey: publicPem('rsa') }]],
    [[{ ...SIMPLEJWT, algorithm: 'ES256', signingKey: publicPem('ec') }]],
  ])('may be %j', (legacyTokens) => {
    expect(faultsOf(legacyTokens)).toEqual([]);
  });

  test('is complete afterwards', () => {
    expect(read([{ ...SIMPLEJWT, until: '2027-06-30T12:00Z' }]).legacyTokens).toEqual([
      expect.objectContaining({
        algorithm: 'HS256',
        userIdClaim: 'user_id',
        until: Date.UTC(2027, 5, 30, 12),
        replaceAtFirstUse: false,
      }),
    ]);
    expect(read(undefined).legacyTokens).toEqual([]);
    expect(read([SIMPLEJWT]).legacyTokens[0].until).toBe(Infinity);
  });

  test.each<[unknown, RegExp]>([
    [{}, /^legacyTokens: must be a list, such as .*; got an object/],
    [['simplejwt-multisessions'], /^legacyTokens\[0\]: must be an object; got a string/],
    [[{ signingKey: 'x' }], /^legacyTokens\[0\]\.system: must be one of simplejwt-multisessions, drf-jwt-devices/],
    [[{ system: 'django' }], /^legacyTokens\[0\]\.system: must be one of .*; got "django"/],
    [[SIMPLEJWT, SIMPLEJWT], /^legacyTokens\[1\]\.system: is "simplejwt-multisessions", as in another entry, number 1/],
    [[{ ...SIMPLEJWT, key: 'x' }], /^legacyTokens\[0\]\.key: is not an option/],
    [[{ system: 'simplejwt-multisessions' }], /^legacyTokens\[0\]\.signingKey: is missing; give SIGNING_KEY/],
    [[{ system: 'django-token-manager' }], /^legacyTokens\[0\]\.signingKey: is missing; give Django's SECRET_KEY/],
    [[{ system: 'supertokens-django-ref-jwt' }], /^legacyTokens\[0\]\.signingKey: is missing; give key_value/],
    [[{ ...SIMPLEJWT, signingKey: ' ' }], /^legacyTokens\[0\]\.signingKey: must be a string that is not blank/],
    [[{ system: 'drf-jwt-devices', signingKey: 'x' }], /^legacyTokens\[0\]\.signingKey: is not used/],
    [[{ ...TOKEN_MANAGER, algorithm: 'HS512' }], /^legacyTokens\[0\]\.algorithm: is only for simplejwt-multisessions/],
    [[{ ...TOKEN_MANAGER, userIdClaim: 'sub' }], /^legacyTokens\[0\]\.userIdClaim: is only for simplejwt-multi/],
    [[{ ...SIMPLEJWT, algorithm: 'none' }], /^legacyTokens\[0\]\.algorithm: must be one of HS256/],
    [[{ ...SIMPLEJWT, algorithm: 'RS256' }], /^legacyTokens\[0\]\.signingKey: could not be read as a key for RS256/],
    [
      [{ ...SIMPLEJWT, algorithm: 'RS256', signingKey: publicPem('ec') }],
      /^legacyTokens\[0\]\.signingKey: could not be read as a key for RS256/,
    ],
    [
      [{ ...SIMPLEJWT, until: 'next year' }],
      /^legacyTokens\[0\]\.until: must be a date such as '2027-06-30'.*"next year"/,
    ],
    [[{ ...SIMPLEJWT, until: '2027-13-30' }], /^legacyTokens\[0\]\.until: must be a date/],
    [[{ ...SIMPLEJWT, until: '2027-06-30T12:00' }], /^legacyTokens\[0\]\.until: must be a date/],
    [[{ ...SIMPLEJWT, replaceAtFirstUse: 'yes' }], /^legacyTokens\[0\]\.replaceAtFirstUse: must be true or false/],
    [[{ ...SIMPLEJWT, signingKey: JWT_SECRET }], /^legacyTokens\[0\]\.signingKey: must differ from the keys in jwt/],
    [[{ ...TOKEN_MANAGER, signingKey: SECRET_KEY }], /^legacyTokens\[0\]\.signingKey: must differ from secretKey/],
  ])('refuses %j', (legacyTokens, fault) => {
    const faults = faultsOf(legacyTokens);
    expect(faults).toContainEqual(expect.stringMatching(fault));
    expect(faults.join()).not.toContain(JWT_SECRET);
  });

  test('needs the scheme of the clients of django-token-manager', () => {
    const jwt = { secret: JWT_SECRET, header: { schemes: 'Bearer' } };
    expect(faultsOf([TOKEN_MANAGER], { jwt })).toEqual([
      expect.stringMatching(/^jwt\.header\.schemes: must include 'JWT'/),
    ]);
    expect(faultsOf([SIMPLEJWT], { jwt })).toEqual([]);
  });
});
