import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { CsrfFailedError } from 'nestjs-multisession';
import { assertNotForged } from '../../../lib/http/csrf.guard.js';
import type { CredentialsCarrier } from '../../../lib/http/request.js';
import { configOf } from '../../helpers/options.js';

const { cookies } = configOf({ cookies: { origins: ['https://spa.test', 'capacitor://localhost'] } }).http;

// Without the lines in the output of the tests.
beforeAll(() => Logger.overrideLogger(false));
afterAll(() => Logger.overrideLogger(['error']));

function passes(carrier: CredentialsCarrier): boolean {
  try {
    assertNotForged(carrier, cookies);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(CsrfFailedError);
    return false;
  }
}

const HOST = { host: 'app.test' };
const ASKING = { ...HOST, 'x-session-transport': 'cookie' };
const post = (headers: Record<string, string | string[]>) => ({ method: 'POST', headers: { ...ASKING, ...headers } });
const site = (value: string, origin?: string) =>
  post({ 'sec-fetch-site': value, ...(origin !== undefined && { origin }) });

describe('a request that may change something', () => {
  test.each([
    ['from the same origin', site('same-origin', 'https://app.test')],
    ['from the same origin, although a proxy has changed the host', site('same-origin', 'https://www.app.test')],
    ['that the user started', site('none')],
    ['from an allowed origin of another site', site('cross-site', 'https://spa.test')],
    ['from an allowed origin of the same site', site('same-site', 'https://spa.test')],
    ['from an older browser, from the same host', post({ origin: 'https://app.test' })],
    ['from an older browser, from an allowed origin', post({ origin: 'https://spa.test' })],
    ['from a client that is not a browser', post({})],
    [
      'over HTTP/2',
      {
        method: 'POST',
        headers: { 'x-session-transport': 'cookie', ':authority': 'app.test', origin: 'https://app.test' },
      },
    ],
    ['to a host in capitals', post({ origin: 'https://app.test', host: 'App.Test' })],
    ['from an app that is listed', site('cross-site', 'capacitor://localhost')],
    ['from the machine itself over http', post({ origin: 'http://localhost:3000', host: 'localhost:3000' })],
    ['behind a proxy that ends TLS', post({ origin: 'https://app.test', 'x-forwarded-proto': 'http' })],
    ['to a port', post({ origin: 'https://app.test:8443', host: 'app.test:8443' })],
  ])('%s passes', (_, carrier) => {
    expect(passes(carrier)).toBe(true);
  });

  test.each([
    ['from another site', site('cross-site', 'https://evil.test')],
    ['from another site that hides its origin', site('cross-site')],
    ['from a sibling host', site('same-site', 'https://blog.app.test')],
    ['from a sibling host that hides its origin', site('same-site')],
    ['from a sibling host that claims the host', site('same-site', 'https://app.test')],
    ['with an unknown Sec-Fetch-Site', site('new-site', 'https://app.test')],
    ['from the origin null', site('cross-site', 'null')],
    ['from the origin null, with Sec-Fetch-Site: same-origin', site('same-origin', 'null')],
    ['from the origin null, without Sec-Fetch-Site', post({ origin: 'null' })],
    ['from an older browser, from another host', post({ origin: 'https://evil.test' })],
    ['from an older browser, from another port', post({ origin: 'https://app.test:8443' })],
    ['from a host that begins with the same name', post({ origin: 'https://app.test.evil.test' })],
    ['from an allowed host over http', post({ origin: 'http://spa.test' })],
    ['from several origins', post({ origin: 'https://app.test, https://evil.test' })],
    ['with an invalid origin', post({ origin: 'app.test' })],
    ['from the same host over ftp', post({ origin: 'ftp://app.test' })],
    ['from the same host over http', post({ origin: 'http://app.test' })],
    ['from the same host with the scheme of an app', post({ origin: 'capacitor://app.test' })],
    ['from the same origin over http', site('same-origin', 'http://app.test')],
    ['that the user started on a page over ftp', site('none', 'ftp://app.test')],
    ['from an app that is not listed', post({ origin: 'ionic://localhost' })],
    ['with an empty origin', post({ origin: '' })],
    ['without the header', { method: 'POST', headers: { ...HOST, 'sec-fetch-site': 'same-origin' } }],
    ['with the header for the body', post({ 'x-session-transport': 'body', 'sec-fetch-site': 'same-origin' })],
    ['with the header twice', post({ 'x-session-transport': 'cookie, cookie' })],
    ['without any header', { method: 'POST', headers: {} }],
    ['with PUT from another site', { ...site('cross-site', 'https://evil.test'), method: 'PUT' }],
    ['with DELETE and without the header', { method: 'DELETE', headers: HOST }],
    ['with an unknown method', { method: 'get', headers: HOST }],
  ])('%s is refused', (_, carrier) => {
    expect(passes(carrier)).toBe(false);
  });

  test.each(['GET', 'HEAD', 'OPTIONS'])('%s passes from any site', (method) => {
    expect(passes({ ...site('cross-site', 'https://evil.test'), method })).toBe(true);
    expect(passes({ method, headers: HOST })).toBe(true);
  });
});

describe('a request that opens a socket', () => {
  const handshake = (headers: Record<string, string>) => ({
    method: 'GET',
    headers: { ...HOST, upgrade: 'WebSocket', ...headers },
  });

  test.each([
    ['from the same host', handshake({ origin: 'https://app.test' })],
    ['from the same origin', handshake({ origin: 'https://app.test', 'sec-fetch-site': 'same-origin' })],
    ['from an allowed origin', handshake({ origin: 'https://spa.test', 'sec-fetch-site': 'cross-site' })],
    [
      'from an allowed origin, to the host that nginx sends by default',
      handshake({ host: 'localhost:3000', origin: 'https://spa.test' }),
    ],
    ["by Socket.IO's polling, from the same host", { headers: { ...HOST, origin: 'https://app.test' } }],
  ])('%s passes without the header', (_, carrier) => {
    expect(passes(carrier)).toBe(true);
  });

  test.each([
    ['from another host', handshake({ origin: 'https://evil.test' })],
    ['from another host, with the header', handshake({ ...ASKING, origin: 'https://evil.test' })],
    ['without an origin', handshake({})],
    ['without an origin, with the header', handshake(ASKING)],
    ['from the origin null', handshake({ origin: 'null' })],
    ['from the same host over http', handshake({ origin: 'http://app.test' })],
    [
      'from our own page, if nginx has changed the host and no origin is listed',
      handshake({ host: 'localhost:3000', origin: 'https://app.test' }),
    ],
    ['from a sibling host', handshake({ origin: 'https://app.test', 'sec-fetch-site': 'same-site' })],
    ["by Socket.IO's polling, without an origin", { headers: HOST }],
    ["by Socket.IO's polling, from another host", { headers: { ...HOST, origin: 'https://evil.test' } }],
  ])('%s is refused', (_, carrier) => {
    expect(passes(carrier)).toBe(false);
  });
});

describe('a refusal is logged', () => {
  const logged = (carrier: CredentialsCarrier) => {
    const lines: string[] = [];
    const warn = jest
      .spyOn(Logger.prototype, 'warn')
      .mockImplementation((line: unknown) => void lines.push(String(line)));
    passes(carrier);
    warn.mockRestore();
    return lines;
  };

  test.each([
    [
      'the missing header',
      { method: 'POST', headers: { ...HOST, origin: 'https://app.test' } },
      'the CSRF check refused a request from the origin "https://app.test": the header X-Session-Transport: cookie is missing',
    ],
    [
      'the scheme',
      post({ origin: 'http://app.test:1' }),
      'from the origin "http://app.test:1": the scheme of the origin is not https, or http on a loopback address',
    ],
    [
      'the site',
      site('same-site', 'https://logged.app.test'),
      'from the origin "https://logged.app.test": Sec-Fetch-Site is "same-site", and the option cookies.origins does not list the origin',
    ],
    [
      'the host',
      post({ origin: 'https://logged.test', host: 'localhost:3000' }),
      'from the origin "https://logged.test": the origin is not that of the request\'s own host "localhost:3000"',
    ],
    ['no origin', site('new-site'), 'without an Origin: Sec-Fetch-Site is "new-site", and there is no Origin'],
  ])('with %s', (_, carrier, line) => {
    expect(logged(carrier)).toEqual([expect.stringContaining(line)]);
    expect(logged(carrier)).toEqual([]);
  });

  test('but a sender who keeps changing the origin cannot fill the log or break its lines', () => {
    const lines = Array.from({ length: 300 }, (_, at) =>
      logged(post({ origin: `https://flood${at}.test\n${'x'.repeat(1000)}` })),
    ).flat();
    expect(lines.length).toBeLessThanOrEqual(100);
    for (const line of lines) expect(line).toMatch(/^.{100,600}$/);
  });
});
