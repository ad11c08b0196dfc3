import { describe, expect, test } from '@jest/globals';
import type { MultiSessionConfigurationError } from '../../../lib/errors.js';
import type { CookieOptions } from '../../../lib/http/cookie.options.js';
import { configOf } from '../../helpers/options.js';

const cookiesOf = (cookies?: boolean | CookieOptions) => configOf({ cookies }).http.cookies;

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

  test('true means the defaults', () => {
    const strict = { ...SHARED, sameSite: 'strict' };
    const expected = {
      isDefault: false,
      origins: new Set(),
      isShared: false,
      isPersistent: true,
      replaceOnLogin: true,
      serverRendering: false,
      access: { name: '__Host-session-access', attributes: { ...SHARED, path: '/', sameSite: 'lax' } },
      // `CookiePath` knows its path.
      refresh: { name: '__Secure-session-refresh', attributes: strict },
      proof: { name: '__Host-session-proof', attributes: { ...strict, path: '/' } },
    };
    expect(cookiesOf(true)).toEqual(expected);
    expect(cookiesOf({})).toEqual(expected);
    expect(cookiesOf({ secure: true })).toEqual(expected);
  });

  test('accepts a domain, a name and a path; no other host can set the proof', () => {
    const given = { domain: 'app.test', name: 'shop', path: '/v1/auth', default: true, sameSite: 'strict' } as const;
    const onDomain = { ...SHARED, domain: 'app.test', sameSite: 'strict' };
    expect(cookiesOf(given)).toMatchObject({
      isDefault: true,
      path: '/v1/auth',
      isShared: true,
      access: { name: '__Secure-shop-access', attributes: { ...onDomain, path: '/' } },
      refresh: { name: '__Secure-shop-refresh', attributes: onDomain },
      proof: { name: '__Host-shop-proof', attributes: { ...SHARED, sameSite: 'strict', path: '/' } },
    });
    expect(cookiesOf(given)).not.toHaveProperty('proof.attributes.domain');
  });

  test('applies sameSite none and partitioned to all cookies', () => {
    const attributes = { sameSite: 'none', partitioned: true };
    expect(cookiesOf({ sameSite: 'none', partitioned: true })).toMatchObject({
      access: { attributes },
      refresh: { attributes },
      proof: { attributes },
    });
  });

  test("secure 'auto' adds cookies for loopback addresses, but not in production", () => {
    const given = { secure: 'auto', sameSite: 'none', partitioned: true, domain: 'app.test' } as const;
    const shared = { httpOnly: true, secure: false };
    expect(cookiesOf(given)).toMatchObject({ access: { name: '__Secure-session-access' } });
    expect(cookiesOf(given)).toHaveProperty('loopback', {
      access: { name: 'session-access', attributes: { ...shared, path: '/', sameSite: 'lax' } },
      refresh: { name: 'session-refresh', attributes: { ...shared, sameSite: 'strict' } },
      proof: { name: 'session-proof', attributes: { ...shared, path: '/', sameSite: 'strict' } },
    });
    const environment = process.env.NODE_ENV;
    try {
      process.env.NODE_ENV = 'production';
      expect(cookiesOf(given)).not.toHaveProperty('loopback');
    } finally {
      process.env.NODE_ENV = environment;
    }
  });

  test.each([
    'https://app.example.com',
    'https://app.example.com:8443',
    'http://localhost:5173',
    'http://app.localhost',
    'http://127.0.0.1:3000',
    'http://[::1]:3000',
    'http://127.1.2.3',
    'capacitor://localhost',
    'ionic://localhost',
    'tauri://localhost',
    'app://my-app',
    'chrome-extension://abcdefghijklmnopabcdefghijklmnop',
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
    'file://localhost',
    'ws://app.test',
    'ftp://app.test',
    'capacitor://localhost/',
    'capacitor://Localhost',
    'capacitor://',
    'Capacitor://localhost',
    'capacitor://user@localhost',
    'capacitor:localhost',
  ])('refuses the origin %s', (origin) => {
    expect(faultsOf({ origins: ['https://spa.test', origin] })).toEqual([
      expect.stringMatching(/^cookies\.origins: must be origins as browsers send them/),
    ]);
  });

  test.each<[unknown, unknown]>([
    ['yes', 'cookies: must be an object; got a string'],
    [{ path: 'api/session' }, `cookies.path: must be a path, such as '/api/session'; got "api/session"`],
    [{ path: '/a;b' }, `cookies.path: must be a path, such as '/api/session'; got "/a;b"`],
    [{ name: 'a b' }, 'cookies.name: may only have letters, digits, - and _; got "a b"'],
    [{ name: 'a=b' }, 'cookies.name: may only have letters, digits, - and _; got "a=b"'],
    [{ name: '' }, 'cookies.name: must be a string that is not blank; got a blank one'],
    [{ sameSite: 'Lax' }, 'cookies.sameSite: must be one of strict, lax, none; got "Lax"'],
    [{ default: 'yes' }, 'cookies.default: must be true or false; got "yes"'],
    [{ secure: false }, "cookies.secure: must be true, or 'auto' for plain HTTP on a loopback address; got false"],
    [
      { secured: true },
      expect.stringMatching(/^cookies\.secured: is not an option\. Options are: default, name, path/),
    ],
    [{ partitioned: true }, expect.stringMatching(/^cookies\.partitioned: needs sameSite: 'none'/)],
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
