import { describe, expect, test } from '@jest/globals';
import { BadAuthorizationHeaderError, TokenNotValidError, UnavailableError } from 'nestjs-multisession';
import { accessTokenOf, sessionOfCookies } from '../../../lib/http/bearer.js';
import type { CookieConfig } from '../../../lib/http/cookie.options.js';
import { AccessVerifier } from '../../../lib/session/access-verifier.js';
import { currentSession } from '../../../lib/testing/index.js';
import type { JwtOptions } from '../../../lib/token/options.js';
import { SIGNING_SECRET } from '../../helpers/app.js';
import { configOf } from '../../helpers/options.js';

const withHeader = (header: JwtOptions['header']) => configOf({ jwt: { secret: SIGNING_SECRET, header } }).http;
const config = configOf().http;
const tokenIn = (authorization: string) => accessTokenOf({ headers: { authorization } }, config);

describe('accessTokenOf', () => {
  test.each([
    ['Bearer a.b.c', 'a.b.c'],
    ['bearer a.b.c', 'a.b.c'],
    ['BEARER a.b.c', 'a.b.c'],
    ['JWT a.b.c', 'a.b.c'],
    ['Jwt a.b.c', 'a.b.c'],
    ['Bearer   a.b.c  ', 'a.b.c'],
    ['Bearer \t a.b.c\t', 'a.b.c'],
    // A raw byte A0 is a part of the token, and no white space.
    ['Bearer \u00a0a.b.c', '\u00a0a.b.c'],
  ])('reads from %j the token %j', (header, token) => {
    expect(tokenIn(header)).toBe(token);
  });

  test.each([
    '',
    ' ',
    'a.b.c',
    'Basic a.b.c',
    'Bearers a.b.c',
    ' Bearer a.b.c',
    'Bearer: a.b.c',
    'Digest Bearer a.b.c',
  ])('reads no token from %j', (header) => {
    expect(tokenIn(header)).toBeUndefined();
  });

  test.each(['Bearer', 'JWT', 'bearer ', 'Bearer    ', 'Bearer a b', 'jwt a.b.c Bearer a.b.c'])(
    'refuses %j',
    (header) => {
      expect(() => tokenIn(header)).toThrow(BadAuthorizationHeaderError);
    },
  );

  test('uses the header and the schemes of the options, in any case', () => {
    const own = withHeader({ name: 'X-Access-Token', schemes: ['ApiToken'] });
    const headers = { 'x-access-token': 'apitoken t', authorization: 'Bearer other' };
    expect(accessTokenOf({ headers }, own)).toBe('t');
    expect(accessTokenOf({ headers: { 'x-access-token': 'APITOKEN t' } }, own)).toBe('t');
    expect(accessTokenOf({ headers: { 'x-access-token': 'Bearer t' } }, own)).toBeUndefined();
    expect(accessTokenOf({ headers: { authorization: 'ApiToken t' } }, own)).toBeUndefined();
  });

  test('ignores a header that was sent twice', () => {
    expect(accessTokenOf({ headers: { authorization: ['Bearer a', 'Bearer b'] } }, config)).toBeUndefined();
    expect(accessTokenOf({}, config)).toBeUndefined();
  });

  test('reads `auth.token` of a socket without the header', () => {
    expect(accessTokenOf({ auth: { token: 't' } }, config)).toBe('t');
    expect(accessTokenOf({ headers: {}, auth: { token: 't' } }, config)).toBe('t');
    expect(accessTokenOf({ headers: { authorization: 'Bearer h' }, auth: { token: 't' } }, config)).toBe('h');
    for (const token of [undefined, null, 7, {}, ['t']])
      expect(accessTokenOf({ auth: { token } }, config)).toBeUndefined();
  });
});

describe('several access cookies', () => {
  const cookies = configOf({ cookies: true }).http.cookies as CookieConfig;

  /** Refuses forged tokens at once, reads a row for those that begin with `dead`, and accepts the others. */
  class CountingVerifier extends AccessVerifier {
    reads = 0;

    verify(token: string) {
      if (token.startsWith('forged')) throw new TokenNotValidError('access');
      this.reads++;
      if (token.startsWith('down')) return Promise.reject(new UnavailableError());
      return token.startsWith('dead')
        ? Promise.reject(new TokenNotValidError('access'))
        : Promise.resolve(currentSession({ userId: token }));
    }

    now() {
      return Date.now();
    }
  }

  const verify = async (...tokens: string[]) => {
    const verifier = new CountingVerifier();
    const cookie = tokens.map((token) => `__Host-session-access=${token}`).join('; ');
    const session = await Promise.resolve(
      sessionOfCookies({ method: 'GET', headers: { cookie } }, cookies, verifier),
    ).catch((error: unknown) => error);
    return { verifier, session };
  };
  const many = (name: string) => Array.from({ length: 50 }, (_, at) => `${name}${at}`);

  test('forged ones cost nothing, and the first valid one counts', async () => {
    const { verifier, session } = await verify(...many('forged'), 'alice', 'bob');
    expect(session).toMatchObject({ userId: 'alice' });
    expect(verifier.reads).toBe(1);
  });

  test('of those that we have signed, a few are read', async () => {
    expect((await verify('dead0', 'dead1', 'alice')).session).toMatchObject({ userId: 'alice' });
    const { verifier, session } = await verify(...many('dead'), 'alice');
    expect(session).toBeInstanceOf(TokenNotValidError);
    expect(verifier.reads).toBe(5);
  });

  test('a fault of the server ends the search', async () => {
    expect((await verify('dead0', 'down', 'alice')).session).toBeInstanceOf(UnavailableError);
  });
});
