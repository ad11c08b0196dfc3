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

/** So rare a poll that whatever is known of another process was pushed. */
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
  await process.blacklist.start();
  return process;
}

/** What a process learns, each with when. */
function heardBy(process: TestProcess): RevokedSession[] {
  const heard: RevokedSession[] = [];
  process.blacklist.onRevoked((revoked) => heard.push(revoked));
  return heard;
}

/** As the service does it. @returns the session's id */
async function end(process: TestProcess, userId = 'alice'): Promise<string> {
  const row = newRow(userId);
  await process.store.create(row);
  await process.store.end(row, 'logout');
  process.blacklist.announce([revokedSession({ sessionId: row.id, userId })]);
  return row.id;
}

const revokedSession = (more: Partial<RevokedSession> = {}): RevokedSession => ({
  sessionId: newSessionId(Date.now()),
  userId: 'alice',
  reason: 'logout',
  expiresAt: Date.now() + 60_000,
  ...more,
});

/** Ends sessions until the other hears of one: a push that was started needs a moment. */
async function connected(from: TestProcess, to: TestProcess, milliseconds = 15_000): Promise<boolean> {
  const giveUp = performance.now() + milliseconds;
  while (performance.now() < giveUp) {
    const id = await end(from);
    if (await until(() => to.blacklist.has(id), 100)) return true;
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

test("'postgres' on another database is a fault at start", async () => {
  const database = await createDatabase('sqlite');
  const started = startProcess(database, { revocation: { ...RARELY, push: 'postgres' } });
  await expect(started).rejects.toThrow(MultiSessionConfigurationError);
  await expect(started).rejects.toThrow(/revocation\.push: .*PostgreSQL/);
});

describe('what is pushed is checked, and can only refuse:', () => {
  let receive: (message: string) => void;
  let process: TestProcess;
  let heard: RevokedSession[];
  const push: RevocationPush = {
    start: (given) => {
      receive = given;
      return Promise.resolve();
    },
    publish: () => Promise.reject(new Error('nobody listens')),
    stop: () => Promise.resolve(),
  };
  const begin = async () => {
    process = await start(await createDatabase('sqlite'), push);
    heard = heardBy(process);
  };

  test('an entry is known at once, and told of once', async () => {
    await begin();
    const revoked = revokedSession();
    for (const message of [...toMessages([revoked]), ...toMessages([revoked])]) receive(message);
    expect(process.blacklist.has(revoked.sessionId)).toBe(true);
    expect(heard).toEqual([revoked]);
  });

  test.each<[string, object]>([
    ['a session that is no uuid', { sessionId: 'x'.repeat(36) }],
    ['a session that is an object', { sessionId: { length: 36 } }],
    ['a user with a long name', { userId: 'x'.repeat(256) }],
    ['a user that is a number', { userId: 1 }],
    ['a long reason', { reason: 'x'.repeat(33) }],
    ['a text for a time', { expiresAt: '2099-01-01' }],
    ['no time', { expiresAt: null }],
    ['a time that has passed', { expiresAt: Date.now() - 60_000 }],
    ['a time beyond all tokens', { expiresAt: Date.now() + 500 * 86_400_000 }],
  ])('%s is left out, and the rest is taken', async (_, change) => {
    await begin();
    const right = revokedSession();
    receive(JSON.stringify([{ ...revokedSession(), ...change }, null, right]));
    expect(heard).toEqual([right]);
    expect(process.blacklist.size).toBe(1);
    expect(warnings).toEqual([]);
  });

  const NOTHING = {
    empty: '',
    null: 'null',
    object: '{}',
    list: '[[]]',
    text: 'no JSON',
    half: '[1,',
    long: `["${'x'.repeat(1_000_000)}"]`,
  };
  test.each(Object.keys(NOTHING) as (keyof typeof NOTHING)[])(
    'a text that is %s is nothing, and is not logged',
    async (kind) => {
      const message = NOTHING[kind];
      await begin();
      receive(message);
      expect(process.blacklist.size).toBe(0);
      expect(warnings).toEqual([]);
    },
  );

  test('a push that fails costs no request anything, and is told of once', async () => {
    await begin();
    await end(process);
    await end(process);
    expect(await until(() => warnings.length > 0)).toBe(true);
    await sleep(50);
    expect(warnings).toEqual(['ended sessions could not be pushed: nobody listens']);
  });
});

test('entries are cut into texts of less than 8000 bytes, whatever is in them', () => {
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

    test('an ending is known elsewhere, without a poll', async () => {
      const [one, other] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(one, other)).toBe(true);
      const heard = heardBy(other);
      const id = await end(one);
      expect(await until(() => heard.length > 0)).toBe(true);
      expect(heard).toEqual([{ sessionId: id, userId: 'alice', reason: 'logout', expiresAt: expect.any(Number) }]);
      expect(warnings).toEqual([]);
    });

    test('more than fit in one notification are known too', async () => {
      const [one, other] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(one, other)).toBe(true);
      const rows = Array.from({ length: 150 }, () => newRow('🙂'.repeat(60)));
      for (const row of rows) await one.store.create(row);
      await one.store.endOfUser(rows[0].userId, ['LONG'], 'admin', (active) => active);
      expect(await until(() => rows.every((row) => other.blacklist.has(row.id)))).toBe(true);
    });

    test('is heard at the commit and not before, and never of a transaction that is rolled back', async () => {
      const [one, other] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(one, other)).toBe(true);
      const [committed, undone] = [revokedSession(), revokedSession()];
      const write = (entry: RevokedSession, fails: boolean) =>
        one.database.transaction(undefined, async (manager) => {
          const expiresAt = new Date(entry.expiresAt);
          await one.blacklist.record(manager, 'session', [{ ...entry, id: entry.sessionId, expiresAt }]);
          await sleep(200);
          expect(other.blacklist.has(entry.sessionId)).toBe(false);
          if (fails) throw new TypeError('rolled back');
        });
      await expect(write(undone, true)).rejects.toThrow('rolled back');
      await write(committed, false);
      expect(await until(() => other.blacklist.has(committed.sessionId))).toBe(true);
      expect(other.blacklist.has(undone.sessionId)).toBe(false);
    });

    test('applications with other tables in one database do not hear each other', async () => {
      const [a, otherA] = [await start(database, 'postgres'), await start(database, 'postgres')];
      expect(await connected(a, otherA)).toBe(true);
      const { size } = otherA.blacklist;
      const startOther = async () => {
        const options = { revocation: { ...RARELY, push: 'postgres' as const }, synchronize: true, entityPrefix: 'b_' };
        const other = use(await startProcess(database, options));
        await other.blacklist.start();
        return other;
      };
      const [b, otherB] = [await startOther(), await startOther()];
      expect(await connected(b, otherB)).toBe(true);
      await sleep(100);
      expect(otherA.blacklist.size).toBe(size);
    });

    test('a connection that is lost is made again, and told of once', async () => {
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
      expect(other.blacklist.has(lost)).toBe(false);
      await other.blacklist.poll();
      expect(other.blacklist.has(lost)).toBe(true);
    });

    test('a server that does not answer delays no start', async () => {
      const proxy: Proxy = use(await openProxy(database));
      const process = use(await startProcess(proxy.database, { revocation: { ...RARELY, push: 'postgres' } }));
      await process.blacklist.poll();
      proxy.cut();
      const startedAt = performance.now();
      await process.blacklist.start();
      expect(performance.now() - startedAt).toBeLessThan(2000);
    });
  });
}

for (const name of withServers) {
  describe(`Redis, ${name}`, () => {
    let database: TestDatabase;
    beforeAll(async () => databases.push((database = await createDatabase(name))));

    test('an ending is known elsewhere, without a poll', async () => {
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

    test('another channel hears nothing', async () => {
      const channel = newChannel();
      const [one, other] = [
        await start(database, redisPush({ url: REDIS_URL, channel })),
        await start(database, redisPush({ url: REDIS_URL, channel })),
      ];
      const stranger = await start(database, redisPush({ url: REDIS_URL, channel: newChannel() }));
      expect(await connected(one, other)).toBe(true);
      const size = stranger.blacklist.size;
      await connected(one, other);
      expect(stranger.blacklist.size).toBe(size);
    });

    test('while it is away nothing waits for it, and it is connected to again', async () => {
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
      expect(other.blacklist.has(lost)).toBe(false);
      await other.blacklist.poll();
      expect(other.blacklist.has(lost)).toBe(true);
    });
  });
}

test.each([{}, { url: 'http://127.0.0.1' }, { url: 'redis://user:hidden@' }, { url: REDIS_URL, client: {} }])(
  'redisPush(%p) is a fault, told without the URL',
  (options) => {
    const make = () => redisPush(options);
    expect(make).toThrow(MultiSessionConfigurationError);
    expect(make).toThrow(/^(?![^]*hidden)/);
  },
);
