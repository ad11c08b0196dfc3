import { describe, expect, test } from '@jest/globals';
import { cookieValues } from '../../../lib/http/cookie-header.js';
import type { CookieConfig } from '../../../lib/http/cookie.options.js';
import { isLoopbackRequest } from '../../../lib/http/loopback.js';
import { trimOws } from '../../../lib/http/header-text.js';
import { configOf } from '../../helpers/options.js';

const config = (cookies: object) => configOf({ cookies }).http.cookies as CookieConfig;
const NAME = '__Host-session-access';
const valuesOf = (cookie: string, headers: object = {}, cookies = config({})) =>
  cookieValues({ method: 'GET', headers: { cookie, ...headers } }, cookies, 'access');

describe('the header Cookie', () => {
  test.each([
    [`${NAME}=a`, ['a']],
    [`other=x; ${NAME}=a; more=y`, ['a']],
    [`${NAME}=a;${NAME}=b ;\t ${NAME}\t=\tc`, ['a', 'b', 'c']],
    [`${NAME}=a; ${NAME}=a`, ['a']],
    [`${NAME}=; ${NAME}=b`, ['b']],
    [`${NAME}=a=b`, ['a=b']],
    [`${NAME}`, []],
    [`x${NAME}=a`, []],
    [`${NAME.toLowerCase()}=a`, []],
  ])('%j has %j', (cookie, values) => {
    expect(valuesOf(cookie)).toEqual(values);
  });

  test('only spaces and tabs around a name are ignored', () => {
    for (let code = 0; code <= 0xffff; code++) {
      const character = String.fromCharCode(code);
      if (' \t;='.includes(character)) continue;
      expect([code, valuesOf(`${character}${NAME}=bob; ${NAME}${character}=bob`)]).toEqual([code, []]);
    }
  });

  test('trimming a header of many spaces takes no time', () => {
    expect(trimOws(`${' '.repeat(200_000)}a${' '.repeat(200_000)}b${' '.repeat(200_000)}`)).toHaveLength(200_002);
  });
});

describe("secure 'auto'", () => {
  const auto = config({ secure: 'auto' });
  const both = `session-access=plain; ${NAME}=secure`;

  test('reads the cookie without a prefix on a loopback address, after the one with the prefix', () => {
    expect(valuesOf(both, { host: 'localhost:3000' }, auto)).toEqual(['secure', 'plain']);
    expect(valuesOf(both, { host: 'app.test' }, auto)).toEqual(['secure']);
    expect(valuesOf(both, { host: 'localhost:3000' })).toEqual(['secure']);
  });

  const carrier = (headers: Record<string, string>, remoteAddress?: string) => ({
    headers,
    ...(remoteAddress && { socket: { remoteAddress } }),
  });
  test.each([
    ['localhost', carrier({ host: 'localhost:3000' }, '127.0.0.1')],
    ['a name below localhost', carrier({ host: 'app.localhost' }, '::1')],
    ['an address', carrier({ host: '127.0.0.1:3000' }, '::ffff:127.0.0.1')],
    ['an IPv6 address', carrier({ host: '[::1]:3000', origin: 'http://[::1]:3000' })],
    ['HTTP/2', carrier({ ':authority': 'localhost' })],
  ])('%s is a loopback address', (_, request) => {
    expect(isLoopbackRequest(request)).toBe(true);
  });

  test.each([
    ['no host', carrier({})],
    ['another host', carrier({ host: 'app.test' }, '127.0.0.1')],
    ['a host that begins like it', carrier({ host: 'localhost.evil.test' })],
    ['a host that ends like it', carrier({ host: 'notlocalhost' })],
    ['another machine', carrier({ host: 'localhost' }, '203.0.113.7')],
    [
      "nginx's default host, from a page of another origin",
      carrier({ host: 'localhost:3000', origin: 'https://app.test' }, '127.0.0.1'),
    ],
    [
      "nginx's default host, with the address of a page",
      carrier({ host: 'localhost:3000', referer: 'https://app.test/x' }, '127.0.0.1'),
    ],
    ['the origin null', carrier({ host: 'localhost:3000', origin: 'null' })],
    ...['forwarded', 'via', 'x-forwarded-for', 'x-forwarded-proto', 'x-real-ip'].map((name): [string, object] => [
      name,
      carrier({ host: 'localhost', [name]: 'x' }, '127.0.0.1'),
    ]),
  ])('%s is not a loopback address', (_, request) => {
    expect(isLoopbackRequest(request)).toBe(false);
  });
});
