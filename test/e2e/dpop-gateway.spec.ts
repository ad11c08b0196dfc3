import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { ProvingClient } from '../helpers/dpop.js';
import { onEachAdapter } from '../helpers/matrix.js';

const ORIGIN = 'https://notes.example';
const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG' };

onEachAdapter((databaseName, adapter) => {
  let app: TestApp;
  /** A client that reaches the application through its gateway. */
  let client: ProvingClient;
  let token: string;
  const opened: TestApp[] = [];

  const start = async (publicOrigin?: string | string[]) => {
    const policies = { LONG: { refreshTokenLifetime: '30d', binding: 'prefer' } } as const;
    const started = await startApp({ databaseName, adapter, options: { policies, publicOrigin } });
    opened.push(started);
    return started;
  };
  /** Asks as a gateway does, with the headers of a client's request and those that it states. */
  const ask = async (sent: Record<string, string>, stated: Record<string, string>, method = 'GET', of = app) => {
    const { status, body, headers } = await of.request(method, '/api/session/authorize', {
      headers: { ...sent, ...stated },
    });
    return { outcome: status === 204 ? '204' : `${status} ${body.code}`, headers };
  };
  const outcome = async (...given: Parameters<typeof ask>) => (await ask(...given)).outcome;
  const get = () => client.headers('GET', '/notes/1', token);
  const STATED = { 'x-original-method': 'GET', 'x-original-uri': '/notes/1?page=2' };

  beforeAll(async () => {
    app = await start([`${ORIGIN}/app`, 'https://other.example']);
  });
  beforeEach(async () => {
    client = new ProvingClient(app, undefined, `${ORIGIN}/app`);
    token = (await client.post('login/', LOGIN)).body.access as string;
    client = new ProvingClient(app, client.keys, ORIGIN);
    const { headers } = await ask(get(), STATED);
    client.nonce = headers.get('dpop-nonce') ?? '';
  });
  afterEach(async () => {
    for (const each of opened.splice(1)) await each.close();
  });
  afterAll(() => app?.close());

  test('a bound token passes a gateway with the proof of the original request, once', async () => {
    const sent = get();
    const { outcome: first, headers } = await ask(sent, STATED);
    expect([first, headers.get('x-session-user')]).toEqual(['204', 'alice']);
    expect(await outcome(sent, STATED)).toBe('401 invalid_dpop_proof');
    expect(await outcome({ authorization: sent.authorization }, STATED)).toBe('401 invalid_dpop_proof');
    expect(await outcome({ authorization: `Bearer ${token}` }, STATED)).toBe('401 device_proof_required');
  });

  test('without a nonce, the answer has one, and the schemes', async () => {
    client.nonce = undefined;
    const { outcome: first, headers } = await ask(get(), STATED);
    expect([first, headers.get('dpop-nonce')]).toEqual(['401 use_dpop_nonce', expect.stringMatching(/\./)]);
    expect(headers.get('www-authenticate')).toMatch(/^DPoP error="use_dpop_nonce", algs="ES256 /);
    expect((await ask({}, STATED)).headers.get('www-authenticate')).toMatch(/^Bearer realm="api", DPoP algs=/);
  });

  test('the proof of another method or URL does not pass', async () => {
    const post = { ...STATED, 'x-original-method': 'POST' };
    expect(await outcome(get(), post)).toBe('401 invalid_dpop_proof');
    expect(await outcome(get(), { ...STATED, 'x-original-uri': '/notes/2' })).toBe('401 invalid_dpop_proof');
    const host = { 'x-forwarded-host': 'other.example' };
    expect(await outcome(get(), { ...STATED, ...host })).toBe('401 invalid_dpop_proof');
    const other = new ProvingClient(app, client.keys, 'https://other.example');
    other.nonce = client.nonce;
    expect(await outcome(other.headers('POST', '/notes/1', token), { ...post, ...host })).toBe('204');
  });

  test.each<[string, Record<string, string>, string?]>([
    ['nginx', STATED],
    ['ingress-nginx', { 'x-original-method': 'GET', 'x-original-url': `${ORIGIN}/notes/1?page=2` }],
    [
      'Traefik',
      {
        'x-forwarded-method': 'GET',
        'x-forwarded-uri': '/notes/1',
        'x-forwarded-host': 'notes.example',
        'x-forwarded-proto': 'https',
      },
    ],
  ])('%s states the request in its own way', async (_name, stated) => {
    expect(await outcome(get(), stated)).toBe('204');
  });

  test('a gateway may keep the method of the original request', async () => {
    const stated = { ...STATED, 'x-original-method': 'DELETE' };
    expect(await outcome(client.headers('DELETE', '/notes/1', token), stated, 'DELETE')).toBe('204');
    expect(await outcome(get(), STATED, 'DELETE')).toBe('401 device_proof_required');
    const unstated = { 'x-original-uri': '/notes/1' };
    const sent = client.headers('DELETE', '/notes/1', token);
    expect(await outcome(sent, unstated, 'DELETE')).toBe('401 device_proof_required');
  });

  test.each<[string, Record<string, string>]>([
    ['states nothing', {}],
    ['states no method', { 'x-original-uri': '/notes/1' }],
    ['states no URL', { 'x-original-method': 'GET' }],
    ['states no path', { ...STATED, 'x-original-uri': 'notes/1' }],
    ['states two methods', { ...STATED, 'x-forwarded-method': 'POST' }],
    ['states two paths', { ...STATED, 'x-forwarded-uri': '/notes/2' }],
    [
      'states two hosts',
      { ...STATED, 'x-original-url': `${ORIGIN}/notes/1?page=2`, 'x-forwarded-host': 'other.example' },
    ],
  ])('a bound token is refused if the gateway %s', async (_name, stated) => {
    expect(await outcome(get(), stated)).toBe('401 device_proof_required');
  });

  test('the log says once that the gateway must state the request', async () => {
    const logged = jest.spyOn(Logger.prototype, 'warn').mockReturnValue(undefined);
    const open = await start();
    for (let count = 0; count < 2; count++) await outcome({ dpop: client.proof('GET', '/notes/1') }, {}, 'GET', open);
    expect(
      logged.mock.calls.filter(([text]) => /X-Original-Method and X-Original-URI/.test(String(text))),
    ).toHaveLength(1);
    logged.mockRestore();
  });

  test('without `publicOrigin`, the stated host counts, with the scheme that the framework sees', async () => {
    const open = await start();
    const own = new ProvingClient(open);
    const { access } = (await own.post('login/', LOGIN)).body as { access: string };
    const stated = { ...STATED, 'x-forwarded-host': 'notes.example' };
    const from = async (origin: string, more: Record<string, string> = {}) => {
      const sender = new ProvingClient(open, own.keys, origin);
      sender.nonce = own.nonce;
      return outcome(sender.headers('GET', '/notes/1', access), { ...stated, ...more }, 'GET', open);
    };
    expect(await from('http://notes.example')).toBe('204');
    expect(await from('https://notes.example')).toBe('401 invalid_dpop_proof');
    expect(await from(ORIGIN, { 'x-original-uri': '', 'x-original-url': `${ORIGIN}/notes/1` })).toBe('204');
    expect(await from('https://evil.example')).toBe('401 invalid_dpop_proof');
  });
});
