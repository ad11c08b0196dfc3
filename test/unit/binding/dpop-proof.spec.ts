import { createHmac, generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { calculateJwkThumbprint } from 'jose';
import { ProofReader } from '../../../lib/binding/dpop-proof.js';
import { proofBy, proofKeys, type ProofText } from '../../helpers/dpop.js';

const URL = 'https://app.example/notes';
const REQUEST = { method: 'POST', url: `${URL}?page=2` };
const CLAIMS = { htm: 'POST', htu: URL };

const keys = proofKeys();
const reader = new ProofReader();
const proof = ({ header, claims, accessToken }: ProofText = {}) =>
  proofBy(keys, { header, claims: { ...CLAIMS, ...claims }, accessToken });
const read = (header: string, request: object = {}) => reader.read(header, { ...REQUEST, ...request });
const refused = (fault: string) => ({ fault: expect.stringContaining(fault) });
const claimsWithout = (name: string) => ({ [name]: undefined });

describe('a valid proof', () => {
  test('is read', async () => {
    const claims = { jti: 'an id', iat: 1_800_000_000, nonce: 'a nonce' };
    expect(read(proof({ claims }))).toEqual({
      thumbprint: await calculateJwkThumbprint(keys.jwk),
      jti: 'an id',
      issuedAt: 1_800_000_000,
      nonce: 'a nonce',
    });
  });

  test.each(['ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'RS256'])('may be signed with %s', async (alg) => {
    const others = proofKeys(alg);
    const thumbprint = await calculateJwkThumbprint(others.jwk);
    for (let time = 0; time < 2; time++)
      expect(read(proofBy(others, { claims: CLAIMS }))).toMatchObject({ thumbprint });
  });

  test('is that of RFC 9449 section 7.1, with the thumbprint of section 6.1', () => {
    const header =
      'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19' +
      '.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9' +
      '.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA';
    const request = {
      method: 'GET',
      url: 'https://resource.example.org/protectedresource',
      accessToken: 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU',
    };
    expect(read(header, request)).toMatchObject({ thumbprint: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' });
  });
});

describe('check 1 and 2: exactly one JWT', () => {
  test.each([
    ['nothing', () => ''],
    ['no JWT', () => 'a text'],
    ['two headers, as Node.js joins them', () => `${proof()}, ${proof()}`],
    ['two parts', () => proof().split('.').slice(0, 2).join('.')],
    ['four parts', () => `${proof()}.e30`],
    ['padding', () => `${proof()}=`],
    ['more than 8 KiB', () => proof({ claims: { more: 'x'.repeat(6200) } })],
  ])('%s is refused', (_, header) => {
    expect(read(header())).toEqual(refused('exactly one JWT'));
  });

  test.each(['[]', 'null', '"text"', '{', '1'])('%s is not a header or a payload', (json) => {
    const text = Buffer.from(json).toString('base64url');
    const [header, payload, signature] = proof().split('.');
    expect(read([text, payload, signature].join('.'))).toEqual(refused('header is not a JSON object'));
    expect(read([header, text, signature].join('.'))).toEqual(refused('payload is not a JSON object'));
  });
});

describe('check 3: the claims', () => {
  test.each(['jti', 'htm', 'htu', 'iat'])('without %s, it is refused', (name) => {
    expect(read(proof({ claims: claimsWithout(name) }))).toEqual(refused(name));
  });

  test.each([
    ['jti', ''],
    ['jti', 7],
    ['jti', 'x'.repeat(257)],
    ['iat', '1800000000'],
    ['iat', null],
    ['nonce', 7],
    ['htm', ['POST']],
    ['htu', { toString: URL }],
  ])('%s may not be %j', (name, value) => {
    expect(read(proof({ claims: { [name]: value } }))).toEqual(refused(name));
  });
});

test.each(['JWT', 'at+jwt', 'dbsc+jwt', 'DPOP+JWT', undefined])('check 4: typ may not be %s', (typ) => {
  expect(read(proof({ header: { typ } }))).toEqual(refused('typ'));
});

describe('check 5: the algorithm', () => {
  test.each(['none', 'None', 'HS256', 'RS512', 'ES256K', '', undefined, null, ['ES256']])('%j is refused', (alg) => {
    expect(read(proof({ header: { alg } }))).toEqual(refused('alg'));
  });

  test('no signature is refused', () => {
    const [header, payload] = proof().split('.');
    const none = Buffer.from(JSON.stringify({ typ: 'dpop+jwt', alg: 'none', jwk: keys.jwk })).toString('base64url');
    expect(read(`${none}.${payload}.`)).toEqual(refused('exactly one JWT'));
    expect(read(`${header}.${payload}.AA`)).toEqual(refused('signature'));
  });

  test('HS256 with the public key as its secret is refused', () => {
    for (const jwk of [keys.jwk, { kty: 'oct', k: 'c2VjcmV0' }]) {
      const [, payload] = proof().split('.');
      const header = Buffer.from(JSON.stringify({ typ: 'dpop+jwt', alg: 'HS256', jwk })).toString('base64url');
      const mac = createHmac('sha256', JSON.stringify(jwk)).update(`${header}.${payload}`).digest('base64url');
      expect(read(`${header}.${payload}.${mac}`)).toEqual(refused('alg'));
    }
  });

  test('a key of another algorithm is refused', () => {
    for (const [alg, other] of [
      ['ES256', 'ES384'],
      ['ES384', 'ES256'],
      ['PS256', 'ES256'],
      ['ES256', 'EdDSA'],
      ['EdDSA', 'RS256'],
    ])
      expect(read(proof({ header: { alg, jwk: proofKeys(other).jwk } }))).toEqual(refused('key of the algorithm'));
  });

  test('extensions that must be understood are refused', () => {
    expect(read(proof({ header: { crit: ['b64'], b64: false } }))).toEqual(refused('crit'));
  });
});

describe('check 6: the signature', () => {
  test('by another key is refused', () => {
    expect(read(proof({ header: { jwk: proofKeys().jwk } }))).toEqual(refused('signature'));
  });

  test('of other claims is refused, also if the key is known', () => {
    expect(read(proof())).not.toHaveProperty('fault');
    const [header, payload] = proof({ claims: { jti: 'another' } }).split('.');
    const [, , signature] = proof().split('.');
    expect(read([header, payload, signature].join('.'))).toEqual(refused('signature'));
  });

  test('in DER is refused: JOSE demands r and s', () => {
    const [header, payload, signature] = proof().split('.');
    const [r, s] = [0, 32].map((at) => Buffer.from(signature, 'base64url').subarray(at, at + 32));
    const integer = (bytes: Buffer) => Buffer.concat([Buffer.from([2, 33, 0]), bytes]);
    const der = Buffer.concat([Buffer.from([48, 70]), integer(r), integer(s)]).toString('base64url');
    expect(read([header, payload, der].join('.'))).toEqual(refused('signature'));
  });
});

describe('check 7: the key', () => {
  test('with a private member is refused', () => {
    const jwk = keys.privateKey.export({ format: 'jwk' });
    expect(read(proof({ header: { jwk } }))).toEqual(refused('private'));
    for (const name of ['p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'])
      expect(read(proof({ header: { jwk: { ...keys.jwk, [name]: 'AQAB' } } }))).toEqual(refused('private'));
  });

  test.each([
    ['missing', undefined],
    ['null', null],
    ['a list', []],
    ['a text', 'key'],
    ['without members', { kty: 'EC', crv: 'P-256' }],
    ['not on the curve', { ...keys.jwk, y: keys.jwk.x }],
    ['with numbers', { ...keys.jwk, x: 7 }],
  ])('%s is refused', (_, jwk) => {
    expect(read(proof({ header: { jwk } }))).toEqual(refused('jwk must be a'));
  });

  test.each([
    [1024, 'RS256'],
    [2040, 'PS256'],
    [4352, 'PS256'],
  ])('of RSA with %i bits is refused', (bits, alg) => {
    expect(read(proofBy(proofKeys(alg, bits), { claims: CLAIMS }))).toEqual(refused('bits'));
  });

  test('of RSA with another exponent is refused', () => {
    const pair = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 });
    const others = { alg: 'RS256', privateKey: pair.privateKey, jwk: pair.publicKey.export({ format: 'jwk' }) };
    expect(read(proofBy(others, { claims: CLAIMS }))).toEqual(refused('exponent'));
  });
});

test.each(['GET', 'post', 'PUT', ''])('check 8: htm may not be %s at a POST', (htm) => {
  expect(read(proof({ claims: { htm } }))).toEqual(refused('htm'));
});

test.each([
  'https://app.example/notes/',
  'https://app.example/note',
  'https://app.example/NOTES',
  'http://app.example/notes',
  'https://app.example:8443/notes',
  'https://evil.example/notes',
  'https://app.example@evil.example/notes',
  '/notes',
  'notes',
])('check 9: htu may not be %s', (htu) => {
  expect(read(proof({ claims: { htu } }))).toEqual(refused('htu'));
});

test('check 9: the URL is compared after normalization', () => {
  expect(read(proof({ claims: { htu: 'HTTPS://APP.example:443/a/../%6eotes?x#y' } }))).not.toHaveProperty('fault');
});

describe('check 12: the access token', () => {
  const request = { accessToken: 'a token' };

  test('is named by its hash', () => {
    expect(read(proof({ accessToken: 'a token' }), request)).not.toHaveProperty('fault');
  });

  test('of another proof, or none, is refused', () => {
    expect(read(proof({ accessToken: 'another token' }), request)).toEqual(refused('ath'));
    expect(read(proof(), request)).toEqual(refused('ath'));
  });

  test('is hashed anew if it is not the one of the last request', () => {
    const sender = new ProofReader();
    for (const accessToken of ['a token', 'another token', 'a token', 'a token']) {
      const wrong = proof({ accessToken: accessToken === 'a token' ? 'another token' : 'a token' });
      expect(sender.read(wrong, { ...REQUEST, accessToken })).toEqual(refused('ath'));
      expect(sender.read(proof(), { ...REQUEST, accessToken })).toEqual(refused('ath'));
      expect(sender.read(proof({ accessToken }), { ...REQUEST, accessToken })).not.toHaveProperty('fault');
      expect(sender.read(proof(), REQUEST)).not.toHaveProperty('fault');
    }
  });
});

test('the keys of as many clients as allowed are remembered, and each proof is still verified', () => {
  const few = new ProofReader(2);
  const clients = [1, 2, 3].map(() => proofKeys());
  for (const client of [...clients, ...clients]) {
    const valid = proofBy(client, { claims: CLAIMS });
    const [header, payload] = valid.split('.');
    expect(few.read(valid, REQUEST)).not.toHaveProperty('fault');
    expect(few.read(`${header}.${payload}.${proof().split('.')[2]}`, REQUEST)).toEqual(refused('signature'));
  }
  expect((few as unknown as { keys: Map<string, unknown> }).keys.size).toBe(2);
});
