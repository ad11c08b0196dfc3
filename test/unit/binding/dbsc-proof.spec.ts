import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { readProofHeader, readSessionIdHeader } from '../../../lib/binding/dbsc-headers.js';
import { ProofKey } from '../../../lib/binding/proof-key.js';
import { verifyRefreshProof, verifyRegistrationProof } from '../../../lib/binding/dbsc-proof.js';
import {
  deviceKeys,
  macOf,
  proofOf,
  refreshProof,
  registrationProof,
  rsaKeys,
  unsigned,
} from '../../helpers/dbsc-proofs.js';

interface Captured {
  readonly url: string;
  readonly headers: Record<string, string>;
}

const captured = (file: string) =>
  (JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')) as { requests: Captured[] }).requests;

const HERE = { audience: 'https://app.test/dbsc/here/' };
const AT = { audience: 'https://app.test:5261/dbsc/reg', authorization: 'code-123' };
const EC = deviceKeys();
const RSA = rsaKeys();

describe.each(['./chromium-156.json', './chromium-156-audience.json'])('what Chromium sends: %s', (file) => {
  const [registration, ...refreshes] = captured(file);
  const jwtOf = ({ headers }: Captured) => readProofHeader(headers['secure-session-response']) ?? '';
  const registered = verifyRegistrationProof(jwtOf(registration), AT);

  test('the registration contains the key', () => {
    expect(registered).toMatchObject({ challenge: 'c0', key: { jwk: { kty: 'EC', crv: 'P-256' } } });
    expect(registered?.key.thumbprint).toMatch(/^[\w-]{43}$/);
  });

  test('the refreshes are signed with that key, and with no other', () => {
    const audience = { audience: 'https://app.test:5261/dbsc/refresh' };
    const challenges = refreshes.map((one) => verifyRefreshProof(jwtOf(one), registered?.key.jwk, audience)?.challenge);
    expect(challenges).toEqual(['c1', 'c2']);
    for (const one of refreshes) expect(verifyRefreshProof(jwtOf(one), EC.jwk, audience)).toBeUndefined();
  });

  test('a registration is no refresh, and a refresh no registration', () => {
    expect(verifyRefreshProof(jwtOf(registration), registered?.key.jwk, AT)).toBeUndefined();
    expect(verifyRegistrationProof(jwtOf(refreshes[0]), AT)).toBeUndefined();
  });
});

test('where the proof says for which URL it is, that must be this one', () => {
  const [registration] = captured('./chromium-156-audience.json');
  const jwt = registration.headers['secure-session-response'];
  const at = (audience: string) => verifyRegistrationProof(jwt, { ...AT, audience })?.challenge;
  expect(at('https://app.test:5261/dbsc/reg/')).toBe('c0');
  // Behind a proxy, the server does not know the scheme, host and port that the browser sees.
  expect(at('http://10.0.0.1/dbsc/reg')).toBe('c0');
  expect(at('https://app.test:5261/dbsc/refresh')).toBeUndefined();
  for (const aud of [7, null, ['https://app.test/dbsc/here/'], 'here', ''])
    expect([aud, verifyRefreshProof(proofOf(EC, {}, { jti: 'c', aud }), EC.jwk, HERE)]).toEqual([aud, undefined]);
});

describe.each([
  ['ES256', EC],
  ['RS256', RSA],
])('%s', (_, keys) => {
  test('a registration and a refresh', () => {
    const registered = verifyRegistrationProof(registrationProof(keys, 'one'), HERE);
    expect(registered).toMatchObject({ challenge: 'one', key: { jwk: keys.jwk } });
    const refreshed = verifyRefreshProof(refreshProof(keys, 'two'), registered?.key.jwk, HERE);
    expect(refreshed).toEqual({ challenge: 'two' });
  });

  test('a changed byte of the header, the claims or the signature breaks it', () => {
    const jwt = refreshProof(keys, 'a challenge');
    const parts = jwt.split('.');
    const changes = parts.map((part, at) => {
      const middle = Math.floor(part.length / 2);
      const other = part[middle] === 'A' ? 'B' : 'A';
      return parts.with(at, part.slice(0, middle) + other + part.slice(middle + 1)).join('.');
    });
    for (const changed of changes) expect(verifyRefreshProof(changed, keys.jwk, HERE)).toBeUndefined();
  });
});

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Returns another text for the same 32 bytes: its last two bits do not count. */
function respelled(text: string): string {
  return text.slice(0, -1) + BASE64URL[BASE64URL.indexOf(text.slice(-1)) ^ 1];
}

describe('proofs that do not count', () => {
  const other = deviceKeys();
  const claims = { jti: 'c' };
  const pem = EC.publicKey.export({ type: 'spki', format: 'pem' }) as string;
  const jwk384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const short = rsaKeys(1024);
  const withZero = { ...EC.jwk, x: `${String(EC.jwk.x)}=` };
  const privateKey = EC.privateKey.export({ format: 'jwk' });
  const privateRsa = RSA.privateKey.export({ format: 'jwk' });

  test.each<[string, string]>([
    ['no signature (none)', `${unsigned({ alg: 'none', typ: 'dbsc+jwt' }, claims)}.`],
    ['none with a signature', proofOf(EC, { alg: 'none' }, claims)],
    ['HS256 with the public key in PEM', macOf(pem, { alg: 'HS256', typ: 'dbsc+jwt' }, claims)],
    ['HS256 with the public key as JSON', macOf(JSON.stringify(EC.jwk), { alg: 'HS256', typ: 'dbsc+jwt' }, claims)],
    ['another algorithm', proofOf(EC, { alg: 'ES384' }, claims)],
    ['RS256 for an elliptic key', proofOf(EC, { alg: 'RS256' }, claims)],
    ['another typ', proofOf(EC, { typ: 'JWT' }, claims)],
    ['the typ of DPoP', proofOf(EC, { typ: 'dpop+jwt' }, claims)],
    ['no typ', proofOf(EC, { typ: undefined }, claims)],
    ['a critical extension', proofOf(EC, { crit: ['b64'] }, claims)],
    ['a key in the header', proofOf(EC, { jwk: EC.jwk }, claims)],
    ['another key', proofOf(other, {}, claims)],
    ['another key that it names itself', proofOf(other, { jwk: other.jwk }, claims)],
    ['no jti', proofOf(EC, {}, {})],
    ['a jti that is no text', proofOf(EC, {}, { jti: ['c'] })],
    ['two parts', unsigned({ alg: 'ES256', typ: 'dbsc+jwt' }, claims)],
    ['four parts', `${refreshProof(EC, 'c')}.`],
    ['no JSON', 'e30.bm8.e30'],
    ['a list', `W10.${refreshProof(EC, 'c').split('.').slice(1).join('.')}`],
    ['nothing', ''],
  ])('a refresh with %s', (_, jwt) => {
    expect(verifyRefreshProof(jwt, EC.jwk, HERE)).toBeUndefined();
  });

  test.each<[string, string]>([
    ['no key', refreshProof(EC, 'c')],
    ['a private key', proofOf(EC, { jwk: privateKey }, claims)],
    ['a private exponent beside the key', proofOf(EC, { jwk: { ...EC.jwk, d: 'AA' } }, claims)],
    ['a private RSA key', proofOf(RSA, { jwk: privateRsa }, claims)],
    ['a prime beside the RSA key', proofOf(RSA, { jwk: { ...RSA.jwk, p: 'AA' } }, claims)],
    ['a symmetric key', macOf('k', { alg: 'HS256', typ: 'dbsc+jwt', jwk: { kty: 'oct', k: 'aw' } }, claims)],
    ['another key than the one that signed', proofOf(EC, { jwk: other.jwk }, claims)],
    [
      'another curve',
      proofOf({ ...jwk384, alg: 'ES256' }, { jwk: jwk384.publicKey.export({ format: 'jwk' }) }, claims),
    ],
    ['a short RSA key', registrationProof(short, 'c')],
    ['an RSA key under ES256', proofOf(EC, { jwk: RSA.jwk }, claims)],
    ['an elliptic key under RS256', proofOf(RSA, { jwk: EC.jwk }, claims)],
    ['a key with padding', proofOf(EC, { jwk: withZero }, claims)],
    ['a key in another spelling', proofOf(EC, { jwk: { ...EC.jwk, x: respelled(String(EC.jwk.x)) } }, claims)],
    ['a point that is not on the curve', proofOf(EC, { jwk: { ...EC.jwk, y: EC.jwk.x } }, claims)],
    ['a key that is a text', proofOf(EC, { jwk: 'key' }, claims)],
    ['a list of keys', proofOf(EC, { jwk: [EC.jwk] }, claims)],
    ['an authorization that nobody has asked for', proofOf(EC, { jwk: EC.jwk }, { ...claims, authorization: 'a' })],
  ])('a registration with %s', (_, jwt) => {
    expect(verifyRegistrationProof(jwt, HERE)).toBeUndefined();
  });

  test('a registration without the authorization that was asked for, or with another one', () => {
    const expected = { ...HERE, authorization: 'code' };
    const jwt = (authorization?: string) => proofOf(EC, { jwk: EC.jwk }, { jti: 'c', authorization });
    expect(verifyRegistrationProof(jwt('code'), expected)?.challenge).toBe('c');
    expect(verifyRegistrationProof(jwt('other'), expected)).toBeUndefined();
    expect(verifyRegistrationProof(jwt(), expected)).toBeUndefined();
  });

  test('members that do not belong to the key are not stored, and do not change its thumbprint', () => {
    const known = verifyRegistrationProof(registrationProof(EC, 'c'), HERE)?.key;
    const more = verifyRegistrationProof(proofOf(EC, { jwk: { kid: '1', ...EC.jwk, use: 'sig' } }, claims), HERE)?.key;
    expect(more).toMatchObject({ jwk: EC.jwk, thumbprint: known?.thumbprint });
    expect(Object.keys(more?.jwk ?? {})).toEqual(['crv', 'kty', 'x', 'y']);
  });
});

test('an RSA key may have 4,096 bits, and not more', () => {
  const modulus = (bits: number) => ({ ...RSA.jwk, n: Buffer.alloc(bits / 8, 0xff).toString('base64url') });
  expect(ProofKey.import('RS256', modulus(4096))).toBeInstanceOf(ProofKey);
  expect(ProofKey.import('RS256', modulus(4104))).toBe('an RSA key must have 2048 to 4096 bits');
});

test('the thumbprint is that of RFC 7638, section 3.1', () => {
  const rfc =
    '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw';
  const thumbprint = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs';
  expect(ProofKey.import('RS256', { kty: 'RSA', n: rfc, e: 'AQAB', alg: 'RS256' })).toMatchObject({ thumbprint });
});

describe('headers', () => {
  const jwt = refreshProof(EC, 'c');

  test.each([
    ['bare, as Chromium sends it', jwt],
    ['quoted, as the specification says', `"${jwt}"`],
    ['between spaces', ` ${jwt}\t`],
  ])('the proof, %s', (_, value) => {
    expect(readProofHeader(value)).toBe(jwt);
  });

  test.each([
    ['missing', undefined],
    ['empty', ''],
    ['a quote', '"'],
    ['half quoted', `"${jwt}`],
    ['several', `${jwt}, ${jwt}`],
    ['huge', `${jwt}${'A'.repeat(4096)}`],
    ['with parameters', `"${jwt}";a=1`],
  ])('no proof: %s', (_, value) => {
    expect(readProofHeader(value)).toBeUndefined();
  });

  test('the id of the session, bare or quoted', () => {
    const id = '0199f3c2-7a51-7c3e-9d0a-3f6b1c2d4e5f';
    expect([id, `"${id}"`].map(readSessionIdHeader)).toEqual([id, id]);
    for (const value of [undefined, '', 's1', `${id}0`, `"${id}", "${id}"`, id.toUpperCase()])
      expect([value, readSessionIdHeader(value)]).toEqual([value, undefined]);
  });
});
