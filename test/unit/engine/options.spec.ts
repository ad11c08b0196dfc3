import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { type MultiSessionOptions, SHORT_AND_LONG } from 'nestjs-multisession';
import { MultiSessionConfigurationError } from '../../../lib/errors.js';
import { readOptions } from '../../../lib/engine/options.js';

const SECRET = 'a signing secret of more than thirty-two bytes';
const LONG = { refreshTokenLifetime: '30d' } as const;

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
const privatePem = ec.privateKey.export({ type: 'pkcs8', format: 'pem' });
const publicPem = ec.publicKey.export({ type: 'spki', format: 'pem' });

/** The minimal options with a change of any type, as a configuration file could contain it. */
const withChange = (change: object): MultiSessionOptions => ({
  jwt: { secret: SECRET },
  secretKey: 'a secret key of the tests',
  policies: { LONG },
  ...change,
});

const policy = (change: object) => ({ policies: { LONG: { ...LONG, ...change } } });
const jwt = (change: object) => ({ jwt: { secret: SECRET, ...change } });
const keys = (...list: unknown[]) => ({ jwt: { keys: list } });

function faultsOf(options: MultiSessionOptions): readonly string[] {
  try {
    readOptions(options, Object.keys(options.policies ?? {}));
  } catch (error) {
    expect(error).toBeInstanceOf(MultiSessionConfigurationError);
    return (error as MultiSessionConfigurationError).faults;
  }
  return [];
}

describe('valid options', () => {
  test.each([
    ['the least', {}],
    ['the preset', { policies: SHORT_AND_LONG }],
    ['no secret key, said outright', { secretKey: false }],
    ['several secret keys', { secretKey: ['a secret key, the first', 'a secret key, the second'] }],
    ['time spans as numbers of seconds', policy({ refreshTokenLifetime: 60, accessTokenLifetime: 5, reuseGrace: 0.5 })],
    ['no grace', policy({ reuseGrace: 0 })],
    ['an extension that is due as long as the session lives', policy({ extendSession: { whenRemainingBelow: '30d' } })],
    ['a bound', policy({ extendSession: 'every-refresh', absoluteLifetime: '90d' })],
    ['a permanent session', policy({ permanent: true })],
    ['a permanent session with a bound', policy({ permanent: true, absoluteLifetime: '90d', touchInterval: '15d' })],
    ['a poll as often as what may be stale', { revocation: { pollInterval: '2s', maxStaleness: '2s' } }],
    ['no cleanup', { cleanup: false }],
    ['a kid of 64 characters', keys({ secret: SECRET, kid: `!~${'x'.repeat(62)}` })],
    ['a year as a number of seconds', policy({ refreshTokenLifetime: 365 * 86_400 })],
    ['more than a year with a unit', policy({ refreshTokenLifetime: '1000d' })],
    ['a session shorter than the default lifetime of an access token', policy({ refreshTokenLifetime: '1m' })],
    ['an access token as long as its session', policy({ accessTokenLifetime: '30d' })],
    ['the longest timers', { revocation: { pollInterval: '24d', maxStaleness: '24d' }, cleanup: { interval: '24d' } }],
    ['a secret of digits', { secretKey: '4071926538140726' }],
    ['a secret as bytes', { jwt: { secret: randomBytes(32) } }],
    ['a private key as PEM', keys({ algorithm: 'ES256', privateKey: privatePem })],
    ['a second key that only verifies', keys({ secret: SECRET }, { algorithm: 'ES256', publicKey: publicPem })],
  ])('%s', (_, change) => {
    expect(faultsOf(withChange(change))).toEqual([]);
  });
});

describe('an invalid option is named with its remedy', () => {
  test.each<[object, RegExp]>([
    // Unknown keys, at every level.
    [{ secretkey: 'x' }, /^secretkey: is not an option\. Options are: .*secretKey/],
    [jwt({ lifetime: '5m' }), /^jwt\.lifetime: is not an option/],
    [keys({ secret: SECRET, alg: 'HS256' }), /^jwt\.keys\[0\]\.alg: is not an option/],
    [policy({ lifetime: '5m' }), /^policies\.LONG\.lifetime: is not an option/],
    [
      policy({ extendSession: { below: '1d', whenRemainingBelow: '1d' } }),
      /^policies\.LONG\.extendSession\.below: is no/,
    ],
    [{ revocation: { interval: '1s' } }, /^revocation\.interval: is not an option/],
    [{ cleanup: { every: '1s' } }, /^cleanup\.every: is not an option/],
    [{ jwt: { secret: SECRET, header: { type: 'Bearer' } } }, /^jwt\.header\.type: is not an option/],
    // Not objects.
    [{ revocation: [] }, /^revocation: must be an object/],
    [{ cleanup: true }, /^cleanup: must be an object/],
    // Time spans.
    [policy({ refreshTokenLifetime: undefined }), /^policies\.LONG\.refreshTokenLifetime: is missing/],
    [policy({ refreshTokenLifetime: 0 }), /refreshTokenLifetime: must be more than 0; got 0/],
    [policy({ refreshTokenLifetime: '-1d' }), /refreshTokenLifetime: must be more than 0/],
    [policy({ refreshTokenLifetime: '60' }), /refreshTokenLifetime: must be a time span.*got "60"/],
    [policy({ refreshTokenLifetime: '' }), /refreshTokenLifetime: must be a time span/],
    [policy({ refreshTokenLifetime: 'a month' }), /refreshTokenLifetime: must be a time span/],
    [policy({ refreshTokenLifetime: NaN }), /refreshTokenLifetime: must be a time span/],
    [policy({ refreshTokenLifetime: Infinity }), /refreshTokenLifetime: must be a time span/],
    [policy({ refreshTokenLifetime: '101y' }), /refreshTokenLifetime: must be at most 100 years/],
    [policy({ refreshTokenLifetime: '1500ms' }), /refreshTokenLifetime: must be in whole seconds/],
    [policy({ accessTokenLifetime: -5 }), /accessTokenLifetime: must be more than 0/],
    [jwt({ accessTokenLifetime: '300' }), /^jwt\.accessTokenLifetime: must be a time span/],
    [jwt({ clockTolerance: -1 }), /^jwt\.clockTolerance: must be 0 or more/],
    [policy({ reuseGrace: -1 }), /reuseGrace: must be 0 or more/],
    [policy({ reuseGrace: '29d' }), /reuseGrace: must be at most 1 hour; got "29d"/],
    [
      policy({ reuseGrace: '15m', refreshTokenLifetime: '30m' }),
      /reuseGrace: must be shorter than half of refreshTokenLifetime/,
    ],
    [
      policy({ refreshTokenLifetime: 86_400_000 }),
      /refreshTokenLifetime: a number is in seconds, and 86400000 seconds are 1000 days; for milliseconds write '86400000ms'/,
    ],
    [
      policy({ absoluteLifetime: 86_400_000, extendSession: 'every-refresh' }),
      /absoluteLifetime: a number is in secon/,
    ],
    [policy({ accessTokenLifetime: '31d' }), /accessTokenLifetime: is 2678400 s and longer than refreshTokenLifetime/],
    [policy({ accessTokenLifetime: '2y' }), /accessTokenLifetime: must be at most 1 year/],
    [
      jwt({ accessTokenLifetime: '31d' }),
      /^policies\.LONG\.accessTokenLifetime: is 2678400 s, from jwt\.accessTokenLifetime, and longer/,
    ],
    [jwt({ clockTolerance: '1y' }), /^jwt\.clockTolerance: must be at most 1 minute; got "1y"/],
    [jwt({ clockTolerance: '61s' }), /^jwt\.clockTolerance: must be at most 1 minute/],
    [{ rememberDevices: '101y' }, /^rememberDevices: must be at most 100 years/],
    // Spans that become timers. Node.js fires a timer of more than 2^31 - 1 ms at once.
    [{ revocation: { maxStaleness: '30d' } }, /^revocation\.maxStaleness: must be at most 24 days; got "30d"/],
    [
      { revocation: { pollInterval: '24.9d', maxStaleness: '24d' } },
      /^revocation\.pollInterval: must be at most 24 days/,
    ],
    [{ revocation: { overlap: '30d' } }, /^revocation\.overlap: must be at most 24 days/],
    [{ cleanup: { interval: '30d' } }, /^cleanup\.interval: must be at most 24 days/],
    [{ cleanup: { interval: 0 } }, /^cleanup\.interval: must be more than 0/],
    [{ revocation: { pollInterval: 0 } }, /^revocation\.pollInterval: must be more than 0/],
    [{ revocation: { pollInterval: '5s', maxStaleness: '4s' } }, /^revocation\.maxStaleness: is below pollInterval/],
    [{ revocation: { overlap: '500ms' } }, /^revocation\.overlap: must be at least '1s'/],
    // Extension and its bound.
    [
      policy({ extendSession: { whenRemainingBelow: '31d' } }),
      /whenRemainingBelow: is longer than refreshTokenLifetime/,
    ],
    [policy({ extendSession: {} }), /whenRemainingBelow: is missing/],
    [policy({ extendSession: true }), /extendSession: must be false, 'every-refresh' or/],
    [
      policy({ extendSession: 'every-refresh', absoluteLifetime: '1d' }),
      /absoluteLifetime: is shorter than refreshTokenLifetime/,
    ],
    [policy({ absoluteLifetime: '90d' }), /absoluteLifetime: has no effect without extendSession/],
    [
      policy({ permanent: true, rotateRefreshTokens: true }),
      /rotateRefreshTokens: cannot be combined with permanent: true/,
    ],
    [
      policy({ permanent: true, extendSession: 'every-refresh' }),
      /extendSession: cannot be combined with permanent: true/,
    ],
    [policy({ permanent: true, updateLastLogin: false }), /updateLastLogin: cannot be combined with permanent: true/],
    [
      policy({ permanent: true, blacklistAfterRotation: true }),
      /blacklistAfterRotation: cannot be combined with permanent/,
    ],
    [policy({ permanent: true, touchInterval: '16d' }), /touchInterval: is more than half of refreshTokenLifetime/],
    [
      policy({ permanent: true, refreshTokenLifetime: '59m' }),
      /touchInterval: is more than half of refreshTokenLifetime/,
    ],
    [{ permanentTokenHeader: 'Authorization' }, /permanentTokenHeader: must differ from jwt.header.name/],
    [{ permanentTokenHeader: 'device-id' }, /permanentTokenHeader: must not be device-id/],
    [{ permanentTokenHeader: 'a b' }, /permanentTokenHeader: may only have letters, digits and -/],
    [
      { permanentTokenHeader: 'X-Token', jwt: { secret: SECRET, header: { name: 'X-Token' } } },
      /permanentTokenHeader: must differ from jwt.header.name/,
    ],
    [policy({ touchInterval: '1m' }), /touchInterval: has no effect without permanent: true/],
    // The rest of a policy.
    [policy({ maxActiveSessions: 0 }), /maxActiveSessions: must be a whole number, 1 or more; got 0/],
    [policy({ maxActiveSessions: '5' }), /maxActiveSessions: must be a whole number, 1 or more; got "5"/],
    [policy({ maxActiveSessions: 1.5 }), /maxActiveSessions: must be a whole number/],
    [policy({ whenFull: 'destroy-newest' }), /whenFull: must be one of destroy-oldest, refuse; got "destroy-newest"/],
    [policy({ accessCheck: 'none' }), /accessCheck: must be one of signature, blacklist, session/],
    [policy({ rotateRefreshTokens: 'false' }), /rotateRefreshTokens: must be true or false; got "false"/],
    [policy({ updateLastLogin: 1 }), /updateLastLogin: must be true or false/],
    // Session types.
    [{ policies: undefined }, /^policies: must name one session type or more/],
    [{ policies: {} }, /^policies: must name one session type or more/],
    [{ policies: { ALL: LONG } }, /^policies\.ALL: is reserved: ALL stands for every type/],
    [{ policies: { all: LONG } }, /^policies\.all: is reserved: ALL stands for every type/],
    [{ policies: { LONG, long: LONG } }, /^policies\.long: differs from LONG only in case/],
    [{ policies: { 'A B': LONG } }, /^policies\.A B: is not a valid type name; use 1 to 64 letters/],
    [{ policies: { ['x'.repeat(65)]: LONG } }, /is not a valid type name; use 1 to 64 letters/],
    // Keys and secrets.
    [{ secretKey: undefined }, /^secretKey: is missing/],
    [{ secretKey: '' }, /^secretKey: must be a string that is not blank/],
    [{ secretKey: ' ' }, /^secretKey: must be a string that is not blank/],
    [{ secretKey: [] }, /^secretKey: must not be empty/],
    [{ secretKey: ['a secret key, the first', 2] }, /^secretKey\[1\]: must be a string/],
    [{ secretKey: true }, /^secretKey: must be a string/],
    [{ jwt: { managed: {} } }, /^jwt\.managed\.encryptionKey: is missing; give at least 32 random bytes/],
    [{ jwt: { managed: { encryptionKey: 'short' } } }, /^jwt\.managed\.encryptionKey: must have at least 32 bytes/],
    [{ jwt: { managed: { encryptionKey: [SECRET, 'short'] } } }, /^jwt\.managed\.encryptionKey: must have/],
    [{ jwt: { managed: { encryptionKey: SECRET, algorithm: 'none' } } }, /^jwt\.managed\.algorithm: must be one of/],
    [
      { jwt: { managed: { encryptionKey: SECRET, rotateEvery: 0 } } },
      /^jwt\.managed\.rotateEvery: must be more than 0/,
    ],
    [
      { jwt: { managed: { encryptionKey: SECRET, rotateEvery: '1m' } } },
      /^jwt\.managed\.rotateEvery: is so short that \d+ keys would be kept/,
    ],
    [
      { jwt: { managed: { encryptionKey: SECRET } }, secretKey: SECRET },
      /^secretKey: must differ from .* the encryption key/,
    ],
    [{ secretKey: SECRET }, /^secretKey: must differ from the signing secret/],
    [{ secretKey: ['another secret key', SECRET] }, /^secretKey: must differ from the signing secret/],
    [{ jwt: undefined }, /^jwt\.secret: is missing/],
    [{ jwt: { secret: 'thirty-one bytes, so too short.' } }, /^jwt: a secret must have at least 32 bytes/],
    [{ jwt: { secret: Buffer.alloc(31) } }, /^jwt: a secret must have at least 32 bytes/],
    [{ jwt: { secret: 42 } }, /^jwt: /],
    [{ jwt: { secret: ec.publicKey } }, /^jwt: HS256 takes a secret/],
    [jwt({ algorithm: 'none' }), /^jwt\.algorithm: must be one of HS256/],
    [jwt({ algorithm: 'ES256' }), /^jwt: ES256 takes a privateKey/],
    [jwt({ keys: [{ secret: SECRET }] }), /^jwt: give either secret and algorithm, or keys, not both/],
    [
      { jwt: { algorithm: 'HS512', keys: [{ secret: SECRET }] } },
      /^jwt: give either secret and algorithm, or keys, not both/,
    ],
    [keys(), /^jwt\.keys: must be a list of at least one key/],
    [{ jwt: { keys: { secret: SECRET } } }, /^jwt\.keys: must be a list of at least one key/],
    [keys({}), /^jwt\.keys\[0\]: HS256 takes a secret/],
    // Names of keys.
    [keys({ secret: SECRET, kid: 'x'.repeat(65) }), /^jwt\.keys\[0\]\.kid: must have at most 64 characters; got 65/],
    [keys({ secret: SECRET, kid: 'clé' }), /^jwt\.keys\[0\]\.kid: may only have visible ASCII .*got "clé"/],
    [keys({ secret: SECRET, kid: 'a b' }), /^jwt\.keys\[0\]\.kid: may only have visible ASCII/],
    [keys({ secret: SECRET, kid: 'a\n' }), /^jwt\.keys\[0\]\.kid: may only have visible ASCII/],
    [keys({ secret: SECRET, kid: ' ' }), /^jwt\.keys\[0\]\.kid: must be a string that is not blank/],
    [keys({ secret: SECRET, kid: 7 }), /^jwt\.keys\[0\]\.kid: must be a string that is not blank; got a number/],
    [
      keys({ secret: SECRET, kid: 'a' }, { secret: `${SECRET}2`, kid: 'a' }),
      /^jwt\.keys\[1\]\.kid: is "a", as in jwt\.keys\[0\]; give each key another kid/,
    ],
    [keys({ secret: SECRET }, { secret: SECRET }), /^jwt\.keys\[1\]: is the same key as jwt\.keys\[0\]/],
    // Secrets that can be guessed.
    [{ jwt: { secret: 'a'.repeat(32) } }, /^jwt: the secret repeats one part again and again/],
    [{ jwt: { secret: Buffer.alloc(32) } }, /^jwt: the secret repeats one part/],
    [{ jwt: { secret: 'password'.repeat(4) } }, /^jwt: the secret repeats one part/],
    [{ jwt: { secret: 'abcdefghijk'.repeat(3).slice(0, 32) } }, /^jwt: the secret repeats one part/],
    [{ jwt: { secret: `${'a'.repeat(31)}b` } }, /^jwt: the secret has very few different characters/],
    [{ jwt: { secret: 'demo signing secret, which everybody knows' } }, /^jwt: the secret is a published example/],
    [keys({ secret: SECRET }, { secret: 'b'.repeat(40) }), /^jwt\.keys\[1\]: the secret repeats one part/],
    [{ jwt: { managed: { encryptionKey: 'a'.repeat(32) } } }, /^jwt\.managed\.encryptionKey: repeats one part/],
    [jwt({ managed: { encryptionKey: SECRET } }), /^jwt\.managed\.encryptionKey: must differ from the signing secrets/],
    [{ secretKey: 'x' }, /^secretKey: must have at least 16 characters; got 1\. Give a long random string/],
    [{ secretKey: 'a'.repeat(16) }, /^secretKey: repeats one part/],
    [
      { secretKey: ['a secret key, the first', 'fifteen letters'] },
      /^secretKey\[1\]: must have at least 16 characters/,
    ],
    [keys({ secret: SECRET, privateKey: privatePem }), /^jwt\.keys\[0\]: HS256 takes a secret, and neither/],
    [keys({ algorithm: 'RS256', privateKey: privatePem }), /^jwt\.keys\[0\]: RS256 takes a key of type rsa/],
    [keys({ algorithm: 'ES384', privateKey: privatePem }), /^jwt\.keys\[0\]: ES384 takes a key on the curve/],
    [keys({ algorithm: 'RS256', privateKey: weakRsa.privateKey }), /at least 2048 bits/],
    [keys({ algorithm: 'ES256', publicKey: publicPem }), /^jwt\.keys\[0\]: must be able to sign/],
    [keys({ algorithm: 'ES256', privateKey: 'not a key' }), /^jwt\.keys\[0\]: could not be read as a key/],
    [
      keys({ algorithm: 'ES256', privateKey: privatePem, publicKey: otherPublicKey() }),
      /^jwt\.keys\[0\]: publicKey does not belong to privateKey/,
    ],
    [jwt({ userIdClaim: 'sid' }), /^jwt: two claims would have the name "sid"/],
    [jwt({ jtiClaim: 'token_type' }), /^jwt: two claims would have the name "token_type"/],
    // The rest.
    [jwt({ issuer: '' }), /^jwt\.issuer: must be a string/],
    [jwt({ audience: ['web', 7] }), /^jwt\.audience\[1\]: must be a string/],
    [{ userIdType: 'uuid' }, /^userIdType: must be one of string, number/],
    [{ usernameField: '' }, /^usernameField: must be a string/],
    [{ maxInfoLength: 0 }, /^maxInfoLength: must be a whole number/],
    [{ jwt: { secret: SECRET, header: { schemes: [] } } }, /^jwt\.header\.schemes: must not be empty/],
    [{ usernameField: 'session' }, /^usernameField: must not be 'session'/],
    [{ maxInfoLength: 16_001 }, /^maxInfoLength: must be at most 16000/],
    [{ cleanup: { batchSize: 0 } }, /^cleanup\.batchSize: must be a whole number/],
    [{ cleanup: { batchSize: 100_000 } }, /^cleanup\.batchSize: must be at most 1000.*got 100000/],
  ])('%j', (change, fault) => {
    const faults = faultsOf(withChange(change));
    expect(faults).toEqual(expect.arrayContaining([expect.stringMatching(fault)]));
    // One mistake is reported as one fault.
    expect(faults).toHaveLength(1);
  });
});

test.each([
  [{ jwt: 'text' }, 'jwt: must be an object; got a string', /^jwt\.secret: is missing/],
  [
    { policies: { LONG: '30d' } },
    'policies.LONG: must be an object; got a string',
    /^policies\.LONG\.refreshTokenLifetime: is missing/,
  ],
])('%j: what it should have held is named with it', (change, fault, missing) => {
  expect(faultsOf(withChange(change))).toEqual([fault, expect.stringMatching(missing)]);
});

test('one error names every fault once', () => {
  const options = withChange({
    jwt: { secret: 'short', accessTokenLifetime: 0 },
    secretKey: undefined,
    policies: { ALL: { refreshTokenLifetime: 'x' } },
    revocation: { pollInterval: '-1s' },
    extra: true,
  });
  const names = faultsOf(options).map((fault) => fault.slice(0, fault.indexOf(':')));
  expect(names.sort()).toEqual([
    'extra',
    'jwt',
    'jwt.accessTokenLifetime',
    'policies.ALL',
    'policies.ALL.refreshTokenLifetime',
    'revocation.pollInterval',
    'secretKey',
  ]);
});

test('messages never contain a secret', () => {
  const secret = 'correct horse battery';
  const places = [
    { secretKey: { value: secret } },
    { secretKey: ['', secret] },
    { jwt: secret },
    { jwt: { secret } },
    { jwt: { secret, algorithm: 'RS256' } },
    { jwt: { secret: [secret] } },
    { jwt: { keys: secret } },
    { jwt: { keys: [secret] } },
    keys({ secret }),
    { jwt: { secret: 'correct'.repeat(5) } },
    keys({ algorithm: 'ES256', privateKey: secret }),
    keys({ algorithm: 'ES256', privateKey: `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----` }),
    { jwt: { secret: secret.repeat(2) }, secretKey: secret.repeat(2) },
  ];
  for (const place of places) {
    const faults = faultsOf(withChange(place));
    expect(faults.length).toBeGreaterThan(0);
    expect(faults.join('\n')).not.toContain(secret);
  }
});

function otherPublicKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return createPublicKey(createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })));
}

test('the default lifetime of an access token is that of a shorter session', () => {
  const { policies } = readOptions(withChange(policy({ refreshTokenLifetime: '1m' })), ['LONG']);
  expect(policies.get('LONG')?.accessTokenLifetime).toBe(60_000);
});

test('a random secret is never refused as one that can be guessed', () => {
  for (let i = 0; i < 200; i++) {
    const bytes = randomBytes(32);
    for (const secret of [bytes, bytes.toString('hex'), bytes.toString('base64url')])
      expect(faultsOf(withChange({ jwt: { secret } }))).toEqual([]);
  }
});
