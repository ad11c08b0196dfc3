import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { MultiSessionConfigurationError, type RevocationPush, type RevokedSession } from 'nestjs-multisession';
import { redisPush } from 'nestjs-multisession/redis';
import { createClient } from 'redis';
import { DataSource } from 'typeorm';
import { PushMessages } from '../../lib/revocation/push-message.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, selectedDatabases, type TestDatabase } from '../helpers/databases.js';
import { newChannel, REDIS_URL } from '../helpers/redis.js';
import {
  createFreely,
  endOfUser,
  isEmbedded,
  JWT_SECRET,
  newRow,
  REVOCATION,
  startProcess,
  type TestProcess,
} from './process.js';
import { openProxy, type Proxy } from './proxy.js';

/** The methods of a `pg` client that a listener needs. */
interface Client {
  query(text: string): Promise<unknown>;
  on(event: 'notification', listener: (message: { payload: string }) => void): unknown;
}

/** Polls are so rare that whatever a process knows of another one was pushed. */
const HOUR = 3_600_000;
const RARELY = { ...REVOCATION, pollInterval: HOUR, maxStaleness: HOUR };

const withServers = selectedDatabases().filter((name) => !isEmbedded({ name }));
const databases: TestDatabase[] = [];
const opened: { close(): Promise<unknown> }[] = [];
const warnings: string[] = [];

async function until(holds: () => boolean, milliseconds = 20_000): Promise<boolean> {
  const giveUp = performance.now() + milliseconds;
  while (performance.now() < giveUp) {
    if (holds()) return true;
    await sleep(5);
  }
  return holds();
}

const use = <T extends { close(): Promise<unknown> }>(resource: T): T => {
  opened.push(resource);
  return resource;
};

async function start(
  database: TestDatabase,
  push?: 'postgres' | RevocationPush,
  pushKey?: string[],
): Promise<TestProcess> {
  const process = use(await startProcess(database, { revocation: { ...RARELY, push, pushKey }, synchronize: true }));
  await startPolling(process);
  return process;
}

/** Starts push and polls in the order in which the application does. */
async function startPolling({ push, poller }: TestProcess): Promise<void> {
  push.start();
  await poller.start();
}

/** Collects what a process learns from now on. */
function heardBy(process: TestProcess): RevokedSession[] {
  const heard: RevokedSession[] = [];
  process.revoked.onRevoked((revoked) => heard.push(revoked));
  return heard;
}

/**
 * Ends a session as the service does.
 * @returns the id of the session
 */
async function end(process: TestProcess, userId = 'alice'): Promise<string> {
  const row = newRow(userId);
  await createFreely(process, row);
  await process.endingStore.end(row, 'logout');
  const revoked = revokedSession({ sessionId: row.id, userId });
  process.revoked.add(revoked);
  process.push.publish([revoked]);
  return row.id;
}

const revokedSession = (more: Partial<RevokedSession> = {}): RevokedSession => ({
  sessionId: newSessionId(Date.now(), 'alice'),
  userId: 'alice',
  reason: 'logout',
  expiresAt: Date.now() + 60_000,
  ...more,
});

/** Ends sessions until the other process hears of one, since a push connects in the background. */
async function connected(from: TestProcess, to: TestProcess, milliseconds = 15_000): Promise<boolean> {
  const giveUp = performance.now() + milliseconds;
  while (performance.now() < giveUp) {
    const id = await end(from);
    if (await until(() => to.revoked.has(id), 100)) return true;
  }
  return false;
}

beforeAll(() => {
  Logger.overrideLogger({
    log: () => {},
    error: () => {},
    warn: (message: string) => void warnings.push(message),
  });
});
afterEach(async () => {
  jest.restoreAllMocks();
  for (const resource of opened.splice(0).reverse()) await resource.close();
  warnings.length = 0;
});
afterAll(async () => {
  for (const database of databases) await database.drop();
});

test("'postgres' on another database stops the start", async () => {
  const database = await createDatabase('sqlite');
  const started = startProcess(database, { revocation: { ...RARELY, push: 'postgres' } });
  await expect(started).rejects.toThrow(MultiSessionConfigurationError);
  await expect(started).rejects.toThrow(/revocation\.push: .*PostgreSQL/);
});

const messages = new PushMessages([JWT_SECRET]);
const messagesOf = (...entries: RevokedSession[]) => messages.write(entries, Date.now());

describe('a pushed message is authenticated and can only refuse tokens, and only briefly:', () => {
  let receive: (message: string) => void;
  let process: TestProcess;
  let heard: RevokedSession[];
  const push: RevocationPush = {
    start: (given) => {
      receive = given;
      return Promise.resolve();
    },
    publish: () => Promise.reject(new Error('the broker refused')),
    stop: () => Promise.resolve(),
  };
  const begin = async () => {
    process = await start(await createDatabase('sqlite'), push);
    heard = heardBy(process);
  };

  test('an entry is known at once, and announced once', async () => {
    await begin();
    const revoked = revokedSession();
    for (const message of [...messagesOf(revoked), ...messagesOf(revoked)]) receive(message);
    expect(process.revoked.has(revoked.sessionId)).toBe(true);
    expect(heard).toEqual([revoked]);
  });

  test.each<[string, (entry: RevokedSession) => string]>([
    ['without a MAC', (entry) => JSON.stringify([entry])],
    [
      'with the MAC of another message',
      (entry) => messagesOf(revokedSession())[0].slice(0, 44) + messagesOf(entry)[0].slice(44),
    ],
    [
      'of another key',
      (entry) => new PushMessages(['another key of more than thirty-two bytes']).write([entry], Date.now())[0],
    ],
    ['that was recorded an hour ago', (entry) => messages.write([entry], Date.now() - HOUR)[0]],
    ['that is empty', () => ''],
    ['that is very long', () => 'x'.repeat(1_000_000)],
  ])('a message %s is ignored, without a log line', async (_, forge) => {
    await begin();
    receive(forge(revokedSession()));
    expect(process.revoked.size).toBe(0);
    expect([heard, warnings]).toEqual([[], []]);
  });

  test('an entry that is not in the table is forgotten after two polls', async () => {
    await begin();
    const [invented] = messagesOf(revokedSession());
    receive(invented);
    await process.poller.poll();
    expect(process.revoked.size).toBe(1);
    await process.poller.poll();
    expect(process.revoked.size).toBe(0);
  });

  test('an early expiry does not make the process forget a session that has ended', async () => {
    await begin();
    const id = await end(process);
    receive(messagesOf(revokedSession({ sessionId: id, expiresAt: process.clock.now() + 20 }))[0]);
    await until(() => process.clock.now() > heard[0].expiresAt - 60_000 + 50);
    process.revoked.removeExpired(process.clock.now());
    expect(process.revoked.has(id)).toBe(true);
    for (let polls = 0; polls < 3; polls++) await process.poller.poll();
    expect(process.revoked.has(id)).toBe(true);
  });

  test('a push that fails delays no request, and is logged once', async () => {
    await begin();
    await end(process);
    await end(process);
    expect(await until(() => warnings.length > 0)).toBe(true);
    await sleep(50);
    expect(warnings).toEqual([
      'the push of ended sessions failed, so other processes learn of them by polling: the broker refused',
    ]);
  });
});

if (withServers.includes('postgres')) {
  describe('LISTEN and NOTIFY', () => {
    let database: TestDatabase;
    beforeAll(async () => databases.push((database = await createDatabase('postgres'))));

    test('an ended session is known to another process without a poll', async () => {
      const [one, other] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(one, other)).toBe(true);
      const heard = heardBy(other);
      const id = await end(one);
      expect(await until(() => heard.length > 0)).toBe(true);
      expect(heard).toEqual([{ sessionId: id, userId: 'alice', reason: 'logout', expiresAt: expect.any(Number) }]);
      expect(warnings).toEqual([]);
    });

    test('more sessions than fit into one notification are all known', async () => {
      const [one, other] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(one, other)).toBe(true);
      const rows = Array.from({ length: 150 }, () => newRow('🙂'.repeat(60)));
      for (const row of rows) await createFreely(one, row);
      expect(await endOfUser(one, rows[0].userId, { reason: 'admin' })).toHaveLength(150);
      expect(await until(() => rows.every((row) => other.revoked.has(row.id)))).toBe(true);
    });

    test('a notification arrives at the commit and not before, and never after a rollback', async () => {
      const [one, other] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(one, other)).toBe(true);
      const [committed, undone] = [revokedSession(), revokedSession()];
      const write = (entry: RevokedSession, fails: boolean) =>
        one.database.transaction(undefined, async (manager) => {
          const entries = [{ ...entry, id: entry.sessionId, expiresAt: new Date(entry.expiresAt) }];
          await one.revocations.record(manager, 'session', entries);
          await one.push.publishIn(manager, [entry]);
          await sleep(200);
          expect(other.revoked.has(entry.sessionId)).toBe(false);
          if (fails) throw new TypeError('rolled back');
        });
      await expect(write(undone, true)).rejects.toThrow('rolled back');
      await write(committed, false);
      expect(await until(() => other.revoked.has(committed.sessionId))).toBe(true);
      expect(other.revoked.has(undone.sessionId)).toBe(false);
    });

    test('applications with tables of their own in one database do not hear each other', async () => {
      const [a, otherA] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(a, otherA)).toBe(true);
      const { size } = otherA.revoked;
      const startOther = async () => {
        const options = { revocation: { ...RARELY, push: 'postgres' as const }, synchronize: true, entityPrefix: 'b_' };
        const other = use(await startProcess(database, options));
        await startPolling(other);
        return other;
      };
      const [b, otherB] = [await startOther(), await startOther()];
      expect(await connected(b, otherB)).toBe(true);
      await sleep(100);
      expect(otherA.revoked.size).toBe(size);
    });

    test('a role without rights on the tables can send and receive, but nothing that it sends is believed', async () => {
      const process = await start(database, 'postgres');
      const other = await start(database, 'postgres');
      expect(await connected(process, other)).toBe(true);
      const role = `stranger_${randomBytes(4).toString('hex')}`;
      await process.dataSource.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}'`);
      const url = Object.assign(new URL((database.options as { url: string }).url), { username: role, password: role });
      const stranger = await new DataSource({ type: 'postgres', url: url.href }).initialize();
      use({
        close: async () => {
          await stranger.destroy();
          await process.dataSource.query(`DROP ROLE ${role}`);
        },
      });
      await expect(stranger.query('SELECT 1 FROM session_blacklist')).rejects.toThrow('permission denied');

      const channel = (process.push as unknown as { postgres: { channel: string } }).postgres.channel;
      const recorded: string[] = [];
      const listener = (await stranger.createQueryRunner().connect()) as Client;
      listener.on('notification', ({ payload }) => void recorded.push(payload));
      await listener.query(`LISTEN ${channel}`);
      const heard = heardBy(other);
      const id = await end(process);
      expect(await until(() => recorded.length > 0 && heard.length > 0)).toBe(true);

      const forged = revokedSession();
      const [genuine] = recorded;
      const text = JSON.stringify({ kind: 'ended', at: Date.now(), entries: [forged] });
      for (const message of [JSON.stringify([forged]), text, `${genuine.slice(0, 44)}${text}`, genuine])
        await stranger.query('SELECT pg_notify($1, $2)', [channel, message]);
      const last = await end(process);
      expect(await until(() => other.revoked.has(last))).toBe(true);
      expect(heard.map(({ sessionId }) => sessionId)).toEqual([id, last]);
      expect(other.revoked.has(forged.sessionId)).toBe(false);
    });

    test('the key can be replaced while processes run: both keys everywhere first, then the new one writes', async () => {
      const [oldKey, newKey] = ['an old key of more than thirty-two bytes', 'a new key of more than thirty-two bytes'];
      const withKeys = (...pushKey: string[]) => start(database, 'postgres', pushKey);
      const steps = [[oldKey], [oldKey, newKey], [newKey, oldKey], [newKey]];
      for (const [at, keys] of steps.slice(1).entries()) {
        const [before, after] = [await withKeys(...steps[at]), await withKeys(...keys)];
        expect([await connected(before, after), await connected(after, before)]).toEqual([true, true]);
      }
      const [stranger, last] = [await withKeys(oldKey), await withKeys(newKey)];
      expect([await connected(stranger, last, 1000), await connected(last, stranger, 1000)]).toEqual([false, false]);
    });

    test('a lost connection is opened again, and the loss is logged once', async () => {
      const proxy: Proxy = use(await openProxy(database));
      const one = await start(database, 'postgres');
      const other = await start(proxy.database, 'postgres');
      expect(await connected(one, other)).toBe(true);
      proxy.cut();
      expect(await until(() => warnings.length > 0)).toBe(true);
      const lost = await end(one);
      await sleep(1500);
      proxy.mend();
      expect(await connected(one, other)).toBe(true);
      expect(warnings.filter((warning) => warning.includes('LISTEN'))).toHaveLength(1);
      expect(other.revoked.has(lost)).toBe(false);
      await other.poller.poll();
      expect(other.revoked.has(lost)).toBe(true);
    });

    test('a server that does not answer does not delay the start', async () => {
      const proxy: Proxy = use(await openProxy(database));
      const process = use(await startProcess(proxy.database, { revocation: { ...RARELY, push: 'postgres' } }));
      await process.poller.poll();
      proxy.cut();
      const startedAt = performance.now();
      await startPolling(process);
      expect(performance.now() - startedAt).toBeLessThan(2000);
    });
  });
}

for (const name of withServers) {
  describe(`Redis, ${name}`, () => {
    let database: TestDatabase;
    beforeAll(async () => databases.push((database = await createDatabase(name))));

    test('an ended session is known to another process without a poll', async () => {
      const channel = newChannel();
      const client = createClient({ url: REDIS_URL });
      const one = await start(database, redisPush({ url: REDIS_URL, channel }));
      const other = await start(database, redisPush({ client, channel }));
      expect(await connected(one, other)).toBe(true);
      expect(await connected(other, one)).toBe(true);
      const heard = heardBy(other);
      const id = await end(one);
      expect(await until(() => heard.length > 0)).toBe(true);
      expect(heard[0]).toMatchObject({ sessionId: id, userId: 'alice', reason: 'logout' });
      expect(client.isOpen).toBe(false);
      expect(warnings).toEqual([]);
    });

    test('a process on another channel hears nothing', async () => {
      const channel = newChannel();
      const [one, other] = [
        await start(database, redisPush({ url: REDIS_URL, channel })),
        await start(database, redisPush({ url: REDIS_URL, channel })),
      ];
      const stranger = await start(database, redisPush({ url: REDIS_URL, channel: newChannel() }));
      expect(await connected(one, other)).toBe(true);
      const { size } = stranger.revoked;
      await connected(one, other);
      expect(stranger.revoked.size).toBe(size);
    });

    test('nothing waits for an unavailable Redis, and the push connects again', async () => {
      const redis = { name, options: { url: REDIS_URL }, drop: async () => {} } as unknown as TestDatabase;
      const proxy: Proxy = use(await openProxy(redis));
      const { url } = proxy.database.options as unknown as { url: string };
      const channel = newChannel();
      proxy.cut();
      const one = await start(database, redisPush({ url, channel }));
      const other = await start(database, redisPush({ url: REDIS_URL, channel }));
      const startedAt = performance.now();
      const lost = await end(one);
      expect(performance.now() - startedAt).toBeLessThan(1000);
      expect(await until(() => warnings.length > 0)).toBe(true);
      await sleep(500);
      proxy.mend();
      expect(await connected(one, other)).toBe(true);
      expect(await connected(other, one)).toBe(true);
      expect(warnings.filter((warning) => warning.includes('Redis'))).toHaveLength(1);
      expect(other.revoked.has(lost)).toBe(false);
      await other.poller.poll();
      expect(other.revoked.has(lost)).toBe(true);
    });

    if (name !== withServers[0]) return;

    test('a Redis that freezes is logged once, and again if it freezes again', async () => {
      const redis = { name, options: { url: REDIS_URL }, drop: async () => {} } as unknown as TestDatabase;
      const proxy: Proxy = use(await openProxy(redis));
      const { url } = proxy.database.options as unknown as { url: string };
      const channel = newChannel();
      const one = await start(database, redisPush({ url, channel }));
      const other = await start(database, redisPush({ url: REDIS_URL, channel }));
      for (const times of [1, 2]) {
        expect(await connected(other, one, 60_000)).toBe(true);
        expect(await connected(one, other, 60_000)).toBe(true);
        proxy.stall();
        expect(await until(() => warnings.filter((text) => text.includes('no answer')).length === times, 60_000)).toBe(
          true,
        );
        proxy.mend();
      }
      expect(warnings).toHaveLength(2);
    });

    test('a connection that is open but dead is replaced', async () => {
      const redis = { name, options: { url: REDIS_URL }, drop: async () => {} } as unknown as TestDatabase;
      const proxy: Proxy = use(await openProxy(redis));
      const { url } = proxy.database.options as unknown as { url: string };
      const channel = newChannel();
      const one = await start(database, redisPush({ client: createClient({ url }), channel }));
      const other = await start(database, redisPush({ url, channel }));
      expect(await connected(one, other)).toBe(true);
      expect(await connected(other, one)).toBe(true);
      proxy.stall();
      // Connections that are made from now on work.
      expect(await connected(one, other, 60_000)).toBe(true);
      expect(await connected(other, one, 60_000)).toBe(true);
    });

    test('a right to subscribe that is granted later is used', async () => {
      const user = newChannel().replace(/\W/g, '');
      const channel = newChannel();
      const admin = createClient({ url: REDIS_URL });
      await admin.connect();
      use({ close: async () => void (await admin.sendCommand(['ACL', 'DELUSER', user]), admin.destroy()) });
      await admin.sendCommand(['ACL', 'SETUSER', user, 'on', 'nopass', '+@all', 'resetchannels']);
      const url = REDIS_URL.replace('redis://', `redis://${user}:any@`);
      const one = await start(database, redisPush({ url, channel }));
      const other = await start(database, redisPush({ url: REDIS_URL, channel }));
      expect(await until(() => warnings.length > 0, 60_000)).toBe(true);
      await admin.sendCommand(['ACL', 'SETUSER', user, 'allchannels']);
      expect(await connected(other, one, 60_000)).toBe(true);
      expect(await connected(one, other, 60_000)).toBe(true);
      expect(warnings).toHaveLength(1);
    });
  });
}

test.each([{}, { url: 'http://127.0.0.1' }, { url: 'redis://user:hidden@' }, { url: REDIS_URL, client: {} }])(
  'redisPush(%p) is refused, and the error does not contain the URL',
  (options) => {
    const make = () => redisPush(options);
    expect(make).toThrow(MultiSessionConfigurationError);
    expect(make).toThrow(/^(?![^]*hidden)/);
  },
);
