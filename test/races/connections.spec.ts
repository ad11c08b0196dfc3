import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { DataSourceOptions } from 'typeorm';
import { WebSocket } from 'ws';
import { createDatabase } from '../helpers/databases.js';
import { type Issued, LibraryProcess } from '../helpers/library-process.js';
import { onEachSharedDatabase } from '../helpers/matrix.js';
import { SMALL } from '../helpers/size.js';
import { until } from '../helpers/until.js';

/*
 * Sockets on two processes, ten or more of each session. `CONNECTIONS=10000` runs the test at full size.
 */

const CONNECTIONS = Number(process.env.CONNECTIONS ?? (SMALL ? 200 : 500));
/** Sockets of one session, half of them on each process. */
const PER_SESSION = Math.max(10, CONNECTIONS / 100);
/** The time in which a socket must close, in milliseconds. */
const SOON = 1000;
/** How much longer it may take for each socket, if many must close at once. Their messages are refused at once. */
const PER_SOCKET = 3;
const TIMEOUT = 900_000;

class Client {
  closedAt?: number;
  code?: number;
  private readonly closed: Promise<string>;
  private constructor(
    readonly socket: WebSocket,
    readonly process: number,
  ) {
    this.closed = new Promise((resolve) =>
      socket.on('close', (code) => {
        this.closedAt = performance.now();
        this.code = code;
        resolve('closed');
      }),
    );
    socket.on('error', () => undefined);
  }

  /** Resolves once the server has verified the session. */
  static async open(port: number, { access }: Issued, process: number): Promise<Client> {
    const headers = { authorization: `Bearer ${access}` };
    const client = new Client(new WebSocket(`ws://127.0.0.1:${port}`, { headers }), process);
    const [text] = (await once(client.socket, 'message')) as [Buffer];
    expect(String(text)).toBe('open');
    return client;
  }

  /** Sends messages until the socket is closed. */
  async chat(): Promise<void> {
    while (this.closedAt === undefined) {
      if (this.socket.readyState === WebSocket.OPEN) this.socket.send('{}');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async renew(access: string): Promise<string> {
    if (this.closedAt !== undefined) return this.closed;
    const answer = new Promise<string>((resolve) =>
      this.socket.once('message', (text: Buffer) => resolve(String(text))),
    );
    this.socket.send(JSON.stringify({ token: access }));
    return Promise.race([answer, this.closed]);
  }
}

/** Runs work for each item, a few at a time. */
async function forEach<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  await Promise.all(
    Array.from({ length: 3 }, async () => {
      for (const item of rest) await work(item);
    }),
  );
}

const quantile = (values: readonly number[], part: number) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))];
const summary = (values: readonly number[]) => ({
  count: values.length,
  median: Math.round(quantile(values, 0.5)),
  p99: Math.round(quantile(values, 0.99)),
  max: Math.round(Math.max(...values)),
});

onEachSharedDatabase((name) => {
  describe(`${CONNECTIONS} open connections on two processes`, () => {
    const closers: (() => unknown)[] = [];
    afterEach(async () => {
      for (const close of closers.splice(0).reverse()) await close();
    });

    /** Two processes cannot share a database in memory. */
    const sqliteFile = (): DataSourceOptions => {
      const folder = mkdtempSync(join(tmpdir(), 'connections-'));
      closers.push(() => rmSync(folder, { recursive: true }));
      return { type: 'better-sqlite3', database: join(folder, 'sessions.sqlite') };
    };

    async function scene() {
      const created = await createDatabase(name);
      closers.push(() => created.drop());
      const database = name === 'sqlite' ? sqliteFile() : created.options;
      const options = {
        jwt: { secret: 'a signing secret of more than thirty-two bytes' },
        secretKey: false,
        revocation: name === 'postgres' ? { push: 'postgres' } : { pollInterval: '200ms' },
        maxSessions: 1000,
        policies: {
          LONG: { refreshTokenLifetime: '30d', accessTokenLifetime: '1h' },
          BRIEF: { refreshTokenLifetime: '30d', accessTokenLifetime: '10s' },
        },
      };
      const first = await LibraryProcess.start({ database, options, migrate: true });
      closers.push(() => first.stop());
      const second = await LibraryProcess.start({ database, options });
      closers.push(() => second.stop());
      const processes = [first, second];
      const ports = [await first.do('listen', {}), await second.do('listen', {})];
      const clients: Client[] = [];
      closers.push(() => clients.forEach(({ socket }) => socket.terminate()));
      const open = async (issued: Issued, count = PER_SESSION) => {
        const all = Array.from({ length: count }, (_, at) => Client.open(ports[at % 2], issued, at % 2));
        const opened = await Promise.all(all);
        clients.push(...opened);
        return opened;
      };
      const sizes = async () => {
        const all = await Promise.all(processes.map((process) => process.do('statistics', {})));
        return all.map(({ size }) => size);
      };
      return { processes, open, sizes, clients };
    }

    test(
      'close soon after their session has ended, and no message is handled afterwards',
      async () => {
        const { processes, open, sizes } = await scene();
        const [first] = processes;
        const users = Array.from({ length: CONNECTIONS / PER_SESSION }, (_, at) => (at % 2 ? 'crowd' : `user ${at}`));
        const sessions: { user: string; issued: Issued; clients: Client[] }[] = [];
        await forEach(users, async (user) => {
          const issued = await first.do('create', { user, type: 'LONG' });
          sessions.push({ user, issued, clients: await open(issued) });
        });
        expect(await sizes()).toEqual([CONNECTIONS / 2, CONNECTIONS / 2]);

        const delays: number[][] = [[], []];
        const late: number[] = [];
        const single = sessions.filter(({ user }) => user !== 'crowd').slice(0, 40);
        for (const { issued, clients } of single) {
          const chats = clients.slice(0, 10).map((client) => client.chat());
          const askedAt = performance.now();
          await first.do('destroy', { sessionId: issued.sessionId });
          const endedAt = performance.now();
          await Promise.all(chats);
          await until(() => clients.every(({ closedAt }) => closedAt !== undefined));
          for (const { process, closedAt = NaN, code } of clients) {
            expect(code).toBe(4403);
            delays[process].push(closedAt - askedAt);
            late.push(closedAt - endedAt);
          }
        }

        const crowd = sessions.filter(({ user }) => user === 'crowd').flatMap(({ clients }) => clients);
        const chats = crowd.slice(0, 20).map((client) => client.chat());
        const endedAt = performance.now();
        await first.do('destroyAll', { user: 'crowd' });
        const ended = performance.now() - endedAt;
        await Promise.all(chats);
        await until(() => crowd.every(({ closedAt }) => closedAt !== undefined));
        const ofCrowd = crowd.map(({ closedAt = NaN }) => closedAt - endedAt);
        console.log(
          `${name}: own process ${JSON.stringify(summary(delays[0]))}, other ${JSON.stringify(summary(delays[1]))}`,
        );
        console.log(`${name}: a crowd, whose ending took ${Math.round(ended)} ms: ${JSON.stringify(summary(ofCrowd))}`);

        expect(Math.max(...late)).toBeLessThan(SOON);
        // Each socket costs its process and this one some work, on a machine that has other work too.
        expect(Math.max(...ofCrowd) - ended).toBeLessThan(SOON + PER_SOCKET * crowd.length);
        const others = sessions.filter(({ user }) => user !== 'crowd').slice(40);
        expect(others.flatMap(({ clients }) => clients).filter(({ closedAt }) => closedAt !== undefined)).toEqual([]);
        const left = others.length * PER_SESSION;
        await until(async () => (await sizes()).every((size) => size === left / 2));
        for (const process of processes)
          expect(await process.do('statistics', {})).toMatchObject({ handledAfterEnd: 0 });
      },
      TIMEOUT,
    );

    test(
      'are kept through refreshes, and close soon after their access token has expired',
      async () => {
        const { processes, open, sizes } = await scene();
        const [first, second] = processes;
        const kept = await first.do('create', { user: 'alice', type: 'BRIEF' });
        const expiring = await first.do('create', { user: 'alice', type: 'BRIEF' });
        const [keptClients, expiringClients] = [await open(kept), await open(expiring)];
        const { exp } = JSON.parse(Buffer.from(expiring.access.split('.')[1], 'base64url').toString()) as {
          exp: number;
        };
        const stranger = await second.do('create', { user: 'bob', type: 'LONG' });
        let { refresh = '' } = kept;
        let access = '';
        const refreshAll = async () => {
          const next = await second.do('refresh', { refresh });
          ({ access, refresh = refresh } = next);
          const renewAll = (token: string) => Promise.all(keptClients.map((client) => client.renew(token)));
          expect(new Set(await renewAll(stranger.access))).toEqual(new Set(['token_not_valid']));
          expect(new Set(await renewAll(access))).toEqual(new Set(['renewed']));
        };
        await refreshAll();
        let refreshedAt = performance.now();
        await until(async () => {
          if (performance.now() > refreshedAt + 2000) {
            await refreshAll();
            refreshedAt = performance.now();
          }
          return expiringClients.every(({ closedAt }) => closedAt !== undefined);
        });
        const late = expiringClients.map(({ closedAt = NaN }) => performance.timeOrigin + closedAt - exp * 1000);
        console.log(`${name}: closed after the expiry: ${JSON.stringify(summary(late))}`);
        expect(Math.min(...late)).toBeGreaterThan(-SOON);
        expect(Math.max(...late)).toBeLessThan(SOON);
        await refreshAll();
        expect(keptClients.filter(({ closedAt }) => closedAt !== undefined)).toEqual([]);
        expect(await sizes()).toEqual([PER_SESSION / 2, PER_SESSION / 2]);
      },
      TIMEOUT,
    );

    test(
      'leave nothing behind',
      async () => {
        const { processes, open, sizes, clients } = await scene();
        const [first] = processes;
        const heap = async () => {
          const { heap: bytes } = await first.do('statistics', { withMemory: true });
          return bytes;
        };
        const cycle = async () => {
          const sessions: Issued[] = [];
          await forEach(Array.from({ length: CONNECTIONS / PER_SESSION }), async () => {
            const issued = await first.do('create', { user: 'alice', type: 'LONG' });
            sessions.push(issued);
            await open(issued);
          });
          // Half of the connections are closed by their clients, the others by the end of their session.
          for (const { socket } of clients.splice(0, clients.length / 2)) socket.close();
          for (const { sessionId } of sessions) await first.do('destroy', { sessionId });
          await until(async () => (await sizes()).every((size) => size === 0));
          const isClosed = async () => {
            const all = await Promise.all(processes.map((process) => process.do('statistics', {})));
            return all.every(({ sockets }) => sockets === 0);
          };
          await until(isClosed);
        };
        await cycle();
        const before = await heap();
        for (let time = 0; time < 3; time++) await cycle();
        const grown = (await heap()) - before;
        console.log(`${name}: ${Math.round(grown / 1024)} KiB after ${(3 * CONNECTIONS) / 2} connections of a process`);
        // The process still knows which sessions have ended.
        expect(grown / ((3 * CONNECTIONS) / 2)).toBeLessThan(4096);
      },
      TIMEOUT,
    );
  });
});
