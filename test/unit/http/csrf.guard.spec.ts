import { describe, expect, test } from '@jest/globals';
import { CsrfFailedError } from 'nestjs-multisession';
import { assertNotForged } from '../../../lib/http/csrf.guard.js';
import type { CredentialsCarrier } from '../../../lib/http/request.js';
import { configOf } from '../../helpers/options.js';

const { cookies } = configOf({ cookies: { origins: ['https://spa.test'] } }).http;

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
    ['from a sibling host', handshake({ origin: 'https://app.test', 'sec-fetch-site': 'same-site' })],
    ["by Socket.IO's polling, without an origin", { headers: HOST }],
    ["by Socket.IO's polling, from another host", { headers: { ...HOST, origin: 'https://evil.test' } }],
  ])('%s is refused', (_, carrier) => {
    expect(passes(carrier)).toBe(false);
  });
});
