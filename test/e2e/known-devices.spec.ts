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

test('a device is its name, browser, system and kind; no version and no address', () => {
  const of = (userAgent: string | null, deviceName: string | null = null) => fingerprintOf({ userAgent, deviceName });
  expect(of(CHROME)).toEqual([null, 'Chrome', 'Windows', 'pc']);
  expect(of(NEWER_CHROME)).toEqual(of(CHROME));
  expect(of('okhttp/4.9', 'Pixel 9')).toEqual(['Pixel 9', 'okhttp', null, 'other']);
  expect(of('okhttp/5')).toEqual(of('okhttp/4.9'));
  expect(of(null)).toEqual([null, null, null, 'other']);
});

test('two users, or two devices, are never the same', () => {
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

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let database: TestDatabase;
  let apps: TestApp[];
  let rows: Repository<KnownDeviceEntity>;
  const told: SessionEventMap['login.new-device'][] = [];
  const options = { rememberDevices: '30d' } as const;

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    apps = [await startApp({ database, adapter, options })];
    // Two applications on one server stand for two processes; SQLite's is embedded in one.
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

  test('a login from another browser is told of, with what a mail needs; an update of a known one is not', async () => {
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

  test('each user has devices of their own, byte for byte', async () => {
    const { users } = apps[0].users;
    users.set('ALICE', { id: 'ALICE', password: 'ALICE-password', active: true });
    for (const username of ['alice', 'bob', 'ALICE']) await login(CHROME, username);
    await settled();
    expect(told.map(({ session, isFirst }) => [session.userId, isFirst])).toEqual([
      ['alice', true],
      ['bob', true],
      ['ALICE', true],
    ]);
  });

  test('of many logins at once from one new device one is told of', async () => {
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

  test('one that was not used for as long as it is remembered is new again, cleaned up or not', async () => {
    for (const cleanUp of [false, true]) {
      await rows.clear();
      told.splice(0);
      await login(CHROME);
      await login(FIREFOX);
      await settled();
      const id = deviceIdOf('alice', { userAgent: CHROME, deviceName: null });
      await rows.update(id, { lastSeen: new Date(Date.now() - 30 * DAY - 1000) });
      if (cleanUp) {
        expect((await apps[0].get(SessionCleanup).run()).knownDevices).toBe(1);
        expect(await rows.count()).toBe(1);
      }
      await login(CHROME);
      await settled();
      expect(told.map(({ isFirst }) => isFirst)).toEqual([true, false, false]);
    }
  });

  test('is written once a day', async () => {
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

  test('a user who is forgotten begins anew, and nobody else', async () => {
    await login(CHROME);
    await login(CHROME, 'bob');
    await settled();
    await apps[0].get(KnownDevices).forget('alice');
    expect((await rows.find()).map(({ userId }) => userId)).toEqual(['bob']);
    await login(CHROME);
    await settled();
    expect(told).toHaveLength(3);
  });

  test('a reauthentication is from a known device', async () => {
    const { access } = await login(CHROME);
    const body = { username: 'alice', password: 'alice-password' };
    const { status } = await apps[0].post('reauthenticate/', body, { ...bearer(access), 'user-agent': CHROME });
    await settled();
    expect([status, told.length]).toEqual([200, 1]);
  });

  test('where it cannot be looked at, the login stands', async () => {
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

  test('without the option nothing is looked at', async () => {
    const off = await startApp({ databaseName: 'sqlite', adapter });
    await off.login();
    await off.get(KnownDevices).settled();
    expect(await off.get<Repository<KnownDeviceEntity>>(getRepositoryToken(KnownDeviceEntity) as string).count()).toBe(
      0,
    );
    await off.close();
  });
});
