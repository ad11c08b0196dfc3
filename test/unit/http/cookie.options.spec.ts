import { describe, expect, test } from '@jest/globals';
import type { MultiSessionConfigurationError } from '../../../lib/errors.js';
import type { CookieOptions } from '../../../lib/http/cookie.options.js';
import { readOptions } from '../../../lib/engine/options.js';
import { DEFAULT_OPTIONS } from '../../helpers/app.js';
import { configOf } from '../../helpers/options.js';

const cookiesOf = (cookies?: boolean | CookieOptions, path?: string) => {
  const { jwt, secretKey, policies } = DEFAULT_OPTIONS;
  return readOptions({ jwt, secretKey, policies, cookies }, Object.keys(policies), path).http.cookies;
};

function faultsOf(cookies: unknown): readonly string[] {
  try {
    configOf({ cookies: cookies as CookieOptions });
  } catch (error) {
    return (error as MultiSessionConfigurationError).faults;
  }
  return [];
}

const SHARED = { httpOnly: true, secure: true };

describe('the option cookies', () => {
  test('is off by default', () => {
    expect(cookiesOf()).toBe(false);
    expect(cookiesOf(false)).toBe(false);
  });

  test('true means the defaults, with the path of the routes', () => {
    const expected = {
      isDefault: false,
      origins: new Set(),
      access: { name: '__Host-session-access', attributes: { ...SHARED, path: '/', sameSite: 'lax' } },
      refresh: {
        name: '__Secure-session-refresh',
        attributes: { ...SHARED, path: '/api/session', sameSite: 'strict' },
      },
    };
    for (const path of ['api/session', '/api/session', 'api/session/']) {
      expect(cookiesOf(true, path)).toEqual(expected);
      expect(cookiesOf({}, path)).toEqual(expected);
    }
    expect(cookiesOf(true, '')).toMatchObject({ refresh: { attributes: { path: '/' } } });
  });

  test('accepts a domain, a name and a path', () => {
    const given = { domain: 'app.test', name: 'shop', path: '/v1/auth', default: true, sameSite: 'strict' } as const;
    expect(cookiesOf(given, 'api/session')).toEqual({
      isDefault: true,
      origins: new Set(),
      access: {
        name: '__Secure-shop-access',
        attributes: { ...SHARED, domain: 'app.test', path: '/', sameSite: 'strict' },
      },
      refresh: {
        name: '__Secure-shop-refresh',
        attributes: { ...SHARED, domain: 'app.test', path: '/v1/auth', sameSite: 'strict' },
      },
    });
  });

  test('applies sameSite none to both cookies', () => {
    expect(cookiesOf({ sameSite: 'none' })).toMatchObject({
      access: { attributes: { sameSite: 'none' } },
      refresh: { attributes: { sameSite: 'none' } },
    });
  });

  test.each([
    'https://app.example.com',
    'https://app.example.com:8443',
    'http://localhost:5173',
    'http://app.localhost',
    'http://127.0.0.1:3000',
    'http://[::1]:3000',
  ])('accepts the origin %s', (origin) => {
    expect(faultsOf({ origins: [origin] })).toEqual([]);
  });

  test.each([
    'https://app.example.com/',
    'https://app.example.com/path',
    'https://app.example.com:443',
    'https://App.example.com',
    'https://*.example.com',
    'https://user@app.example.com',
    'http://app.example.com',
    'http://localhost.example.com',
    'http://127.0.0.1.example.com',
    'app.example.com',
    'null',
    '*',
    'file://',
  ])('refuses the origin %s', (origin) => {
    expect(faultsOf({ origins: ['https://spa.test', origin] })).toEqual([
      expect.stringMatching(/^cookies\.origins: must be origins as browsers send them/),
    ]);
  });

  test.each<[unknown, unknown]>([
    ['yes', 'cookies: must be an object'],
    [{ path: 'api/session' }, `cookies.path: must be a path, such as '/api/session'; got "api/session"`],
    [{ path: '/a;b' }, `cookies.path: must be a path, such as '/api/session'; got "/a;b"`],
    [{ name: 'a b' }, 'cookies.name: may only have letters, digits, - and _; got "a b"'],
    [{ name: 'a=b' }, 'cookies.name: may only have letters, digits, - and _; got "a=b"'],
    [{ name: '' }, 'cookies.name: must be a string that is not blank'],
    [{ sameSite: 'Lax' }, 'cookies.sameSite: must be one of strict, lax, none; got "Lax"'],
    [{ default: 'yes' }, 'cookies.default: must be true or false; got "yes"'],
    [{ secure: false }, expect.stringMatching(/^cookies\.secure: is no option; known are default, name, path/)],
    ...['.app.test', 'https://app.test', 'app.test:8443', 'app..test', 'app.test;'].map(
      (domain): [unknown, unknown] => [
        { domain },
        expect.stringMatching(/^cookies\.domain: must be a host such as 'example.com', without a scheme/),
      ],
    ),
  ])('refuses %j', (cookies, fault) => {
    expect(faultsOf(cookies)).toEqual([fault]);
  });
});
