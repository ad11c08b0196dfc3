import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import fc from 'fast-check';
import { KnownDevices, SessionCleanup, SessionEvents, type SessionEventMap } from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import { deviceIdOf, fingerprintOf } from '../../lib/known-devices/fingerprint.js';
import { KnownDeviceEntity } from '../../lib/known-devices/known-device.entity.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const DAY = 86_400_000;
const WINDOWS = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)';
const CHROME = `${WINDOWS} Chrome/126.0.0.0 Safari/537.36`;
const NEWER_CHROME = `${WINDOWS} Chrome/131.0.0.0 Safari/537.36`;
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0';

test('identifies a device by name, browser, system and kind, without versions and address', () => {
  const of = (userAgent: string | null, deviceName: string | null = null) => fingerprintOf({ userAgent, deviceName });
  expect(of(CHROME)).toEqual([null, 'Chrome', 'Windows', 'pc']);
  expect(of(NEWER_CHROME)).toEqual(of(CHROME));
  expect(of('okhttp/4.9', 'Pixel 9')).toEqual(['Pixel 9', 'okhttp', null, 'other']);
  expect(of('okhttp/5')).toEqual(of('okhttp/4.9'));
  expect(of(null)).toEqual([null, null, null, 'other']);
});

test('gives two users or two devices different ids', () => {
  const text = fc.string({ unit: 'binary', maxLength: 40 });
  fc.assert(
    fc.property(text, text, fc.option(text), fc.option(text), (one, other, userAgent, deviceName) => {
      fc.pre(one !== other);
      const signs = { userAgent, deviceName };
      expect(deviceIdOf(one, signs)).toMatch(/^[0-9a-f]{64}$/);
      expect(deviceIdOf(one, signs)).not.toBe(deviceIdOf(other, signs));
      expect(deviceIdOf(one, { ...signs, deviceName: one })).not.toBe(deviceIdOf(one, { ...signs, deviceName: other }));
    }),
  );
});

/** The row of a device that was last seen this long ago and is remembered for 30 days. */
const seen = (ago: number) => ({
  lastSeen: new Date(Date.now() - ago),
  expiresAt: new Date(Date.now() - ago + 30 * DAY),
});

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let database: TestDatabase;
  let apps: TestApp[];
  let rows: Repository<KnownDeviceEntity>;
  const told: SessionEventMap['login.new-device'][] = [];
  const options = { rememberDevices: '30d' } as const;

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    apps = [await startApp({ database, adapter, options })];
    // Two applications on one database server act as two processes. SQLite is embedded in one process.
    if (!databaseName.startsWith('sql')) apps.push(await startApp({ database, adapter, options }));
    for (const app of apps) app.get(SessionEvents).on('login.new-device', (event) => told.push(event));
    rows = apps[0].get(getRepositoryToken(KnownDeviceEntity) as string);
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
  });
  beforeEach(async () => {
    await rows.clear();
    told.splice(0);
  });

  const settled = () => Promise.all(apps.map((app) => app.get(KnownDevices).settled()));
  const login = async (userAgent: string, username = 'alice', headers: Record<string, string> = {}, at = 0) => {
    const body = { username, password: `${username}-password`, secret_key: SECRET_KEY, session: 'LONG' };
    const answer = await apps[at % apps.length].post('login/', body, { 'user-agent': userAgent, ...headers });
    expect(answer.status).toBe(200);
    return answer.body as { access: string; session_id: string };
  };

  test('emits an event for a login from another browser, with the details for a mail, and none for a browser update', async () => {
    await login(CHROME);
    await settled();
    expect(told).toMatchObject([{ isFirst: true }]);
    await login(NEWER_CHROME);
    const { session_id: id } = await login(FIREFOX, 'alice', { 'x-device-model': 'ThinkPad' });
    await login(FIREFOX, 'alice', { 'x-device-model': 'ThinkPad' });
    await settled();
    expect(told.slice(1)).toMatchObject([
      {
        isFirst: false,
        session: { id, userId: 'alice', ipAddress: '127.0.0.1' },
        device: {
          name: 'ThinkPad',
          browser: { name: 'Firefox', version: '128.0' },
          os: { name: 'Linux' },
          kind: 'pc',
        },
      },
    ]);
    expect(JSON.stringify(await rows.find())).not.toMatch(/Firefox|ThinkPad|127\.0/);
  });

  test('keeps the devices of users apart, comparing ids byte for byte', async () => {
    apps[0].users.users.set('ALICE', { id: 'ALICE', password: 'ALICE-password', active: true });
    for (const username of ['alice', 'bob', 'ALICE']) await login(CHROME, username);
    await settled();
    // An event follows the answer to its login, so those of several users come in any order.
    const users = told.map(({ session, isFirst }) => `${session.userId} ${isFirst}`);
    expect(users.toSorted()).toEqual(['ALICE true', 'alice true', 'bob true']);
  });

  test('emits one event for many concurrent logins from one new device', async () => {
    await login(CHROME);
    await settled();
    for (let round = 0; round < 5; round++) {
      const headers = { 'x-device-model': `phone ${round}` };
      await Promise.all([...Array(8).keys()].map((at) => login(FIREFOX, 'alice', headers, at)));
    }
    await settled();
    expect(told.map(({ device }) => device.name)).toEqual([null, ...[...Array(5).keys()].map((n) => `phone ${n}`)]);
    expect(await rows.count()).toBe(6);
  });

  test('treats a device as new after rememberDevices, whether or not it has been cleaned up', async () => {
    for (const cleanUp of [false, true]) {
      await rows.clear();
      told.splice(0);
      await login(CHROME);
      await login(FIREFOX);
      await settled();
      const id = deviceIdOf('alice', { userAgent: CHROME, deviceName: null });
      await rows.update(id, seen(30 * DAY + 1000));
      if (cleanUp) {
        expect((await apps[0].get(SessionCleanup).run()).knownDevices).toBe(1);
        expect(await rows.count()).toBe(1);
      }
      await login(CHROME);
      await settled();
      expect(told.map(({ isFirst }) => isFirst)).toEqual([true, false, false]);
    }
  });

  test('does not forget a device that another process remembers for longer, and judges an old row by its own setting', async () => {
    await login(CHROME);
    await settled();
    const [{ id }] = await rows.find();
    const longAgo = new Date(Date.now() - 30 * DAY - 1000);
    await rows.update(id, { lastSeen: longAgo, expiresAt: new Date(Date.now() + 60 * DAY) });
    expect((await apps[0].get(SessionCleanup).run()).knownDevices).toBe(0);
    await login(CHROME);
    await settled();
    expect(told).toHaveLength(1);
    const seenAgain = await rows.findOneByOrFail({ id });
    expect(Date.now() - seenAgain.lastSeen.getTime()).toBeLessThan(DAY / 2);
    expect(seenAgain.expiresAt?.getTime()).toBeGreaterThan(Date.now() + 59 * DAY);

    // Version 0.1.0 recorded no expiry.
    await rows.update(id, { lastSeen: new Date(Date.now() - 29 * DAY), expiresAt: null });
    await login(CHROME);
    await settled();
    expect(told).toHaveLength(1);
    const recorded = (await rows.findOneByOrFail({ id })).expiresAt?.getTime() ?? 0;
    expect(Math.abs(recorded - Date.now() - 30 * DAY)).toBeLessThan(60_000);
    await rows.update(id, { lastSeen: longAgo, expiresAt: null });
    expect((await apps[0].get(SessionCleanup).run()).knownDevices).toBe(1);
  });

  test('writes a device once a day', async () => {
    await login(CHROME);
    await settled();
    const [{ id }] = await rows.find();
    const earlier = new Date(Date.now() - DAY / 2);
    await rows.update(id, { lastSeen: earlier });
    await login(CHROME);
    await settled();
    expect((await rows.findOneByOrFail({ id })).lastSeen).toEqual(earlier);
    await rows.update(id, { lastSeen: new Date(Date.now() - DAY - 1000) });
    await login(CHROME);
    await settled();
    expect(Date.now() - (await rows.findOneByOrFail({ id })).lastSeen.getTime()).toBeLessThan(DAY / 2);
    expect(told).toHaveLength(1);
  });

  test('forgets the devices of one user only', async () => {
    await login(CHROME);
    await login(CHROME, 'bob');
    await settled();
    await apps[0].get(KnownDevices).forget('alice');
    expect((await rows.find()).map(({ userId }) => userId)).toEqual(['bob']);
    await login(CHROME);
    await settled();
    expect(told).toHaveLength(3);
  });

  test('treats a reauthentication as a login from a known device', async () => {
    const { access } = await login(CHROME);
    const body = { username: 'alice', password: 'alice-password' };
    const { status } = await apps[0].post('reauthenticate/', body, { ...bearer(access), 'user-agent': CHROME });
    await settled();
    expect([status, told.length]).toEqual([200, 1]);
  });

  test('keeps the login if the devices cannot be read', async () => {
    const { manager } = apps[0].get(DataSource);
    const { tableName } = rows.metadata;
    await manager.query(`ALTER TABLE ${tableName} RENAME TO away`);
    try {
      await login(CHROME);
      await settled();
    } finally {
      await manager.query(`ALTER TABLE away RENAME TO ${tableName}`);
    }
    expect(told).toEqual([]);
    await login(CHROME);
    await settled();
    expect(told).toHaveLength(1);
  });

  test('reads nothing without the option', async () => {
    const off = await startApp({ databaseName: 'sqlite', adapter });
    await off.login();
    await off.get(KnownDevices).settled();
    expect(await off.get<Repository<KnownDeviceEntity>>(getRepositoryToken(KnownDeviceEntity) as string).count()).toBe(
      0,
    );
    await off.close();
  });
});
