import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { ADAPTERS, bearer } from '../helpers/app.js';
import { createDatabase, type DatabaseName } from '../helpers/databases.js';
import { onEachSharedDatabase } from '../helpers/matrix.js';
import { ALICE, runPrintedCurl, type SampleApp, SampleAppHost, startSampleApp } from '../helpers/sample-app.js';

const folder = mkdtempSync(join(tmpdir(), 'sample-app-'));
const running = new Set<SampleApp>();
let host: SampleAppHost;
/** Processes that prepare a database when they are told to. They are slow to start, so all databases share them. */
let openers: ChildProcess[];

/** Applications that the suite stops at its end. */
async function start(environment: Record<string, string> = {}): Promise<SampleApp> {
  const app = await startSampleApp(environment);
  running.add(app);
  void app.ended.then(() => running.delete(app));
  return app;
}

beforeAll(async () => {
  openers = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', OPENS_DATABASES], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    }),
  );
  [host] = await Promise.all([SampleAppHost.start(), ...openers.map((child) => once(child, 'message'))]);
});
afterAll(async () => {
  for (const child of openers ?? []) child.disconnect();
  await Promise.all([...running].map((app) => app.stop()));
  await host?.stop();
  rmSync(folder, { recursive: true });
});

const login = (app: Pick<SampleApp, 'post'>, more: object = {}) =>
  app.post('/api/session/login/', { ...ALICE, ...more });

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

/** Prepares the database of each message like a start does. */
const OPENS_DATABASES = `
  import { readDatabaseUrl } from './dist-app/database/database-url.js';
  import { openDatabase } from './dist-app/database/open-database.js';
  process.on('message', async (url) => {
    const users = [{ username: 'alice', password: 'a password', active: true }];
    await (await openDatabase(readDatabaseUrl(url), users)).destroy();
    process.send('opened');
  });
  process.send('ready');
`;

onEachSharedDatabase((databaseName) => {
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
    // A process that cannot open it exits, because nobody handles the rejection.
    const answers = openers.map((child) => Promise.race([once(child, 'message'), once(child, 'exit')]));
    for (const child of openers) child.send(url);
    expect(await Promise.all(answers)).toEqual(Array(4).fill(['opened', undefined]));
    await drop();
  });

  test('prints a curl line that logs in', async () => {
    for (const app of apps) expect(await runPrintedCurl(app.stdout())).toEqual(ISSUED);
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

  test('adds missing users at the next start, and keeps the password and state of the others', async () => {
    const before = await users();
    expect(before).toHaveLength(3);
    expect(before[0].password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    const demoUsers = ['bob', 'dave'].map((username) => ({ username, password: 'a chosen password', active: true }));
    const app = await host.app({ DATABASE_URL: database.url, DEMO_USERS: JSON.stringify(demoUsers) });
    expect(await login(app, { username: 'bob', password: 'a chosen password' })).toMatchObject({ status: 401 });
    expect(await login(app, { username: 'bob', password: 'bob-demo-password' })).toMatchObject({ status: 200 });
    expect(await login(app, { username: 'dave', password: 'a chosen password' })).toMatchObject({ status: 200 });
    await app.stop();
    expect((await users()).slice(0, 3)).toEqual(before);
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
        expect.objectContaining({
          details: expect.objectContaining({
            database: expect.objectContaining({ status: 'up' }),
            sessions: expect.objectContaining({ status: 'up', faults: [] }),
          }),
        }),
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
