import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { SessionService } from 'nestjs-multisession';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

onEachDatabaseAndAdapter((databaseName, adapter) => {
  describe('authorize', () => {
    let app: TestApp;
    let access: string;
    let sessionId: string;

    beforeAll(async () => {
      const jwt = { secret: 'a signing secret of more than thirty-two bytes' };
      app = await startApp({ databaseName, adapter, options: { jwt, cookies: { origins: ['https://app.example'] } } });
      ({ access, session_id: sessionId } = await app.login());
    });
    afterAll(() => app?.close());

    const ask = (headers: Record<string, string>, method = 'GET') =>
      app.request(method, '/api/session/authorize', { headers });
    const cookie = () => ({ cookie: `__Host-session-access=${access}` });
    const outcome = async (headers: Record<string, string>, method?: string) => {
      const { status, body } = await ask(headers, method);
      return status === 204 ? '204' : `${status} ${body.code}`;
    };

    test('answers 204 with the identity of the caller, without a body', async () => {
      const { status, headers, body } = await ask(bearer(access));
      expect([status, body, headers.get('cache-control')]).toEqual([204, '', 'no-store']);
      expect(Object.fromEntries([...headers].filter(([name]) => name.startsWith('x-session')))).toEqual({
        'x-session-user': 'alice',
        'x-session-id': sessionId,
        'x-session-type': 'LONG',
        'x-session-authenticated-at': expect.stringMatching(/^\d{10}$/),
        'x-session-expires-at': expect.stringMatching(/^\d{10}$/),
      });
    });

    test('encodes user ids that a header cannot hold', async () => {
      const issued = await app.get(SessionService).create('Zoë 1%\r\n', { type: 'LONG' });
      const { headers } = await ask(bearer(issued.access));
      expect(headers.get('x-session-user')).toBe('Zo%C3%AB%201%25%0D%0A');
    });

    test('answers 401 to everyone else', async () => {
      expect(await outcome({})).toBe('401 not_authenticated');
      expect(await outcome(bearer('nonsense'))).toBe('401 token_not_valid');
      expect(await outcome({ authorization: 'Bearer a b' })).toBe('401 bad_authorization_header');
      expect((await ask({})).headers.get('www-authenticate')).toBe('Bearer realm="api"');
    });

    test('answers any method of a gateway that keeps it, for bearer tokens', async () => {
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
        expect([method, await outcome(bearer(access), method)]).toEqual([method, '204']);
    });

    test('accepts the cookie for a safe method only, and only if the gateway states it', async () => {
      expect(await outcome(cookie())).toBe('403 csrf_failed');
      expect(await outcome({ ...cookie(), 'x-original-method': 'GET' })).toBe('204');
      expect(await outcome({ ...cookie(), 'x-forwarded-method': 'HEAD' })).toBe('204');
      expect(await outcome({ ...cookie(), 'x-original-method': 'POST' })).toBe('403 csrf_failed');
    });

    test('counts the stricter one of several methods, because a client may have sent the other', async () => {
      const stated = { 'x-original-method': 'GET', 'x-forwarded-method': 'DELETE' };
      expect(await outcome({ ...cookie(), ...stated })).toBe('403 csrf_failed');
      expect(await outcome({ ...cookie(), 'x-original-method': 'GET' }, 'POST')).toBe('403 csrf_failed');
    });

    test('accepts the cookie for other methods if the request passes the CSRF check', async () => {
      const stated = { ...cookie(), 'x-original-method': 'POST', 'x-session-transport': 'cookie' };
      const host = { 'x-forwarded-host': 'notes.example' };
      expect(await outcome({ ...stated, ...host, origin: 'https://notes.example' })).toBe('204');
      expect(await outcome({ ...stated, ...host, origin: 'https://app.example' })).toBe('204');
      expect(await outcome({ ...stated, ...host, origin: 'https://evil.example' })).toBe('403 csrf_failed');
      expect(await outcome({ ...stated, 'sec-fetch-site': 'cross-site' })).toBe('403 csrf_failed');
    });

    test('checks the origin of a request that opens a socket', async () => {
      const opening = { ...cookie(), 'x-original-method': 'GET', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };
      expect(await outcome(opening)).toBe('403 csrf_failed');
      expect(await outcome({ ...opening, origin: 'https://evil.example' })).toBe('403 csrf_failed');
      expect(await outcome({ ...opening, origin: 'https://app.example' })).toBe('204');
    });
  });
});
