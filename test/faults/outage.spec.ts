import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { openProxy, type Proxy } from '../contract/proxy.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';
import {
  Client,
  keepLooking,
  keepUsing,
  keepVisiting,
  PASSWORD,
  type Running,
  SECRET_KEY,
  type Seen,
  TYPES,
} from './load.js';
import { selectedServers, SMALL } from './matrix.js';
import { broken, faultsOf, type Held, heldBy, until } from './outage.js';
import { type OwnServer, type ServerName, startServer } from './servers.js';

const LIMIT = 3;
const [POLL, MAX_STALENESS] = SMALL ? [250, 2000] : [500, 5000];
/** How long a fault lasts: beyond what memory is good for, and one that hangs, beyond what a statement is waited for. */
const LASTS = { error: MAX_STALENESS + 2000, hang: SMALL ? MAX_STALENESS + 2000 : 17_000 };
/** Fifteen seconds of the library's and of the sample application's own, and the wait for what came before. */
const ANSWERED_WITHIN = 20_000;
/** After the fault: what hangs on a lost connection has to be given up first. */
const RECOVERED_WITHIN = 20_000;
const USERS = Array.from({ length: 8 }, (_, at) => `user${at}`);

const folder = mkdtempSync(join(tmpdir(), 'outage-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Rotates at each refresh, with a grace so short that lost answers are recovered and not only replayed. */
function sessionConfig(): string {
  const policy = {
    refreshTokenLifetime: '1h',
    maxActiveSessions: LIMIT,
    blacklistAfterRotation: true,
    reuseGrace: '500ms',
    extendSession: 'every-refresh',
  };
  const path = join(folder, 'options.json');
  const policies = { LONG: policy, STRICT: { ...policy, accessCheck: 'session' } };
  const revocation = { pollInterval: `${POLL}ms`, maxStaleness: `${MAX_STALENESS}ms` };
  writeFileSync(path, JSON.stringify({ policies, revocation }));
  return path;
}

describe.each(selectedServers())('%s', (name) => {
  let server: OwnServer;
  let proxy: Proxy;
  let apps: SampleApp[] = [];

  beforeAll(async () => {
    server = await startServer(name);
    proxy = await openProxy({ name, options: server.options, drop: () => Promise.resolve() });
    const demoUsers = USERS.map((username) => ({ username, password: PASSWORD, active: true }));
    const environment = {
      DATABASE_URL: (proxy.database.options as OwnServer['options']).url,
      SESSION_CONFIG: sessionConfig(),
      DEMO_USERS: JSON.stringify(demoUsers),
      JWT_SECRET: 'x'.repeat(32),
      SESSION_SECRET_KEY: SECRET_KEY,
      THROTTLE: 'off',
    };
    apps = [await startSampleApp(environment), await startSampleApp({ ...environment, HTTP_ADAPTER: 'fastify' })];
  });
  afterAll(async () => {
    await Promise.all(apps.map((app) => app.stop()));
    await proxy?.close();
    await server?.remove();
  });

  const newClients = () => USERS.map((user, at) => new Client(() => apps, user, TYPES[at % TYPES.length]));

  /** Half of the users refresh a long session, and all of them come and go. */
  async function load(): Promise<Running[]> {
    const clients = newClients();
    for (const client of clients) expect(await client.login()).toBe(true);
    // One visit at a time leaves room for the long session, which is then never the oldest of three.
    const visitors = newClients().map((client, at) => new Client(() => apps, client.username, TYPES[(at + 1) % 2]));
    return [...clients.map(keepUsing), ...visitors.map(keepVisiting), ...clients.slice(0, 2).map(keepLooking)];
  }

  const atRest = async () => {
    let held: Held = { connections: 0, locks: 1, openTransactions: 1 };
    await until('locks and transactions are left', RECOVERED_WITHIN, async () => {
      held = await heldBy(name, server);
      return held.locks === 0 && held.openTransactions === 0;
    });
    return held;
  };

  test.each(faultsOf(name, SMALL))('$title', async (fault) => {
    const running = await load();
    await sleep(1000);
    const before = await heldBy(name, server);

    const begun = performance.now();
    const undo = await fault.begin(server, proxy);
    await sleep(fault.hangs ? LASTS.hang : LASTS.error);
    await undo();
    const mended = performance.now();

    const users = running.slice(0, USERS.length).map(({ client }) => client);
    const recovery = await until('not every session goes on', RECOVERED_WITHIN, () =>
      Promise.resolve(users.every((client) => worksSince(client.seen, mended))),
    );
    await Promise.all(running.map((one) => one.stop()));

    const seen = [...new Set(running.map(({ client }) => client))].flatMap((client) => client.seen);
    const during = seen.filter(({ askedAt }) => askedAt >= begun && askedAt < mended);
    expect(wrong(seen)).toEqual([]);
    // While memory is fresh it is enough: nobody who only shows a token of type LONG sees anything of it.
    const byMemory = during.filter(
      ({ operation, type, askedAt }) =>
        operation === 'me' && type === 'LONG' && askedAt < begun + MAX_STALENESS - 2 * POLL - 500,
    );
    expect(byMemory.length).toBeGreaterThan(0);
    expect(byMemory.filter(({ status, took }) => status !== 200 || took > 1000)).toEqual([]);
    // It was a fault: some were refused, or had to wait.
    expect(during.filter(({ status, took }) => status === 503 || took > 1000).length).toBeGreaterThan(0);

    // The last stored refresh token of each works, and twice, since the answer to the first has been stored.
    for (const client of users)
      expect([await client.refresh(), await client.me(), await client.refresh()]).toEqual([true, true, true]);
    expect(await broken(server.options, LIMIT)).toEqual([]);
    const after = await atRest();
    expect(after.connections).toBeLessThanOrEqual(Math.max(before.connections, 22));
    report(name, fault.title, seen, recovery, after);
  });

  test('afterwards each pool has all of its connections', async () => {
    for (const app of apps) {
      const clients = USERS.flatMap((user) => Array.from({ length: 4 }, () => new Client(() => [app], user, 'STRICT')));
      const begun = performance.now();
      expect(await Promise.all(clients.map((client) => client.login()))).toEqual(clients.map(() => true));
      expect(performance.now() - begun).toBeLessThan(5000);
    }
    expect(await broken(server.options, LIMIT)).toEqual([]);
    expect(apps.map(({ child }) => child.exitCode)).toEqual([null, null]);
  });
});

/** Whether each kind of request has been granted since. */
function worksSince(seen: readonly Seen[], since: number): boolean {
  const granted = seen.filter(({ askedAt, status }) => askedAt > since && status === 200);
  return (['refresh', 'me'] as const).every((operation) => granted.some((one) => one.operation === operation));
}

/** What no client may ever see. A visitor whose logout got no answer may have been logged out by it, and is not asked again. */
function wrong(seen: readonly Seen[]): Seen[] {
  return seen.filter(({ status, retryAfter, took }) => {
    const isGood = status === 200 || (status === 503 && Number(retryAfter) > 0);
    return !isGood || took > ANSWERED_WITHIN;
  });
}

function report(name: ServerName, title: string, seen: readonly Seen[], recovery: number, held: Held): void {
  const unavailable = seen.filter(({ status }) => status === 503).length;
  const slowest = Math.max(...seen.map(({ took }) => took));
  process.stdout.write(
    `${name}: ${title}: ${seen.length} requests, ${unavailable} answered 503, slowest ${Math.round(slowest)} ms, ` +
      `recovered in ${Math.round(recovery)} ms, ${held.connections} connections\n`,
  );
}
