import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { MultiSessionConfigurationError, type RevocationPush, type RevokedSession } from 'nestjs-multisession';
import { redisPush } from 'nestjs-multisession/redis';
import { createClient } from 'redis';
import { toMessages } from '../../lib/revocation/push-message.js';
import { newSessionId } from '../../lib/session/id.js';
import { createDatabase, selectedDatabases, type TestDatabase } from '../helpers/databases.js';
import { newChannel, REDIS_URL } from '../helpers/redis.js';
import { isEmbedded, newRow, REVOCATION, startProcess, type TestProcess } from './process.js';
import { openProxy, type Proxy } from './proxy.js';

/** Polls are so rare that whatever a process knows of another one was pushed. */
const HOUR = 3_600_000;
const RARELY = { ...REVOCATION, pollInterval: HOUR, maxStaleness: HOUR };

const withServers = selectedDatabases().filter((name) => !isEmbedded({ name }));
const databases: TestDatabase[] = [];
const opened: { close(): Promise<unknown> }[] = [];
const warnings: string[] = [];

async function until(holds: () => boolean, milliseconds = 5000): Promise<boolean> {
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

async function start(database: TestDatabase, push?: 'postgres' | RevocationPush): Promise<TestProcess> {
  const process = use(await startProcess(database, { revocation: { ...RARELY, push }, synchronize: true }));
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
  await process.store.create(row);
  await process.store.end(row, 'logout');
  const revoked = revokedSession({ sessionId: row.id, userId });
  process.revoked.add(revoked);
  process.push.publish([revoked]);
  return row.id;
}

const revokedSession = (more: Partial<RevokedSession> = {}): RevokedSession => ({
  sessionId: newSessionId(Date.now()),
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

describe('a pushed message is validated and can only refuse tokens:', () => {
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
    for (const message of [...toMessages([revoked]), ...toMessages([revoked])]) receive(message);
    expect(process.revoked.has(revoked.sessionId)).toBe(true);
    expect(heard).toEqual([revoked]);
  });

  test.each<[string, object]>([
    ['a session id that is not a UUID', { sessionId: 'x'.repeat(36) }],
    ['a session id that is an object', { sessionId: { length: 36 } }],
    ['a user id that is too long', { userId: 'x'.repeat(256) }],
    ['a user id that is a number', { userId: 1 }],
    ['a reason that is too long', { reason: 'x'.repeat(33) }],
    ['an expiry that is a string', { expiresAt: '2099-01-01' }],
    ['an expiry that is null', { expiresAt: null }],
    ['an expiry in the past', { expiresAt: Date.now() - 60_000 }],
    ['an expiry later than that of any token', { expiresAt: Date.now() + 500 * 86_400_000 }],
  ])('skips an entry with %s, and takes the others', async (_, change) => {
    await begin();
    const right = revokedSession();
    receive(JSON.stringify([{ ...revokedSession(), ...change }, null, right]));
    expect(heard).toEqual([right]);
    expect(process.revoked.size).toBe(1);
    expect(warnings).toEqual([]);
  });

  const INVALID = {
    empty: '',
    null: 'null',
    object: '{}',
    list: '[[]]',
    text: 'no JSON',
    half: '[1,',
    long: `["${'x'.repeat(1_000_000)}"]`,
  };
  test.each(Object.keys(INVALID) as (keyof typeof INVALID)[])(
    'ignores a message that is invalid (%s), without a log line',
    async (kind) => {
      const message = INVALID[kind];
      await begin();
      receive(message);
      expect(process.revoked.size).toBe(0);
      expect(warnings).toEqual([]);
    },
  );

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

test('entries are split into messages of less than 8000 bytes, whatever characters they contain', () => {
  const userIds = ['x', '"', '\u0001', '€', '🙂'].map((letter) => letter.repeat(letter === '🙂' ? 127 : 255));
  const entries = Array.from({ length: 200 }, (_, at) => revokedSession({ userId: userIds[at % userIds.length] }));
  const messages = toMessages(entries);
  expect(Math.max(...messages.map((message) => Buffer.byteLength(message)))).toBeLessThan(8000);
  expect(messages.flatMap((message) => JSON.parse(message) as unknown[])).toEqual(entries);
  expect(toMessages([])).toEqual([]);
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
      for (const row of rows) await one.store.create(row);
      await one.store.endOfUser(rows[0].userId, ['LONG'], 'admin', (active) => active);
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
