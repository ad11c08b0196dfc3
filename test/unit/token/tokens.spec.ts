import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { OptionFaults } from '../../../lib/option-check.js';
import { type AccessTokenSubject, AccessTokens } from '../../../lib/token/access-token.js';
import { Keyring } from '../../../lib/token/keyring.js';
import { parentHashOf } from '../../../lib/token/parent-hash.js';
import { RefreshTokens } from '../../../lib/token/refresh-token.js';
import { type JwtOptions, readTokenOptions } from '../../../lib/token/options.js';

const SECRET = 'a signing secret of more than thirty-two bytes';
const NOW = Date.UTC(2026, 0, 1, 12);

function tokensFor(jwt: JwtOptions, userIdType: 'string' | 'number' = 'string', now = NOW) {
  const faults = new OptionFaults();
  const config = readTokenOptions(jwt, userIdType, faults);
  expect(faults.list).toEqual([]);
  const keyring = new Keyring(config);
  return { keyring, access: new AccessTokens(keyring, config, () => now), refresh: new RefreshTokens(keyring, config) };
}

const subject = (more: Partial<AccessTokenSubject> = {}): AccessTokenSubject => ({
  userId: 'alice',
  sessionId: '0190b8a4-0000-7000-8000-000000000001',
  type: 'LONG',
  generation: 2,
  authenticatedAt: NOW - 60_000,
  expiresAt: NOW + 86_400_000,
  lifetime: 300_000,
  ...more,
});

const partsOf = (token: string) =>
  token
    .split('.')
    .slice(0, 2)
    .map((part): unknown => JSON.parse(Buffer.from(part, 'base64url').toString()));

describe('access tokens', () => {
  test('have the documented header and claims', () => {
    const { access, keyring } = tokensFor({ secret: SECRET });
    const [header, claims] = partsOf(access.issue(subject({ claims: { role: 'admin' } }), NOW + 999));
    expect(header).toEqual({ alg: 'HS256', typ: 'at+jwt', kid: keyring.current.kid });
    expect(claims).toEqual({
      token_type: 'access',
      iat: NOW / 1000,
      auth_time: NOW / 1000 - 60,
      exp: NOW / 1000 + 300,
      jti: expect.stringMatching(/^[0-9a-f]{32}$/),
      sub: 'alice',
      sid: '0190b8a4-0000-7000-8000-000000000001',
      gen: 2,
      session_type: 'LONG',
      role: 'admin',
    });
  });

  test('use the claim names, issuer and audience of the options', () => {
    const { access } = tokensFor({
      secret: SECRET,
      userIdClaim: 'user_id',
      tokenTypeClaim: 'kind',
      jtiClaim: 'id',
      issuer: 'me',
      audience: ['a', 'b'],
    });
    const token = access.issue(subject(), NOW);
    expect(partsOf(token)[1]).toMatchObject({ user_id: 'alice', kind: 'access', iss: 'me', aud: ['a', 'b'] });
    expect(access.verify(token)).toMatchObject({
      userId: 'alice',
      sessionId: '0190b8a4-0000-7000-8000-000000000001',
      sessionType: 'LONG',
      generation: 2,
    });
    expect(
      tokensFor({
        secret: SECRET,
        userIdClaim: 'user_id',
        tokenTypeClaim: 'kind',
        jtiClaim: 'id',
        issuer: 'you',
      }).access.verify(token),
    ).toBeUndefined();
  });

  test("do not let an application's claims replace ours", () => {
    const { access } = tokensFor({ secret: SECRET });
    const token = access.issue(subject({ claims: { sid: 'other', token_type: 'refresh', exp: 0 } }), NOW);
    expect(access.verify(token)).toMatchObject({ sessionId: '0190b8a4-0000-7000-8000-000000000001' });
  });

  test('expire with the session at the latest', () => {
    const { access } = tokensFor({ secret: SECRET });
    expect(partsOf(access.issue(subject({ expiresAt: NOW + 10_000 }), NOW))[1]).toMatchObject({ exp: NOW / 1000 + 10 });
  });

  test.each([
    ['just before its end', 299_999, 0, true],
    ['at its end', 300_000, 0, false],
    ['within the tolerance', 309_999, 10, true],
    ['past the tolerance', 310_000, 10, false],
  ])('%s', (_, after, clockTolerance, isValid) => {
    const token = tokensFor({ secret: SECRET }).access.issue(subject(), NOW);
    const { access } = tokensFor({ secret: SECRET, clockTolerance }, 'string', NOW + after);
    expect(access.verify(token) !== undefined).toBe(isValid);
  });

  test.each([
    ['string', 'sub', '00123', '00123', '00123'],
    ['string', 'sub', '{"a":1}', '{"a":1}', '{"a":1}'],
    ['number', 'sub', 42, '42', 42],
    ['number', 'user_id', 42, 42, 42],
  ] as const)('return a user id as it was given: %s under %s, %p', (kind, userIdClaim, userId, inToken, back) => {
    const { access } = tokensFor({ secret: SECRET, userIdClaim }, kind);
    const token = access.issue(subject({ userId }), NOW);
    expect(partsOf(token)[1]).toHaveProperty(userIdClaim, inToken);
    expect(access.verify(token)?.userId).toBe(back);
  });
});

describe('a token that was verified before', () => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const options: [string, JwtOptions][] = [
    ['HS256', { secret: SECRET, issuer: 'us', audience: 'shop' }],
    ['ES256', { keys: [{ algorithm: 'ES256', privateKey: pair.privateKey }] }],
  ];

  test.each(options)('gets the same verdict as for a fresh verifier, with every change of its text: %s', (_, jwt) => {
    const warm = tokensFor(jwt).access;
    const token = warm.issue(subject({ claims: { list: [1, { two: 2 }] } }), NOW);
    expect(warm.verify(token)).toBeDefined();
    for (let at = 0; at < token.length; at++) {
      for (const text of [
        token.slice(0, at),
        `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`,
      ]) {
        expect(warm.verify(text)).toEqual(tokensFor(jwt).access.verify(text));
      }
      expect(warm.verify(token)).toMatchObject({ userId: 'alice' });
    }
  });

  test('still expires', () => {
    let now = NOW;
    const faults = new OptionFaults();
    const config = readTokenOptions({ secret: SECRET }, 'string', faults);
    const access = new AccessTokens(new Keyring(config), config, () => now);
    const token = access.issue(subject(), NOW);
    expect(access.verify(token)).toBeDefined();
    now = NOW + 300_000;
    expect(access.verify(token)).toBeUndefined();
  });

  test('is not affected by a request that changes its claims', () => {
    const { access } = tokensFor({ secret: SECRET });
    const token = access.issue(subject({ claims: { roles: ['user'] } }), NOW);
    const first = access.verify(token) as unknown as { userId: string; claims: { roles: string[] } };
    first.userId = 'mallory';
    expect(() => first.claims.roles.push('admin')).toThrow(TypeError);
    expect(access.verify(token)).toMatchObject({ userId: 'alice', claims: { roles: ['user'] } });
  });

  test('is forgotten after too many others', () => {
    const { access, keyring } = tokensFor({ secret: SECRET });
    let asked = 0;
    const verify = keyring.verify.bind(keyring);
    keyring.verify = (text) => {
      asked++;
      return verify(text);
    };
    const first = access.issue(subject(), NOW);
    for (let at = 0; at < 2; at++) access.verify(first);
    expect(asked).toBe(1);
    for (let at = 0; at < 10_000; at++) access.verify(access.issue(subject(), NOW));
    access.verify(first);
    expect(asked).toBe(10_002);
  });
});

describe('refresh tokens', () => {
  const source = {
    sessionId: '0190b8a4-0000-7000-8000-000000000001',
    userId: 'alice',
    type: 'LONG',
    generation: 1,
    jti: 'ab'.repeat(16),
    issuedAt: NOW + 123,
    expiresAt: NOW + 3_600_000,
  };

  test('have the same text for the same row, on every process', () => {
    const [one, other] = [tokensFor({ secret: SECRET }), tokensFor({ secret: SECRET })];
    const text = one.refresh.issue({ ...source, kid: one.refresh.kid });
    expect(other.refresh.issue({ ...source, kid: one.refresh.kid })).toBe(text);
    expect(one.refresh.verify(text)).toEqual({
      sessionId: '0190b8a4-0000-7000-8000-000000000001',
      userId: 'alice',
      type: 'LONG',
      generation: 1,
      jti: source.jti,
      expiresAt: source.expiresAt,
      issuedAt: NOW / 1000,
      kid: one.refresh.kid,
    });
  });

  test('state a hash of the `jti` of their parent, if they have one', () => {
    const { refresh } = tokensFor({ secret: SECRET });
    const child = refresh.issue({ ...source, parentJti: 'cd'.repeat(16), kid: refresh.kid });
    expect(refresh.verify(child)?.parentHash).toBe(parentHashOf('cd'.repeat(16)));
    expect(child).not.toContain(Buffer.from('cd'.repeat(15)).toString('base64url'));
    const first = refresh.issue({ ...source, parentJti: null, kid: refresh.kid });
    expect(first).toBe(refresh.issue({ ...source, kid: refresh.kid }));
    expect(refresh.verify(first)).not.toHaveProperty('parentHash');
  });

  test('are of their time if their key signed then', () => {
    const { refresh, keyring } = tokensFor({ secret: SECRET });
    const token = { kid: refresh.kid, issuedAt: NOW / 1000 };
    expect(refresh.isOfItsTime(token)).toBe(true);
    expect(refresh.isOfItsTime({ ...token, kid: 'unknown' })).toBe(false);
    for (const [from, until, isOfItsTime] of [
      [NOW, NOW + 1, true],
      [NOW + 1, Infinity, false],
      [0, NOW, false],
    ] as const) {
      keyring.use([], undefined, new Map([[refresh.kid, { from, until }]]));
      expect(refresh.isOfItsTime(token)).toBe(isOfItsTime);
    }
  });

  test('are not accepted as access tokens, nor access tokens as refresh tokens', () => {
    const { access, refresh } = tokensFor({ secret: SECRET });
    expect(refresh.verify(access.issue(subject(), NOW))).toBeUndefined();
    expect(access.verify(refresh.issue({ ...source, kid: refresh.kid }))).toBeUndefined();
  });

  test('are signed again by the key of their generation, even after a newer key exists', () => {
    const [older, newer] = [randomBytes(32), randomBytes(32)];
    const before = tokensFor({ keys: [{ kid: '1', secret: older }] });
    const after = tokensFor({
      keys: [
        { kid: '2', secret: newer },
        { kid: '1', secret: older },
      ],
    });
    const text = before.refresh.issue({ ...source, kid: '1' });
    expect(after.refresh.issue({ ...source, kid: '1' })).toBe(text);
    expect(after.refresh.verify(text)).toBeDefined();
    expect(after.refresh.kid).toBe('2');
    expect(before.refresh.verify(after.refresh.issue({ ...source, kid: '2' }))).toBeUndefined();
  });
});

describe('keys', () => {
  const pairs = {
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  };

  test.each(Object.keys(pairs) as (keyof typeof pairs)[])(
    '%s signs with the private key and verifies with the public key alone',
    (algorithm) => {
      const { privateKey, publicKey } = pairs[algorithm]();
      const signer = tokensFor({
        keys: [{ algorithm, privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) }],
      });
      const token = signer.access.issue(subject(), NOW);
      const verifier = tokensFor({ keys: [{ secret: SECRET }, { algorithm, publicKey }] });
      expect(verifier.access.verify(token)).toMatchObject({ userId: 'alice' });
    },
  );

  test.each([
    ['neither', {}, 'jwt.secret: is missing'],
    ['both', { secret: SECRET, keys: [{ secret: SECRET }] }, 'not both'],
    ['a short secret', { secret: 'short' }, 'at least 32 bytes'],
    ['a short secret in bytes', { secret: Buffer.alloc(31) }, 'at least 32 bytes'],
    [
      'a small RSA key',
      { keys: [{ algorithm: 'RS256', privateKey: generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey }] },
      '2048 bits',
    ],
    [
      'a key of another kind',
      { keys: [{ algorithm: 'ES256', privateKey: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey }] },
      'type ec',
    ],
    [
      'a key on another curve',
      { keys: [{ algorithm: 'ES256', privateKey: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey }] },
      'prime256v1',
    ],
    ['a secret for RS256', { keys: [{ algorithm: 'RS256', secret: SECRET }] }, 'no secret'],
    [
      'a pair that does not belong together',
      { keys: [{ algorithm: 'ES256', privateKey: pairs.ES256().privateKey, publicKey: pairs.ES256().publicKey }] },
      'does not belong',
    ],
    [
      'a first key that cannot sign',
      { keys: [{ algorithm: 'ES256', publicKey: pairs.ES256().publicKey }] },
      'must be able to sign',
    ],
    ['no PEM', { keys: [{ algorithm: 'RS256', privateKey: 'nonsense' }] }, 'could not be read'],
    ['none', { secret: SECRET, algorithm: 'none' }, 'must be one of'],
  ])('%s is refused at start without quoting the key', (_, jwt, fault) => {
    const faults = new OptionFaults();
    readTokenOptions(jwt, 'string', faults);
    expect(faults.list.join()).toContain(fault);
    expect(faults.list.join()).not.toContain('nonsense');
  });
});
