import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ADAPTERS } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';
import { SMALL } from '../helpers/size.js';
import { Client, keepUsing, keepVisiting, PASSWORD, SECRET_KEY, TYPES } from './load.js';
import { selectedServers } from './matrix.js';
import { broken } from './outage.js';

const ROUNDS = SMALL ? 1 : 3;
const LIMIT = 3;
const USERS = Array.from({ length: 8 }, (_, at) => `user${at}`);
const COUNTER = pathToFileURL(resolve('test/faults/request-counter.mjs')).href;
const folder = mkdtempSync(join(tmpdir(), 'sigterm-'));
afterAll(() => rmSync(folder, { recursive: true }));

const countFile = join(folder, 'count.json');

// A small run has both adapters, on the first server only.
const cases = (SMALL ? selectedServers().slice(0, 1) : selectedServers()).flatMap((name) =>
  ADAPTERS.map((adapter) => [name, adapter] as const),
);

describe.each(cases)('%s, %s', (name, adapter) => {
  let database: TestDatabase;
  beforeAll(async () => void (database = await createDatabase(name)));
  afterAll(() => database?.drop());

  const start = () => {
    const policy = {
      refreshTokenLifetime: '1h',
      maxActiveSessions: LIMIT,
      reuseGrace: 0,
      extendSession: 'every-refresh',
    };
    const path = join(folder, 'options.json');
    writeFileSync(path, JSON.stringify({ policies: { LONG: policy, STRICT: { ...policy, accessCheck: 'session' } } }));
    return startSampleApp({
      DATABASE_URL: (database.options as { url: string }).url,
      HTTP_ADAPTER: adapter,
      SESSION_CONFIG: path,
      DEMO_USERS: JSON.stringify(USERS.map((username) => ({ username, password: PASSWORD, active: true }))),
      JWT_SECRET: 'a signing secret of more than thirty-two bytes',
      SESSION_SECRET_KEY: SECRET_KEY,
      THROTTLE: 'off',
      NODE_OPTIONS: `--import=${COUNTER}`,
      REQUEST_COUNT_FILE: countFile,
    });
  };

  test('at SIGTERM under load every accepted request is answered, and no session is lost', async () => {
    let app: SampleApp = await start();
    const clients = USERS.map((user, at) => new Client(() => [app], user, TYPES[at % 2]));
    const visitors = USERS.map((user, at) => new Client(() => [app], user, TYPES[(at + 1) % 2]));
    for (const client of clients) expect(await client.login()).toBe(true);
    for (let round = 0; round < ROUNDS; round++) {
      const running = [...clients.map(keepUsing), ...visitors.map(keepVisiting)];
      await sleep(500);
      const begun = performance.now();
      const { code, stderr } = await app.stop();
      const took = performance.now() - begun;
      const ends = await Promise.allSettled(running.map((one) => one.stop()));
      // Each client goes on until the server refuses it. The kernel resets connections that the server never accepted.
      const faults = ends.map((end) => (end.status === 'rejected' ? codeOf(end.reason) : 'none'));
      expect(faults.filter((fault) => !SHUT.includes(fault))).toEqual([]);
      const resets = faults.filter((fault) => RESET.includes(fault)).length;
      const seen = [...clients, ...visitors].flatMap((client) => client.seen.splice(0));
      expect(seen.filter(({ status }) => status !== 200)).toEqual([]);
      expect(requestCount()).toEqual({ taken: seen.length, answered: seen.length });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(took).toBeLessThan(5000);

      app = await start();
      for (const client of clients) expect([await client.refresh(), await client.me()]).toEqual([true, true]);
      process.stdout.write(
        `${name}, ${adapter}: ${seen.length} requests, ${resets} connections reset, ended in ${Math.round(took)} ms\n`,
      );
    }
    await app.stop();
    expect(await broken(database.options as { url: string } & typeof database.options, LIMIT)).toEqual([]);
  });

  test('requests that arrive together with SIGTERM are answered, on kept-alive connections and on new ones', async () => {
    const app = await start();
    const keptAlive = Array.from({ length: 8 }, newAgent);
    await Promise.all(keptAlive.map((agent) => ask(app, agent).answer));

    // While the process is suspended, everything below waits in the kernel, and then reaches the process at once.
    app.child.kill('SIGSTOP');
    const asked = [...keptAlive, ...Array.from({ length: 30 }, newAgent)].map((agent) => ask(app, agent));
    await Promise.all(asked.map(({ isSent }) => isSent));
    const ended = app.stop();
    app.child.kill('SIGCONT');

    const answers = await Promise.allSettled(asked.map(({ answer }) => answer));
    const seen = answers.map((one) => (one.status === 'fulfilled' ? one.value : codeOf(one.reason)));
    // The header keeps a client from sending its next request on a connection that is about to close.
    expect(seen).toEqual(asked.map(() => ({ status: 200, connection: 'close' })));
    expect(await ended).toMatchObject({ code: 0, stderr: '' });
    expect(requestCount()).toEqual({
      taken: keptAlive.length + asked.length,
      answered: keptAlive.length + asked.length,
    });
  });

  test('a connection on which no request ever comes does not delay the exit', async () => {
    const app = await start();
    const { port } = new URL(app.url);
    const silent = connect(Number(port), '127.0.0.1');
    await once(silent, 'connect');
    // The server has accepted the silent connection before it answers a later one.
    await ask(app, newAgent()).answer;
    const isClosed = once(silent.resume(), 'close');
    // `stop` kills a process that has not ended after 15 s, and its code is then null.
    expect(await app.stop()).toMatchObject({ code: 0, stderr: '' });
    await isClosed;
  });
});

const newAgent = () => new Agent({ keepAlive: true, maxSockets: 1 });

/** Sends a request that reads the database. `isSent` settles when the kernel has all of it. */
function ask({ url }: SampleApp, agent: Agent) {
  const request = get(`${url}/health`, { agent });
  const isSent = once(request, 'finish');
  const answer = once(request, 'response').then(([response]) => {
    const { statusCode: status, headers } = (response as IncomingMessage).resume();
    return { status, connection: headers.connection };
  });
  return { isSent, answer };
}

/** How many requests the process that ended last has read and answered. */
const requestCount = (): unknown => JSON.parse(readFileSync(countFile, 'utf8'));

const RESET = ['ECONNRESET', 'UND_ERR_SOCKET'];
/** `none` if the client was stopped before it asked again. */
const SHUT = ['ECONNREFUSED', ...RESET, 'none'];

function codeOf(error: unknown): string {
  const { cause, code } = error as { cause?: { code?: string; message?: string }; code?: string };
  return cause?.code ?? cause?.message ?? code ?? String(error);
}
