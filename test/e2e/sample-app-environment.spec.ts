import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readEnvironment, StartError } from '../../sample-app/src/environment.js';
import { ADAPTERS, bearer } from '../helpers/app.js';
import { resolved, schemaOf } from '../helpers/openapi.js';
import {
  ALICE,
  type Ended,
  runPrintedCurl,
  runSampleApp,
  type SampleApp,
  SampleAppHost,
  startSampleApp,
} from '../helpers/sample-app.js';

const ISSUED = { refresh: expect.any(String), access: expect.any(String), session_id: expect.any(String) };

const folder = mkdtempSync(join(tmpdir(), 'sample-app-'));
const running = new Set<SampleApp>();
let host: SampleAppHost;

/** Starts a process for what changes classes that applications share, and for what it prints. The suite stops it at its end. */
async function start(environment: Record<string, string> = {}): Promise<SampleApp> {
  const app = await startSampleApp(environment);
  running.add(app);
  void app.ended.then(() => running.delete(app));
  return app;
}

beforeAll(async () => void (host = await SampleAppHost.start()));
afterAll(async () => {
  await Promise.all([...running].map((app) => app.stop()));
  await host?.stop();
  rmSync(folder, { recursive: true });
});

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const login = (app: Pick<SampleApp, 'post'>, more: object = {}) =>
  app.post('/api/session/login/', { ...ALICE, ...more });

function expectRefusal({ code, stdout, stderr }: Ended, messages: RegExp[]): void {
  expect([code, stdout]).toEqual([1, '']);
  for (const message of messages) expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/^ {4}at |hidden/m);
}

describe('the environment', () => {
  test('answers like Django with DJANGO_COMPAT=1', async () => {
    const secrets = {
      JWT_SECRET: 'a signing secret of more than thirty-two bytes',
      SESSION_SECRET_KEY: 'a secret key of this test',
      SESSION_CONFIG: ' ',
    };
    const app = await start({ HTTP_ADAPTER: 'fastify', DJANGO_COMPAT: '1', ...secrets });
    expect(app.stdout()).not.toMatch(/warning/i);
    const refused = { status: 400, body: { non_field_errors: ['Invalid Credentials or not active account found!'] } };
    expect(await login(app)).toEqual(refused);
    expect(await login(app, { secret_key: 'a secret key of this test', password: 'wrong' })).toEqual(refused);
    const { access } = await runPrintedCurl(app.stdout(), secrets.SESSION_SECRET_KEY);
    expect(claimsOf(access)).toMatchObject({ token_type: 'access', user_id: 1 });
    const me = await fetch(`${app.url}/api/me/`, { headers: bearer(access) });
    expect(await me.json()).toEqual({ user_id: 1 });
    for (let i = 0; i < 60; i++) await app.post('/api/session/login/', {});
    expect(await login(app)).toEqual({ status: 429, body: { detail: expect.any(String) } });
    await app.stop();
  });

  test.each(ADAPTERS)(
    'on %s, METRICS=on shows Prometheus what happens, and without it there is nothing',
    async (adapter) => {
      const [measured, plain] = [
        await start({ METRICS: 'on', HTTP_ADAPTER: adapter }),
        await host.app({ HTTP_ADAPTER: adapter }),
      ];
      await login(measured);
      const scraped = await fetch(`${measured.url}/metrics`);
      expect(scraped.status).toBe(200);
      expect(await scraped.text()).toMatch(/^multisession_login_duration_count\{\S*\} 1$/m);
      expect((await fetch(`${plain.url}/metrics`)).status).toBe(404);
      expect(await measured.stop()).toMatchObject({ code: 0 });
    },
  );

  test('replaces the options of the demo with SESSION_CONFIG, and allows any number of logins with THROTTLE=off', async () => {
    const path = file('options.json', {
      path: 'auth',
      usernameField: 'email',
      secretKey: false,
      jwt: { issuer: 'sample' },
      policies: { ENTERPRISE: { refreshTokenLifetime: '1h' } },
    });
    const app = await start({
      SESSION_CONFIG: path,
      JWT_SECRET: 'a signing secret of more than thirty-two bytes',
      THROTTLE: 'off',
    });
    expect(app.stdout()).not.toMatch(/warning/i);
    const { access } = await runPrintedCurl(app.stdout());
    expect(claimsOf(access)).toMatchObject({ iss: 'sample', session_type: 'ENTERPRISE' });
    for (let i = 0; i < 60; i++) await app.post('/auth/login/', {});
    expect(await app.post('/auth/login/', { username: 'alice' })).toMatchObject({
      status: 400,
      body: { errors: { email: ['This field is required.'] } },
    });
    const { paths, components }: any = await (await fetch(`${app.url}/docs-json`)).json();
    const { requestBody, responses } = paths['/auth/login'].post;
    const { properties } = resolved(components, schemaOf(requestBody));
    expect(Object.keys(properties)).toEqual(['email', 'password', 'session', 'info', 'persistent']);
    expect(Object.keys(responses)).not.toContain('429');
    await app.stop();
  });

  describe('by default', () => {
    test('only this machine can reach the application', async () => {
      const app = await host.app();
      const { port } = new URL(app.url);
      const others = Object.values(networkInterfaces())
        .flat()
        .filter((address) => address?.family === 'IPv4' && !address.internal);
      for (const address of [...others.map((other) => other?.address), '127.0.0.2'])
        await expect(fetch(`http://${address}:${port}/health`)).rejects.toThrow();
      expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
      await app.stop();
    });

    test('the signing secret is a new one at each start', async () => {
      const [first, second] = [await host.app({ JWT_SECRET: '' }), await host.app({ JWT_SECRET: '' })];
      expect(first.announcement).toMatch(/Warning: all tokens end with this process, because JWT_SECRET is not set/);
      const { body } = await login(first);
      const me = async (app: { url: string }) =>
        (await fetch(`${app.url}/api/me`, { headers: bearer(body.access) })).status;
      expect([await me(first), await me(second)]).toEqual([200, 401]);
      await Promise.all([first.stop(), second.stop()]);
    });

    test('without a secret key, the printed line logs in too', async () => {
      const app = await host.app({ SESSION_SECRET_KEY: '' });
      expect(await runPrintedCurl(app.announcement, '')).toEqual(ISSUED);
      await app.stop();
    });
  });

  test('prints no secret, and no password that somebody chose', async () => {
    const secrets = {
      JWT_SECRET: 'a signing secret that nobody may read',
      SESSION_SECRET_KEY: 'a key that nobody may read',
    };
    const config = { path: 'auth', secretKey: ['a long key in a file', 'another key in a file'] };
    const demoUsers = [{ username: 'eve', password: 'a password that Eve chose', active: true }];
    const chosen = { DEMO_USERS: JSON.stringify(demoUsers) };
    const printed = async (more: Record<string, string>) => {
      const app = await host.app({ ...secrets, ...more });
      await app.stop();
      return app.announcement;
    };
    const all = [await printed({}), await printed(chosen)];
    // Also what the process itself prints, and what it logs at its end.
    const app = await start({ ...secrets, ...chosen, SESSION_CONFIG: file('keys.json', config) });
    const { stdout, stderr } = await app.stop();
    for (const text of [...all, stdout]) expect(text).toContain('listens on');
    expect(all.join('') + stdout + stderr).not.toMatch(/nobody may read|key in a file|that Eve chose/);
  });

  describe('in production', () => {
    const production = { NODE_ENV: 'production' };

    test('the application does not start without a signing secret of its own', async () => {
      expectRefusal(await runSampleApp({ ...production, JWT_SECRET: '' }), [/- JWT_SECRET: must be set/]);
      const published = 'demo signing secret, which everybody knows';
      expect(await host.refusal({ ...production, JWT_SECRET: published })).toMatch(/published example/);
    });

    test('the application does not start with the public passwords', async () => {
      const demoUsers = [{ username: 'root', password: 'alice-demo-password', active: true }];
      const refusal = await host.refusal({ ...production, DEMO_USERS: JSON.stringify(demoUsers) });
      expect(refusal).toMatch(/- DEMO_USERS: must not have the public passwords/);
    });

    test('there is no demo user', async () => {
      const app = await host.app(production);
      expect(await login(app)).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } });
      expect(app.announcement).not.toMatch(/demo|curl/i);
      await app.stop();
    });
  });

  test.each<[string, string | (() => string), RegExp]>([
    ['HOST', 'example.com', /an IP address to listen on/],
    ['TRUST_PROXY', 'true', /the number of proxies/],
    ['TRUST_PROXY', '0', /the number of proxies/],
    ['TRUST_PROXY', 'all', /the number of proxies/],
    ['PORT', '70000', /whole number from 0 to 65535/],
    ['PORT', '3000x', /whole number/],
    ['HTTP_ADAPTER', 'koa', /express or fastify; got "koa"/],
    ['THROTTLE', 'no', /on or off/],
    ['METRICS', '1', /on or off/],
    ['DJANGO_COMPAT', 'yes', /0 or 1/],
    ['DATABASE_URL', 'mongodb://127.0.0.1/test', /begin with postgres:.*got mongodb:…/],
    ['DATABASE_URL', 'postgres://', /a host and the name of a database/],
    ['REDIS_URL', 'http://127.0.0.1', /begins with redis:/],
    ['DEMO_USERS', '[{', /not valid JSON/],
    ['DEMO_USERS', '{"username":"x"}', /a list of/],
    ['DEMO_USERS', '[{"username":"x"}]', /in entry 1, password/],
    ['DEMO_USERS', '[{"username":"x","password":"y","active":"no"}]', /active must be a boolean/],
    ['DEMO_USERS', '[{"username":"x","password":"y","admin":true}]', /admin should not exist/],
    ['DEMO_USERS', '[{"username":"x","password":"y"},{"username":"x","password":"z"}]', /"x" is listed twice/],
    ['TLS_CERT', '/no/such/cert.pem', /path of a PEM file; ENOENT/],
    ['TLS_KEY', () => file('key.json', {}), /path of a PEM file/],
    ['SESSION_CONFIG', '/no/such/file.json', /path of a JSON file; ENOENT/],
    ['SESSION_CONFIG', () => file('broken.json', '{'), /not valid JSON/],
    ['SESSION_CONFIG', () => file('list.json', []), /a JSON object/],
    ['SESSION_CONFIG', () => file('code.json', { authenticator: {} }), /authenticator cannot be set in a file/],
  ])('refuses an ill-formed %s: %p', (name, value, message) => {
    const read = () => readEnvironment({ [name]: typeof value === 'string' ? value : value() });
    expect(read).toThrow(StartError);
    expect(read).toThrow(new RegExp(`^The sample application cannot start:\n {2}- ${name}: `));
    expect(read).toThrow(message);
  });

  const ILL_FORMED: [Record<string, string>, RegExp[]][] = [
    [{ PORT: 'x', HTTP_ADAPTER: 'koa' }, [/- PORT: must be .*x/, /- HTTP_ADAPTER: must be .*koa/]],
    [
      { DATABASE_URL: 'postgres://nobody:hidden@127.0.0.1:1/test' },
      [/- DATABASE_URL: the database cannot be used: .*ECONNREFUSED/],
    ],
    [
      { SESSION_CONFIG: file('unknown.json', { polices: {}, jwt: 5 }), JWT_SECRET: '' },
      [/- SESSION_CONFIG: polices: is not an option/, /- SESSION_CONFIG: jwt: must be an object/],
    ],
  ];
  test.each(ILL_FORMED)('stops the start for %p with a message', async (variables, messages) => {
    const refusal = await host.refusal(variables);
    for (const message of messages) expect(refusal).toMatch(message);
    expect(refusal).not.toMatch(/^ {4}at |hidden/m);
  });

  test('prints the message without a stack, and exits', async () => {
    expectRefusal(await runSampleApp({ JWT_SECRET: 'too short' }), [/- JWT_SECRET: .* at least 32 bytes/]);
  });

  test('stops the start with a message if the port is in use', async () => {
    const server = createServer().listen(0, '0.0.0.0');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await host.refusal({ PORT: String(port) })).toMatch(/- PORT: .*EADDRINUSE/);
    server.close();
  });
});

describe('.env.example', () => {
  const text = readFileSync('sample-app/.env.example', 'utf8');
  const variables = parseEnv(text);
  /** The variables that only compose.yaml reads. */
  const OF_COMPOSE = ['POSTGRES_PASSWORD'];

  test('describes each variable that the application reads, and no other', () => {
    const read = new Set<string>();
    const recorded = new Proxy({}, { get: (_, name) => void read.add(String(name)) });
    readEnvironment(recorded);
    expect(Object.keys(variables).sort()).toEqual([...read, ...OF_COMPOSE].sort());
    // A comment in the lines before it, or the comment of the variable before it.
    expect(text).not.toMatch(/^\n*[A-Z]|\n\n[A-Z]/);
  });

  test('starts nothing in production before its secret is set', () => {
    expect(() => readEnvironment(variables)).toThrow(/^[^\n]*\n {2}- JWT_SECRET: must be set[^\n]*$/);
    const set = readEnvironment({ ...variables, JWT_SECRET: 'a signing secret of more than thirty-two bytes' });
    expect(set).toMatchObject({
      host: '127.0.0.1',
      port: 3000,
      trustProxy: false,
      demoUsers: [],
      throttleLogins: true,
    });
  });
});

function claimsOf(token: string): any {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
}
