import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { requestsTo } from '../helpers/requests.js';
import { until } from '../helpers/until.js';
import { type ProofKeys, ProvingClient } from '../helpers/dpop.js';
import { end, Fleet, logIn, type Member } from './fleet.js';

let database: TestDatabase;
let fleet: Fleet;
let notes: Server;
/** The headers of the last request that has reached the service behind the gateways. */
let received: IncomingHttpHeaders | undefined;

beforeAll(async () => {
  database = await createDatabase('postgres');
  fleet = await Fleet.start(database.options, 1);
  notes = createServer((request, response) => {
    received = request.headers;
    response.end('{}');
  });
  await once(notes.listen(0, '127.0.0.1'), 'listening');
  const { port } = notes.address() as AddressInfo;
  await fleet.startNginx(port);
  await fleet.startHaproxy(port);
});
afterAll(async () => {
  notes?.close();
  await fleet?.stop();
  await database?.drop();
});

const FORGED = {
  'x-session-user': 'root',
  'x-session-id': 'forged',
  'x-session-type': 'ADMIN',
  'x-session-authenticated-at': '1',
  'x-session-expires-at': '1',
};
const bearer = (access: string) => ({ authorization: `Bearer ${access}` });

describe.each([
  ['nginx', () => fleet.nginx as Member],
  ['HAProxy', () => fleet.haproxy as Member],
] as const)('behind %s, with the configuration of the documentation', (_name, gateway) => {
  const ask = async (headers: Record<string, string>, method = 'GET', path = '/notes/') => {
    received = undefined;
    const response = await gateway().ask(path, { method, headers, ...(method === 'POST' && { body: 'a note' }) });
    await response.arrayBuffer();
    return response;
  };
  const statusOf = async (...given: Parameters<typeof ask>) => (await ask(...given)).status;

  test('a service learns who the caller is, and no client can forge that', async () => {
    const { access, session_id: sessionId } = await logIn(fleet.issuers[0]);
    for (const method of ['GET', 'POST', 'DELETE']) {
      expect(await statusOf({ ...bearer(access), ...FORGED }, method)).toBe(200);
      expect(received).toMatchObject({
        'x-session-user': 'alice',
        'x-session-id': sessionId,
        'x-session-type': 'LONG',
        'x-session-authenticated-at': expect.stringMatching(/^\d{10}$/),
        'x-session-expires-at': expect.stringMatching(/^\d{10}$/),
      });
    }
  });

  test('a public path has no identity', async () => {
    const { access } = await logIn(fleet.issuers[0]);
    expect(await statusOf({ ...bearer(access), ...FORGED }, 'GET', '/public/')).toBe(200);
    expect(Object.keys(received ?? {}).filter((name) => name in FORGED)).toEqual([]);
  });

  test('a request without a valid token does not reach the service', async () => {
    const refused = await ask(FORGED);
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
      401,
      expect.stringMatching(/^Bearer realm="api"/),
    ]);
    expect(await statusOf({ ...bearer('nonsense'), ...FORGED })).toBe(401);
    expect(received).toBeUndefined();
  });

  test('a cookie counts for a safe method, and for others only after the CSRF check', async () => {
    const { access } = await logIn(fleet.issuers[0]);
    const cookie = { cookie: `__Host-session-access=${access}` };
    expect(await statusOf(cookie)).toBe(200);
    expect(await statusOf(cookie, 'POST')).toBe(403);
    expect(await statusOf({ ...cookie, 'x-original-method': 'GET', 'x-forwarded-method': 'GET' }, 'POST')).toBe(403);
    const own = { ...cookie, 'x-session-transport': 'cookie' };
    expect(await statusOf({ ...own, origin: gateway().url }, 'POST')).toBe(200);
    expect(await statusOf({ ...own, origin: 'https://evil.example' }, 'POST')).toBe(403);
  });

  test('a bound access token needs the proof of the original request, once', async () => {
    const at = (member: Member, keys?: ProofKeys) => new ProvingClient(requestsTo(member.url), keys);
    const issuer = at(fleet.issuers[0]);
    const login = await issuer.post('login', { username: 'alice', password: 'right', session: 'BOUND' });
    const token = login.body.access as string;
    const client = at(gateway(), issuer.keys);
    // The first answer has no nonce of ours, so the client sends the request again.
    expect(await client.send('POST', '/notes/1?page=2', { token })).toMatchObject({ status: 200 });
    expect([received?.['x-session-user'], client.nonce]).toEqual(['alice', expect.stringMatching(/./)]);
    received = undefined;
    const headers = client.headers('GET', '/notes/1', token);
    for (const path of ['/notes/2', '/notes/1?page=2', '/notes/1'])
      expect([path, await statusOf({ ...headers, 'x-original-uri': '/notes/1' }, 'GET', path)]).toEqual([
        path,
        path === '/notes/1?page=2' ? 200 : 401,
      ]);
    const forged = {
      'x-original-method': 'GET',
      'x-original-url': `${gateway().url}/notes/1`,
      'x-forwarded-uri': '/notes/1',
    };
    const other = client.headers('GET', '/notes/1', token);
    for (const [method, path] of [
      ['GET', '/notes/2'],
      ['POST', '/notes/1'],
    ])
      expect([method, path, await statusOf({ ...other, ...forged }, method, path)]).toEqual([method, path, 401]);
    expect(await statusOf(bearer(token))).toBe(401);
  });

  test('an ended session is refused', async () => {
    const session = await logIn(fleet.issuers[0]);
    expect(await statusOf(bearer(session.access))).toBe(200);
    await end(fleet.issuers[0], session);
    expect(await statusOf(bearer(session.access))).toBe(401);
  });

  test('every request is refused while the issuer is away, with 503', async () => {
    const { access } = await logIn(fleet.issuers[0]);
    await fleet.issuers[0].kill();
    try {
      await until(async () => (await gateway().status(bearer(access))) === 503);
      expect((await ask(bearer(access))).headers.get('retry-after')).toBe('1');
    } finally {
      await fleet.issuers[0].start();
    }
    for (const each of [fleet.nginx, fleet.haproxy])
      await until(async () => (await each?.status(bearer(access))) === 200);
  });
});
