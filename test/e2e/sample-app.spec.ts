import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { readEnvironment, StartError } from '../../sample-app/src/environment.js';
import { ADAPTERS, bearer } from '../helpers/app.js';
import { createDatabase, type DatabaseName } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { type Ended, runSampleApp, type SampleApp, startSampleApp } from '../helpers/sample-app.js';

const ALICE = {
  username: 'alice',
  password: 'alice-demo-password',
  secret_key: 'demo-secret-key',
  session: 'LONG',
  info: 'a test',
};

const folder = mkdtempSync(join(tmpdir(), 'sample-app-'));
const running = new Set<SampleApp>();

/** Applications that the suite stops at its end. */
async function start(environment: Record<string, string> = {}): Promise<SampleApp> {
  const app = await startSampleApp(environment);
  running.add(app);
  void app.ended.then(() => running.delete(app));
  return app;
}

afterAll(async () => {
  await Promise.all([...running].map((app) => app.stop()));
  rmSync(folder, { recursive: true });
});

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const login = (app: SampleApp, more: object = {}) => app.post('/api/session/login/', { ...ALICE, ...more });

/** Runs the curl line that the start printed. */
async function runPrintedCurl(app: SampleApp): Promise<any> {
  const line = app
    .stdout()
    .split('\n')
    .find((text) => text.trim().startsWith('curl '));
  const { stdout } = await promisify(execFile)('sh', ['-c', `${line} --silent --show-error`]);
  return JSON.parse(stdout);
}

const ISSUED = { refresh: expect.any(String), access: expect.any(String), session_id: expect.any(String) };

/** Several processes need one database, so a file replaces SQLite's memory. */
async function emptyDatabase(name: DatabaseName) {
  const database = await createDatabase(name);
  const { options } = database;
  const isServer = 'url' in options;
  const url = isServer ? String(options.url) : join(mkdtempSync(join(folder, 'sqlite-')), 'sample.db');
  const own = isServer ? options : { type: 'better-sqlite3', database: url };
  return { url, options: own as DataSourceOptions, drop: () => database.drop() };
}

/** Prepares the database like a start does, when it gets a message. */
const OPENS_DATABASE = `
  import { readDatabaseUrl } from './dist-app/database/database-url.js';
  import { openDatabase } from './dist-app/database/open-database.js';
  process.once('message', async (url) => {
    const users = [{ username: 'alice', password: 'a password', active: true }];
    await (await openDatabase(readDatabaseUrl(url), users)).destroy();
    process.disconnect();
  });
  process.send('ready');
`;

onEachDatabase((databaseName) => {
  let database: Awaited<ReturnType<typeof emptyDatabase>>;
  let apps: SampleApp[];

  beforeAll(async () => {
    database = await emptyDatabase(databaseName);
    // Both at once, on an empty database.
    apps = await Promise.all(ADAPTERS.map((adapter) => start({ DATABASE_URL: database.url, HTTP_ADAPTER: adapter })));
  });
  afterAll(async () => {
    await Promise.all([...running].map((app) => app.stop()));
    await database?.drop();
  });

  async function onDatabase<T>(work: (dataSource: DataSource) => Promise<T>): Promise<T> {
    const dataSource = await new DataSource(database.options).initialize();
    try {
      return await work(dataSource);
    } finally {
      await dataSource.destroy();
    }
  }

  const users = () =>
    onDatabase((dataSource) =>
      dataSource.query<{ id: number; username: string; password_hash: string }[]>('SELECT * FROM app_user ORDER BY id'),
    );

  test('creates the tables and the users of an empty database from several processes at once', async () => {
    const { url, drop } = await emptyDatabase(databaseName);
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', OPENS_DATABASE], {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      }),
    );
    const codes = children.map((child) => once(child, 'close').then(([code]) => code as number));
    await Promise.all(children.map((child) => once(child, 'message')));
    for (const child of children) child.send(url);
    expect(await Promise.all(codes)).toEqual([0, 0, 0, 0]);
    await drop();
  });

  test('prints a curl line that logs in', async () => {
    for (const app of apps) expect(await runPrintedCurl(app)).toEqual(ISSUED);
  });

  test('continues in one process a session of the other', async () => {
    const [first, second] = apps;
    const { body } = await login(first);
    const asAlice = bearer(body.access);
    const me = await fetch(`${second.url}/api/me/`, { headers: asAlice });
    expect([me.status, await me.json()]).toEqual([200, { user_id: expect.any(Number) }]);

    const { refresh, secret_key, session } = { ...body, ...ALICE };
    expect(await second.post('/api/session/refresh/', { refresh, secret_key, session })).toMatchObject({ status: 200 });
    const list = await second.post('/api/session/list/', { session: 'LONG' }, asAlice);
    const listed = list.body.Long.Sessions.map((entry: { session_id: string }) => entry.session_id);
    expect(listed).toContain(body.session_id);

    expect(await second.post('/api/session/logout/', { refresh, secret_key })).toEqual({ status: 200, body: {} });
    expect((await fetch(`${second.url}/api/me/`, { headers: asAlice })).status).toBe(401);
  });

  test('refuses an inactive user, an unknown one and a wrong password alike, each after a hash', async () => {
    const attempts = [
      { username: 'carol', password: 'carol-demo-password' },
      { username: 'nobody' },
      { username: 'ALICE' },
      { password: 'wrong' },
    ];
    const [app] = apps;
    for (const attempt of attempts) {
      const times: number[] = [];
      for (let i = 0; i < 3; i++) {
        const begun = performance.now();
        expect(await login(app, attempt)).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } });
        times.push(performance.now() - begun);
      }
      // A hash takes 10 ms or more, and everything else at most 3 ms.
      expect(Math.min(...times)).toBeGreaterThan(6);
    }
  });

  test('keeps the users at the next start, and updates their passwords', async () => {
    const before = await users();
    expect(before).toHaveLength(3);
    expect(before[0].password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    const demoUsers = [{ username: 'bob', password: "another's password", active: true }];
    const app = await start({ DATABASE_URL: database.url, DEMO_USERS: JSON.stringify(demoUsers) });
    expect(await runPrintedCurl(app)).toEqual(ISSUED);
    expect(await login(app, { username: 'bob', password: 'bob-demo-password' })).toMatchObject({ status: 401 });
    await app.stop();
    expect((await users()).map(({ id, username }) => [id, username])).toEqual(
      before.map(({ id, username }) => [id, username]),
    );
  });

  test('never reports a fault of the database as a wrong password', async () => {
    const { body } = await login(apps[0]);
    const rename = (from: string, to: string) =>
      onDatabase((dataSource) => dataSource.query(`ALTER TABLE ${from} RENAME TO ${to}`));
    await rename('app_user', 'app_user_away');
    try {
      for (const app of apps) {
        expect(await login(app)).toMatchObject({ status: 503, body: { code: 'unavailable' } });
        expect(await app.post('/api/session/refresh/', { ...ALICE, refresh: body.refresh })).toMatchObject({
          status: 503,
        });
        expect(app.stderr()).toMatch(/Cannot read the users: .*app_user/);
      }
    } finally {
      await rename('app_user_away', 'app_user');
    }
    expect(await login(apps[0])).toMatchObject({ status: 200 });
  });

  test('pings the database at /health', async () => {
    for (const app of apps) {
      const health = await fetch(`${app.url}/health`);
      expect([health.status, await health.json()]).toEqual([
        200,
        expect.objectContaining({ details: { database: expect.objectContaining({ status: 'up' }) } }),
      ]);
    }
  });

  test('answers every request after SIGTERM, and does not wait for idle connections', async () => {
    for (const app of apps) {
      const agent = new Agent({ keepAlive: true });
      expect(await post(app, agent, '/api/session/list', {})).toBe(401);
      const unused = connect(Number(new URL(app.url).port), '127.0.0.1');
      await once(unused, 'connect');

      const logins = Array.from({ length: 12 }, () => login(app, { session: 'SHORT' }));
      // By then the first ones are being hashed, and the last ones wait.
      await new Promise((resolve) => setTimeout(resolve, 30));
      const begun = performance.now();
      const stopped = app.stop();
      const late = post(app, agent, '/api/session/login', ALICE);
      expect((await Promise.all(logins)).map(({ status }) => status)).toEqual(Array(12).fill(200));
      expect(await late).toBe(200);
      expect(await stopped).toMatchObject({ code: 0 });
      expect(performance.now() - begun).toBeLessThan(4000);
      unused.destroy();
      agent.destroy();
    }
  });
});

function expectRefusal({ code, stdout, stderr }: Ended, messages: RegExp[]): void {
  expect([code, stdout]).toEqual([1, '']);
  for (const message of messages) expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/^ {4}at |hidden/m);
}

/**
 * Sends a request over a connection of the agent.
 *
 * @returns the status
 */
async function post(app: SampleApp, agent: Agent, path: string, body: object): Promise<number | undefined> {
  const headers = { 'content-type': 'application/json' };
  const request = httpRequest(app.url + path, { method: 'POST', agent, headers }).end(JSON.stringify(body));
  const [response] = (await once(request, 'response')) as [NodeJS.ReadableStream & { statusCode?: number }];
  response.resume();
  await once(response, 'end');
  return response.statusCode;
}

/** The JSON schema of a request body or a response in an OpenAPI document. */
function schemaOf({ content }: any): any {
  return content['application/json'].schema;
}

/** Follows a reference to a named schema. */
function resolved(components: any, schema: any): any {
  return schema.$ref ? components.schemas[schema.$ref.split('/').pop()] : schema;
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  let app: SampleApp;
  beforeAll(async () => void (app = await start({ HTTP_ADAPTER: adapter })));

  test('documents every route with its body, answers and errors', async () => {
    const { paths, components }: any = await (await fetch(`${app.url}/docs-json`)).json();
    const sessions = Object.entries<any>(paths).filter(([path, { post }]) => post && path.startsWith('/api/session/'));
    expect(Object.keys(paths['/api/session/jwks.json'].get.responses)).toEqual(['200']);
    const summary = sessions.map(([path, { post }]) => [
      path.replace('/api/session/', ''),
      Object.keys(resolved(components, schemaOf(post.requestBody)).properties)
        .sort()
        .join(),
      Object.keys(post.responses).join(),
    ]);
    expect(summary).toEqual([
      ['login', 'info,password,secret_key,session,username', '200,400,401,403,409,429,503'],
      ['refresh', 'refresh,secret_key,session', '200,400,401,403,503'],
      ['list', 'session', '200,400,401,403,503'],
      ['destroy', 'session_id', '200,400,401,403,404,503'],
      ['destroyAllOther', 'refresh,session', '200,400,401,403,503'],
      ['logout', 'refresh,secret_key', '200,400,401,403,503'],
      ['reauthenticate', 'password,username', '200,400,401,403,503'],
      ['sessions/delete-list', 'ids', '200,400,401,403,404,503'],
      ['verify', 'secret_key,token', '200,400,401,503'],
    ]);
    const { responses } = paths['/api/session/refresh'].post;
    const answers = schemaOf(responses['200']).oneOf;
    expect(answers.map((answer: any) => resolved(components, answer).required)).toEqual([['access'], ['session_id']]);
    expect(Object.keys(paths['/api/session/sessions'].get.responses)).toEqual(['200', '401', '503']);
    expect(schemaOf(responses['401']).allOf[1].properties.code.enum).toEqual([
      'secret_key_invalid',
      'token_not_valid',
      'session_not_found',
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
});

describe('the environment', () => {
  test('answers like Django with DJANGO_COMPAT=1', async () => {
    const secrets = { JWT_SECRET: 'x'.repeat(32), SESSION_SECRET_KEY: 'a secret key', SESSION_CONFIG: ' ' };
    const app = await start({ HTTP_ADAPTER: 'fastify', DJANGO_COMPAT: '1', ...secrets });
    expect(app.stdout()).not.toMatch(/warning/i);
    const refused = { status: 400, body: { non_field_errors: ['Invalid Credentials or not active account found!'] } };
    expect(await login(app)).toEqual(refused);
    expect(await login(app, { secret_key: 'a secret key', password: 'wrong' })).toEqual(refused);
    const { access } = await runPrintedCurl(app);
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
        await start({ HTTP_ADAPTER: adapter }),
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
    const app = await start({ SESSION_CONFIG: path, JWT_SECRET: 'x'.repeat(32), THROTTLE: 'off' });
    expect(app.stdout()).not.toMatch(/warning/i);
    const { access } = await runPrintedCurl(app);
    expect(claimsOf(access)).toMatchObject({ iss: 'sample', session_type: 'ENTERPRISE' });
    for (let i = 0; i < 60; i++) await app.post('/auth/login/', {});
    expect(await app.post('/auth/login/', { username: 'alice' })).toMatchObject({
      status: 400,
      body: { errors: { email: ['This field is required.'] } },
    });
    const { paths, components }: any = await (await fetch(`${app.url}/docs-json`)).json();
    const { requestBody, responses } = paths['/auth/login'].post;
    const { properties } = resolved(components, schemaOf(requestBody));
    expect(Object.keys(properties)).toEqual(['email', 'password', 'session', 'info']);
    expect(Object.keys(responses)).not.toContain('429');
    await app.stop();
  });

  test.each<[string, string | (() => string), RegExp]>([
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
      { SESSION_CONFIG: file('unknown.json', { polices: {}, jwt: 5 }) },
      [/- SESSION_CONFIG: polices: is not an option/, /- SESSION_CONFIG: jwt: must be an object/],
    ],
    [{ JWT_SECRET: 'too short' }, [/- JWT_SECRET: .* at least 32 bytes/]],
  ];
  test.each(ILL_FORMED)('stops the start for %p with a message and no stack', async (variables, messages) => {
    expectRefusal(await runSampleApp(variables), messages);
  });

  test('stops the start with a message if the port is in use', async () => {
    const server = createServer().listen(0, '0.0.0.0');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expectRefusal(await runSampleApp({ PORT: String(port) }), [/- PORT: .*EADDRINUSE/]);
    server.close();
  });
});

function claimsOf(token: string): any {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
}
