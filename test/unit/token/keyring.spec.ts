import { createHmac, randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { Keyring } from '../../../lib/token/keyring.js';
import { OptionFaults } from '../../../lib/option-check.js';
import { type JwtOptions, readTokenOptions } from '../../../lib/token/options.js';

const SECRET = randomBytes(64).toString('base64url');
const CLAIMS = { sub: 'alice', sid: 'a session', iat: 1, exp: 2, name: 'Zoë 😀' };

function keyringFor(jwt: JwtOptions): Keyring {
  const faults = new OptionFaults();
  const keyring = new Keyring(readTokenOptions(jwt, 'string', faults));
  expect(faults.list).toEqual([]);
  return keyring;
}

/** The token itself, and its text with every kind of damage. */
function* variantsOf(token: string): Generator<string> {
  const [header, claims, mac] = token.split('.');
  yield token;
  for (let at = 0; at < token.length; at++) {
    yield token.slice(0, at);
    yield token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
  }
  // The last letter of a MAC has unused bits, so other letters decode to the same bytes.
  for (const letter of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')
    yield token.slice(0, -1) + letter;
  for (const more of ['.', '=', '==', ' ', '\n', 'A', '.A', 'é']) yield token + more;
  yield [header, claims].join('.');
  yield [header, claims, mac, mac].join('.');
  yield [header, '', mac].join('.');
  yield [header, claims + '=', mac].join('.');
  yield ` ${token}`;
  yield [header, claims, mac].map((part) => Buffer.from(part, 'base64url').toString('base64')).join('.');
  yield [header, claims, Buffer.from(mac, 'base64url').toString('hex')].join('.');
}

describe.each(['HS256', 'HS384', 'HS512'] as const)('%s', (algorithm) => {
  test('accepts exactly one text of a token', () => {
    const keyring = keyringFor({ secret: SECRET, algorithm });
    const token = keyring.sign(CLAIMS, 'JWT');
    expect(keyring.verify(token)).toEqual(CLAIMS);
    const good = [...variantsOf(token)].filter((variant) => keyring.verify(variant) !== undefined);
    expect([...new Set(good)]).toEqual([token]);
  });

  test('refuses signed claims that are not a JSON object', () => {
    const keyring = keyringFor({ secret: SECRET, algorithm });
    const [header] = keyring.sign(CLAIMS, 'JWT').split('.');
    const signed = (claims: string) => {
      const text = `${header}.${Buffer.from(claims).toString('base64url')}`;
      const mac = createHmac(`sha${algorithm.slice(2)}`, SECRET)
        .update(text)
        .digest('base64url');
      return keyring.verify(`${text}.${mac}`);
    };
    expect(signed('{"sub":"alice"}')).toEqual({ sub: 'alice' });
    for (const claims of ['', 'null', '5', '"text"', '{"sub":', 'true'])
      expect([claims, signed(claims)]).toEqual([claims, undefined]);
  });
});

test('forged tokens take no room in the memory of headers', () => {
  const keyring = keyringFor({ secret: SECRET });
  const token = keyring.sign(CLAIMS, 'at+jwt');
  const { kid } = keyring.current;
  const headers = (keyring as unknown as { byHeader: ReadonlyMap<string, unknown> }).byHeader;
  for (let at = 0; at < 2000; at++) {
    const header = Buffer.from(JSON.stringify({ alg: 'HS256', typ: `t${at}`, kid })).toString('base64url');
    expect(keyring.verify(`${header}.${token.split('.').slice(1).join('.')}`)).toBeUndefined();
  }
  expect(headers.size).toBe(0);
  expect(keyring.verify(token)).toEqual(CLAIMS);
  expect(keyring.verify(keyring.sign(CLAIMS, 'JWT'))).toEqual(CLAIMS);
  expect(headers.size).toBe(2);
});

describe('issuer and audience', () => {
  const verdict = (signed: JwtOptions, asked: JwtOptions): boolean => {
    const token = keyringFor({ secret: SECRET, ...signed }).sign(CLAIMS, 'JWT');
    return keyringFor({ secret: SECRET, ...asked }).verify(token) !== undefined;
  };

  test.each([
    ['ours', { issuer: 'us' }, { issuer: 'us' }, true],
    ['another issuer', { issuer: 'them' }, { issuer: 'us' }, false],
    ['no issuer', {}, { issuer: 'us' }, false],
    ['an issuer, if none is required', { issuer: 'them' }, {}, true],
    ['one audience', { audience: 'shop' }, { audience: 'shop' }, true],
    ['one of several', { audience: ['shop', 'blog'] }, { audience: 'blog' }, true],
    ['one of the accepted audiences', { audience: 'shop' }, { audience: ['blog', 'shop'] }, true],
    ['another audience', { audience: ['shop', 'blog'] }, { audience: 'bank' }, false],
    ['no audience', {}, { audience: 'shop' }, false],
  ] as const)('%s', (_, signed, asked, isValid) => {
    expect(verdict(signed as JwtOptions, asked as JwtOptions)).toBe(isValid);
  });
});
