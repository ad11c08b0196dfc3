import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ADAPTERS, bearer } from '../helpers/app.js';
import { resolved, schemaOf } from '../helpers/openapi.js';
import { ALICE, type HostedApp, SampleAppHost } from '../helpers/sample-app.js';

let host: SampleAppHost;
beforeAll(async () => void (host = await SampleAppHost.start()));
afterAll(() => host?.stop());

describe.each(ADAPTERS)('the sample application on %s', (adapter) => {
  let app: HostedApp;
  beforeAll(async () => void (app = await host.app({ HTTP_ADAPTER: adapter })));

  test('documents every route with its body, answers and errors', async () => {
    const { paths, components }: any = await (await fetch(`${app.url}/docs-json`)).json();
    const sessions = Object.entries<any>(paths).filter(
      ([path, { post }]) => post?.requestBody && path.startsWith('/api/session/'),
    );
    expect(Object.keys(paths['/api/session/jwks.json'].get.responses)).toEqual(['200']);
    const summary = sessions.map(([path, { post }]) => [
      path.replace('/api/session/', ''),
      Object.keys(resolved(components, schemaOf(post.requestBody)).properties)
        .sort()
        .join(),
      Object.keys(post.responses).join(),
    ]);
    expect(summary).toEqual([
      ['login', 'info,password,persistent,secret_key,session,username', '200,400,401,403,409,429,503'],
      ['refresh', 'refresh,secret_key,session', '200,400,401,403,503'],
      ['list', 'session', '200,400,401,403,503'],
      ['destroy', 'session_id', '200,400,401,403,404,503'],
      ['destroyAllOther', 'refresh,session', '200,400,401,403,503'],
      ['logout', 'refresh,secret_key', '200,400,401,403,503'],
      ['reauthenticate', 'password,username', '200,400,401,403,429,503'],
      ['sessions/delete-list', 'ids', '200,400,401,403,404,503'],
      ['verify', 'secret_key,token', '200,400,401,503'],
      ['renew', 'refresh,secret_key', '200,400,401,403,503'],
    ]);
    const { responses } = paths['/api/session/refresh'].post;
    const answers = schemaOf(responses['200']).oneOf;
    expect(answers.map((answer: any) => resolved(components, answer).required)).toEqual([
      ['access'],
      ['session_id', 'session_type', 'expires_in', 'session_expires_in'],
    ]);
    expect(Object.keys(paths['/api/session/sessions'].get.responses)).toEqual(['200', '401', '503']);
    expect(schemaOf(responses['401']).allOf[1].properties.code.enum).toEqual([
      'secret_key_invalid',
      'token_not_valid',
      'session_not_found',
      'session_proof_required',
      'device_proof_required',
    ]);
    expect(paths['/api/session/list'].post.security).toEqual([{ bearer: [] }, { cookie: [] }]);
    expect(components.securitySchemes.cookie).toMatchObject({ in: 'cookie', name: '__Host-session-access' });
    expect(paths['/api/me'].get.security).toEqual([{ bearer: [] }]);

    const ui = await fetch(`${app.url}/docs`);
    expect([ui.status, await ui.text()]).toEqual([200, expect.stringContaining('swagger-ui')]);
    expect((await fetch(`${app.url}/docs/swagger-ui-bundle.js`)).status).toBe(200);
  });

  test('refuses too many logins, and no other request', async () => {
    const statuses: number[] = [];
    for (let i = 0; i < 60; i++) statuses.push((await app.post('/api/session/login/', {})).status);
    expect(new Set(statuses)).toEqual(new Set([400]));
    const refused = await fetch(`${app.url}/api/session/login`, { method: 'POST' });
    expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, expect.any(Number)]);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toEqual({
      statusCode: 429,
      error: 'Too Many Requests',
      message: expect.any(String),
      code: 'too_many_requests',
    });
    expect((await app.post('/api/session/refresh/', {})).status).toBe(400);
  });

  test('refuses too many passwords by address and by user, at reauthenticate/ too', async () => {
    const own = await host.app({ HTTP_ADAPTER: adapter, TRUST_PROXY: '1' });
    const from = (at: number) => ({ 'x-forwarded-for': `203.0.113.${at}` });
    const { body } = await own.post('/api/session/login/', ALICE, from(0));
    const guess = async (route: string, username: string, address: number) => {
      const guessed = { ...ALICE, username, password: 'a guess' };
      return (await own.post(`/api/session/${route}/`, guessed, { ...from(address), ...bearer(body.access) })).status;
    };
    const repeated = (status: number, times: number) => Array<number>(times).fill(status);
    // All at once, because the limits are for a minute and for an hour.
    const ofOneAddress = Array.from({ length: 70 }, () => guess('reauthenticate', 'alice', 0));
    expect((await Promise.all(ofOneAddress)).sort()).toEqual([...repeated(401, 60), ...repeated(429, 10)]);
    // With the login and the guesses that were let in, these are more than a hundred.
    const ofOthers = Array.from({ length: 45 }, (_, at) => guess('login', at % 2 ? 'alice' : ' ALICE', at + 1));
    expect((await Promise.all(ofOthers)).sort()).toEqual([...repeated(401, 39), ...repeated(429, 6)]);
    const refused = await fetch(`${own.url}/api/session/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(ALICE),
    });
    expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, expect.any(Number)]);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(60);
    // Others may log in, and alice may go on.
    expect(await own.post('/api/session/login/', { ...ALICE, username: 'bob' }, from(1))).toMatchObject({
      status: 401,
    });
    const { refresh } = body;
    expect(await own.post('/api/session/refresh/', { ...ALICE, refresh }, from(1))).toMatchObject({ status: 200 });
    await own.stop();
  });

  test.each([
    ['nobody', {}, '127.0.0.1'],
    ['a number of proxies', { TRUST_PROXY: '1' }, '203.0.113.9'],
    ['the address of a proxy', { TRUST_PROXY: 'loopback, 10.0.0.0/8' }, '203.0.113.9'],
    ['the address of another proxy', { TRUST_PROXY: '10.0.0.0/8' }, '127.0.0.1'],
  ])('believes X-Forwarded-For of %s', async (_, environment, address) => {
    const own = await host.app({ HTTP_ADAPTER: adapter, ...environment });
    const forwarded = { 'x-forwarded-for': '198.51.100.66, 203.0.113.9' };
    const { body } = await own.post('/api/session/login/', ALICE, forwarded);
    const sessions = await fetch(`${own.url}/api/session/sessions`, { headers: bearer(body.access) });
    expect(await sessions.json()).toMatchObject([{ ip_address: address }]);
    await own.stop();
  });
});

describe('the administration of the sample application', () => {
  let app: HostedApp;
  beforeAll(async () => void (app = await host.app({ ADMINS: 'alice', THROTTLE: 'off' })));

  const logIn = async (username: string) =>
    (await app.post('/api/session/login/', { ...ALICE, username, password: `${username}-demo-password` })).body
      .access as string;
  const list = async (access: string, query = '') =>
    fetch(`${app.url}/api/session/admin/sessions${query}`, { headers: bearer(access) });

  test('has a page, but only if there are administrators', async () => {
    const page = await fetch(`${app.url}/admin`, { headers: { 'accept-language': 'de' } });
    expect([page.status, await page.text()]).toEqual([
      200,
      expect.stringMatching(/<html lang="de"[^]*<session-admin session-types="SHORT LONG">/),
    ]);
    expect(page.headers.get('content-security-policy')).toContain("script-src 'self'");
    const without = await host.app({});
    expect((await fetch(`${without.url}/admin`)).status).toBe(404);
    expect((await fetch(`${without.url}/api/session/admin/sessions`)).status).toBe(404);
  });

  test('names the demo users, and finds them by a part of their names', async () => {
    const [alice, bob] = [await logIn('alice'), await logIn('bob')];
    expect((await list(bob)).status).toBe(403);
    const names = async (query: string) => {
      const { sessions }: any = await (await list(alice, query)).json();
      return sessions.map((session: any) => session.user_name).sort();
    };
    expect(await names('')).toEqual(['alice', 'bob']);
    expect(await names('?user_name=OB')).toEqual(['bob']);
    expect(await names('?user_name=%25')).toEqual([]);
    expect(await names('?user_name=_')).toEqual([]);
  });
});
