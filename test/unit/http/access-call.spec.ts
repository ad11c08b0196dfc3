import { describe, expect, test } from '@jest/globals';
import { accessCallOf, urlOf } from '../../../lib/http/access-call.js';
import type { CredentialsCarrier } from '../../../lib/http/request.js';

const carrier = (members: object) => members as CredentialsCarrier;

describe('the URL of a request', () => {
  test.each([
    ['Express', { protocol: 'https', host: 'api.example', originalUrl: '/api/notes?a=b', url: '/notes?a=b' }],
    ['Node.js', { headers: { host: 'api.example' }, url: '/api/notes?a=b', socket: { encrypted: true } }],
    ['HTTP/2', { headers: { ':authority': 'api.example' }, url: '/api/notes?a=b', socket: { encrypted: true } }],
    ['a handshake of Socket.IO', { headers: { host: 'api.example' }, url: '/api/notes?a=b', secure: true }],
  ])('of %s is what the framework sees', (_, request) => {
    expect(urlOf(carrier(request), [])).toBe('https://api.example/api/notes?a=b');
  });

  test('has the public origin, whatever the header Host says', () => {
    const request = carrier({ protocol: 'http', host: 'evil.example', url: '/notes' });
    expect(urlOf(request, ['https://api.example'])).toBe('https://api.example/notes');
  });

  test('has that of several public origins which the client has used, and else the first', () => {
    const origins = ['https://api.example', 'https://other.example:8443/app'];
    const at = (host: string) => urlOf(carrier({ protocol: 'http', host, url: '/notes' }), origins);
    expect(at('other.example:8443')).toBe('https://other.example:8443/app/notes');
    expect(at('API.example')).toBe('https://api.example/notes');
    for (const host of ['', 'example', 'r.example:8443', 'evil.example'])
      expect(at(host)).toBe('https://api.example/notes');
  });

  test.each([
    ['http://evil.example/notes?a=b', '/notes?a=b'],
    ['//evil.example/notes', '//evil.example/notes'],
    ['*', '/'],
  ])('takes only the path of the target %s', (url, path) => {
    expect(urlOf(carrier({ host: 'api.example', url }), ['https://api.example'])).toBe(`https://api.example${path}`);
  });
});

describe('the call of a request', () => {
  const config = { publicOrigins: ['https://api.example'] };

  test('is the same for every check, until the client sends another proof', () => {
    const request = carrier({ method: 'POST', url: '/notes' });
    const call = accessCallOf(request, 'a proof', config);
    expect(call).toEqual({ method: 'POST', url: 'https://api.example/notes', proof: 'a proof' });
    expect(accessCallOf({ request }, 'a proof', config)).toBe(call);
    expect(accessCallOf(request, 'another', config)).not.toBe(call);
  });

  test('of a message without a request has no proof', () => {
    expect(accessCallOf({ headers: {} }, 'a proof', config)).not.toHaveProperty('proof');
  });
});
