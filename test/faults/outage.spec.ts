import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { openProxy, type Proxy } from '../contract/proxy.js';
import { type SampleApp, startSampleApp } from '../helpers/sample-app.js';
import { SMALL } from '../helpers/size.js';
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
import { selectedServers } from './matrix.js';
import { broken, type Fault, faultsOf, type Held, heldBy, lagOf, lockTables, until } from './outage.js';
import { type OwnServer, type ServerName, startServer } from './servers.js';

const LIMIT = 3;
const [POLL, MAX_STALENESS] = SMALL ? [250, 6000] : [500, 9000];
/** How long a fault lasts: longer than memory may be used, and if it hangs, longer than the library waits for a statement. */
const LASTS = { error: MAX_STALENESS + 2000, hang: SMALL ? MAX_STALENESS + 2000 : 17_000 };
/**
 * A request that memory answers takes less, in milliseconds, even on a busy machine. One that waited for a hanging database would take
 * at least `MAX_STALENESS`, and for one that fails it would get 503.
 */
const QUICK = MAX_STALENESS / 3;
/** How long a test waits for what it needs before a fault, in milliseconds. A busy machine takes its time. */
const PATIENCE = 60_000;
/** After how long the library and the sample application give up, in milliseconds. */
const GIVEN_UP_AFTER = 15_000;
/** Time to recover after a fault: statements that hang on a lost connection have to time out first. */
const RECOVERED_WITHIN = 20_000;
/** What the drivers open by default. */
const POOL = 10;
/** The pools of both processes, and a connection of each for its polls. */
const ALL_CONNECTIONS = 2 * (POOL + 1);
const USERS = Array.from({ length: 8 }, (_, at) => `user${at}`);

const folder = mkdtempSync(join(tmpdir(), 'outage-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Tokens rotate at each refresh. The grace is so short that lost answers are also recovered, not only replayed. */
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
      JWT_SECRET: 'a signing secret of more than thirty-two bytes',
      SESSION_SECRET_KEY: SECRET_KEY,
      THROTTLE: 'off',
      METRICS: 'on',
    };
    apps = [await startSampleApp(environment), await startSampleApp({ ...environment, HTTP_ADAPTER: 'fastify' })];
  });
  afterAll(async () => {
    await Promise.all(apps.map((app) => app.stop()));
    await proxy?.close();
    await server?.remove();
  });

  const newClients = () => USERS.map((user, at) => new Client(() => apps, user, TYPES[at % TYPES.length]));

  /** Starts the load: each user keeps one session and refreshes it, and a visitor of the same name logs in and out. */
  async function load(): Promise<Running[]> {
    const clients = newClients();
    for (const client of clients) expect(await client.login()).toBe(true);
    // One visit at a time leaves room for the long session, which is then never the oldest of three.
    const visitors = newClients().map((client, at) => new Client(() => apps, client.username, TYPES[(at + 1) % 2]));
    const running = [...clients.map(keepUsing), ...visitors.map(keepVisiting), ...clients.slice(0, 2).map(keepLooking)];
    return running;
  }

  /**
   * Waits until the last poll of both processes is recent: after a fault that hangs, the next poll may itself have to time out.
   * @returns until when, at least, both may answer from memory, on the monotonic clock
   */
  async function freshMemory(): Promise<number> {
    let freshUntil = 0;
    await until('the polls have not recovered', PATIENCE, async () => {
      const askedAt = performance.now();
      const lag = Math.max(...(await Promise.all(apps.map(lagOf))));
      freshUntil = askedAt - lag + MAX_STALENESS;
      return lag < MAX_STALENESS / 3;
    });
    return freshUntil;
  }

  /** Waits until the server holds no more than it must. It takes a moment to notice that a connection was closed. */
  const atRest = async (connections: number) => {
    let held: Held = { connections: 0, locks: 1, openTransactions: 1, waiting: 0 };
    await until('locks, transactions or connections are left', RECOVERED_WITHIN, async () => {
      held = await heldBy(server);
      return held.locks === 0 && held.openTransactions === 0 && held.connections <= connections;
    });
    return held;
  };

  test.each(faultsOf(name, SMALL))('$title', async (fault) => {
    const running = await load();
    try {
      await survives(fault, running);
    } finally {
      // A load that a failed test left behind would disturb those that follow.
      await Promise.allSettled(running.map((one) => one.stop()));
    }
  });

  async function survives(fault: Fault, running: readonly Running[]): Promise<void> {
    await until('not every client gets answers', PATIENCE, () =>
      Promise.resolve(running.every(({ client }) => client.seen.length > 3)),
    );
    const before = await heldBy(server);

    const freshUntil = await freshMemory();
    const begun = performance.now();
    const undo = await fault.begin(server, proxy);
    await sleep(fault.hangs ? LASTS.hang : LASTS.error);
    await undo();
    const mended = performance.now();

    const users = running.slice(0, USERS.length).map(({ client }) => client);
    const recovery = await until('not every session recovers', RECOVERED_WITHIN, () =>
      Promise.resolve(users.every((client) => worksSince(client.seen, mended))),
    );
    await Promise.all(running.map((one) => one.stop()));

    const seen = [...new Set(running.map(({ client }) => client))].flatMap((client) => client.seen);
    expect(wrong(seen, answerLimit(seen, begun))).toEqual([]);
    // While memory is fresh, requests that only show an access token of type LONG do not notice the fault.
    const byMemory = seen.filter(
      ({ operation, type, askedAt }) =>
        operation === 'me' && type === 'LONG' && askedAt >= begun && askedAt < Math.min(freshUntil - QUICK, mended),
    );
    expect(byMemory.length).toBeGreaterThan(0);
    expect(byMemory.filter(({ status, took }) => status !== 200 || took > QUICK)).toEqual([]);
    expect(median(byMemory.map(({ took }) => took))).toBeLessThan(1000);
    // Other requests do notice, or it was no fault. Those that were under way when it began count too.
    const during = seen.filter(({ askedAt, took }) => askedAt + took >= begun && askedAt < mended);
    expect(during.filter(({ status, took }) => status === 503 || took > QUICK).length).toBeGreaterThan(0);

    // The refresh token that each client stored last works, and so does the one that it gets now.
    for (const client of users)
      expect([await client.refresh(), await client.me(), await client.refresh()]).toEqual([true, true, true]);
    expect(await broken(server.options, LIMIT)).toEqual([]);
    const after = await atRest(Math.max(before.connections, ALL_CONNECTIONS));
    report(name, fault.title, seen, recovery, after);
  }

  test('after all faults every connection of each pool works', async () => {
    for (const app of apps) {
      const clients = USERS.flatMap((user) => Array.from({ length: 2 }, () => new Client(() => [app], user, 'STRICT')));
      expect(await Promise.all(clients.map((client) => client.login()))).toEqual(clients.map(() => true));
      // Each of these requests reads a row, so the lock fills the pool. A connection that was lost would be missing.
      const unlock = await lockTables(server, ['user_session']);
      const answers = Promise.all(clients.map((client) => client.me()));
      await until('the pool has lost connections', 10_000, async () => {
        return (await heldBy(server)).waiting >= POOL;
      }).finally(unlock);
      expect(await answers).toEqual(clients.map(() => true));
    }
    expect(await broken(server.options, LIMIT)).toEqual([]);
    expect(apps.map(({ child }) => child.exitCode)).toEqual([null, null]);
  });
});

/** How long an answer may take, in milliseconds. A machine that was slow before the fault gets more time. */
function answerLimit(seen: readonly Seen[], begun: number): number {
  const before = seen.filter(({ askedAt, took }) => askedAt + took < begun);
  return GIVEN_UP_AFTER + Math.max(5000, 4 * Math.max(...before.map(({ took }) => took)));
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

/** Whether each kind of request has been granted since then. */
function worksSince(seen: readonly Seen[], since: number): boolean {
  const granted = seen.filter(({ askedAt, status }) => askedAt > since && status === 200);
  return (['refresh', 'me'] as const).every((operation) => granted.some((one) => one.operation === operation));
}

/** The answers that no client may ever see. Visitors that got no answer to a logout do not use the session again. */
function wrong(seen: readonly Seen[], limit: number): Seen[] {
  return seen.filter(({ status, retryAfter, took }) => {
    const isGood = status === 200 || (status === 503 && Number(retryAfter) > 0);
    return !isGood || took > limit;
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
