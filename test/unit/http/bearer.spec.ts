import { describe, expect, test } from '@jest/globals';
import { BadAuthorizationHeaderError } from 'nestjs-multisession';
import { accessTokenOf } from '../../../lib/http/bearer.js';
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
