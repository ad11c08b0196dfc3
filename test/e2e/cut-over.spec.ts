import { afterEach, describe, expect, test } from '@jest/globals';
import { onEachSharedDatabase } from '../helpers/matrix.js';
import { type MovedApp, startMovedApp } from '../helpers/moved-app.js';
import { OldServer, type OldSession } from '../helpers/old-server.js';
import { SAMPLE_SECRET_KEY } from '../helpers/sample-app.js';
import { SMALL } from '../helpers/size.js';

/*
 * The move from simplejwt_multisessions while users refresh all the time: import, pause the old server, import again, and let
 * the clients go to the new one. The guide is docs/coming-from-django.md.
 */

const OLD_KEY = 'import-django-secret-key-4f1d9e0b7c2a';
const FIRST_ID = 1000;
const USERS = SMALL ? 50 : 200;
/** Thousands of requests, and the clients share the processors with both servers. */
const TIMEOUT = 900_000;
const ROTATED = { SHORT: { refreshTokenLifetime: '1y' }, LONG: { refreshTokenLifetime: '2y' } };
const kept = { rotateRefreshTokens: false, updateLastLogin: true } as const;
const KEPT = { SHORT: { refreshTokenLifetime: '1y', ...kept }, LONG: { refreshTokenLifetime: '2y', ...kept } };

/** Where clients send their requests now. */
interface Route {
  url: string;
}

/** A front end that follows the two rules: it stores a new token before it uses it, and repeats a request that got 503. */
class Client {
  /** How many refreshes each server has granted, by its URL. */
  readonly granted = new Map<string, number>();
  readonly refusals: string[] = [];
  private isStopped = false;
  private running = Promise.resolve();

  constructor(
    readonly userId: number,
    public token: string,
  ) {}

  start(route: Route): this {
    this.running = this.run(route);
    return this;
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await this.running;
  }

  private async run(route: Route): Promise<void> {
    while (!this.isStopped) {
      const { url } = route;
      const { status, body } = await send(url, 'refresh/', this.token);
      if (status === 200) {
        this.token = body.refresh ?? this.token;
        this.granted.set(url, (this.granted.get(url) ?? 0) + 1);
      } else if (status !== 503) {
        this.refusals.push(`${status} ${JSON.stringify(body)}`);
        return;
      }
      await pause(1000 + Math.random() * 1000);
    }
  }
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function send(url: string, path: string, refresh: string): Promise<{ status: number; body: any }> {
  const response = await fetch(`${url}/api/session/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ refresh, session: 'LONG', secret_key: SAMPLE_SECRET_KEY }),
  });
  return { status: response.status, body: await response.json() };
}

/** Waits until a server has granted each of the clients so many refreshes, or one of them was refused. */
async function untilEachHas(clients: readonly Client[], url: string, count: number): Promise<void> {
  const isDone = ({ granted, refusals }: Client) => (granted.get(url) ?? 0) >= count || refusals.length > 0;
  while (!clients.every(isDone)) await pause(20);
}

onEachSharedDatabase((name) => {
  describe(`a cut-over to ${name}`, () => {
    const closers: (() => Promise<unknown>)[] = [];
    afterEach(async () => {
      for (const close of closers.splice(0).reverse()) await close();
    });

    async function scene(policies: object): Promise<{ old: OldServer; app: MovedApp; sessions: OldSession[] }> {
      const sessions: OldSession[] = [];
      const servers: OldServer[] = [];
      const config = { policies, legacyTokens: [{ system: 'simplejwt-multisessions', signingKey: OLD_KEY }] };
      const app = await startMovedApp(name, 'simplejwt-multisessions', config, {}, async ({ url }) => {
        const old = await OldServer.start(url, OLD_KEY);
        servers.push(old);
        for (let id = FIRST_ID; id < FIRST_ID + USERS; id++) {
          await old.addUser(id, `user ${id}`);
          sessions.push(await old.login(id));
        }
      });
      closers.push(() => app.close());
      const [old] = servers;
      closers.push(() => old.close());
      return { old, app, sessions };
    }

    const startAll = (sessions: readonly OldSession[], route: Route) => {
      const clients = sessions.map(({ userId, refresh }) => new Client(userId, refresh).start(route));
      closers.push(() => Promise.all(clients.map((client) => client.stop())));
      return clients;
    };

    test(
      `${USERS} clients notice nothing but a new token`,
      async () => {
        const { old, app, sessions } = await scene(ROTATED);
        const route = { url: old.url };
        const clients = startAll(sessions, route);
        await untilEachHas(clients, old.url, 1);

        // The first import takes the bulk, while the old server goes on.
        const first = await app.import('simplejwt-multisessions');
        expect(first.imported).toBeGreaterThanOrEqual(USERS);
        const later = startAll(await Promise.all([0, 1, 2, 3, 4].map((at) => old.login(FIRST_ID + at))), route);
        const leaving = clients.slice(-5);
        for (const client of leaving) await client.stop();
        for (const { token } of leaving) expect((await send(old.url, 'logout/', token)).status).toBe(200);
        const staying = [...clients.slice(0, -5), ...later];
        for (const client of staying) client.granted.clear();
        await untilEachHas(staying, old.url, 1);

        // The old server pauses for the second import, which takes what has changed since.
        await old.pause();
        const second = await app.import('simplejwt-multisessions', { cutover: true });
        expect(second).toMatchObject({ imported: later.length, removed: leaving.length, failed: 0, cutOver: true });
        expect(second.updated).toBeGreaterThanOrEqual(clients.length - leaving.length);
        const before = staying.map(({ token }) => token);
        route.url = app.url;
        await untilEachHas(staying, app.url, 2);
        await Promise.all(staying.map((client) => client.stop()));

        expect(staying.flatMap(({ refusals }) => refusals)).toEqual([]);
        expect(staying.filter(({ token }, at) => token === before[at])).toEqual([]);
        for (const { token } of leaving) expect((await send(app.url, 'refresh/', token)).status).toBe(401);
      },
      TIMEOUT,
    );

    test(
      'a roll-back loses nothing but logins, if the new server has kept the old tokens',
      async () => {
        const { old, app, sessions } = await scene(KEPT);
        const route = { url: old.url };
        const clients = startAll(sessions, route);
        await untilEachHas(clients, old.url, 1);
        await old.pause();
        await app.import('simplejwt-multisessions');
        route.url = app.url;
        await untilEachHas(clients, app.url, 2);
        const [ended, ...others] = clients;
        await ended.stop();
        expect((await send(app.url, 'logout/', ended.token)).status).toBe(200);

        old.resume();
        route.url = old.url;
        for (const client of others) client.granted.clear();
        await untilEachHas(others, old.url, 2);
        await Promise.all(others.map((client) => client.stop()));
        expect(others.flatMap(({ refusals }) => refusals)).toEqual([]);
        // The old server does not know of the logout.
        expect((await send(old.url, 'refresh/', ended.token)).status).toBe(200);
      },
      TIMEOUT,
    );

    test('a roll-back logs out who has got a token of the new server', async () => {
      const { old, app, sessions } = await scene(ROTATED);
      await old.pause();
      await app.import('simplejwt-multisessions');
      const [first, second] = sessions;
      const { body } = await send(app.url, 'refresh/', first.refresh);
      expect(body.refresh).not.toBe(first.refresh);
      old.resume();
      expect((await send(old.url, 'refresh/', body.refresh)).status).toBe(401);
      expect((await send(old.url, 'refresh/', second.refresh)).status).toBe(200);
    });
  });
});
