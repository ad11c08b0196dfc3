import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import { SessionEntity, SessionEvents, type SessionEventMap, SessionService } from 'nestjs-multisession';
import type { Repository } from 'typeorm';
import { isAnotherClient } from '../../lib/session/client-info.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabase } from '../helpers/matrix.js';

const BACKEND_KEY = 'a backend key of the tests, and a long one';
const HOME = '203.0.113.7';
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0';

/** Behind a proxy that the application trusts, the address is that of the header. */
const from = (address: string, userAgent: string, more: Record<string, string> = {}) => ({
  'x-forwarded-for': address,
  'user-agent': userAgent,
  ...more,
});

describe('isAnotherClient', () => {
  const client = (ipAddress: string | null, userAgent: string | null = FIREFOX) => ({
    ipAddress,
    userAgent,
    deviceName: null,
  });

  test.each([
    ['203.0.113.7', '203.0.113.250', false],
    ['203.0.113.7', '203.0.114.7', true],
    ['::ffff:203.0.113.7', '203.0.113.9', false],
    ['2001:db8:1::1', '2001:db8:1:ffff:1:2:3:4', false],
    ['2001:db8:1::1', '2001:db8:2::1', true],
    ['2001:db8::1', '2001:db8:0:1:2:3:4:5', false],
    ['2001:db8::1', '2001:db8:1::1', true],
    ['203.0.113.7', '2001:db8::1', true],
    ['unix', 'unix', false],
    ['unix', 'other', true],
    // Nothing was recorded, so nothing has changed.
    [null, '203.0.113.7', false],
    ['203.0.113.7', null, false],
  ])('compares the networks of %s and %s', (one, other, expected) => {
    expect(isAnotherClient(client(one), client(other))).toBe(expected);
  });

  test('compares user agents', () => {
    expect(isAnotherClient(client(HOME), client(HOME, 'curl'))).toBe(true);
    expect(isAnotherClient(client(HOME), client(HOME, null))).toBe(true);
    expect(isAnotherClient(client(HOME, null), client(HOME))).toBe(false);
  });
});

onEachDatabase((databaseName) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  const told: { name: string; event: SessionEventMap['session.client-changed'] }[] = [];

  beforeAll(async () => {
    const policies = {
      ROTATING: { refreshTokenLifetime: '30d', reuseGrace: 0 },
      KEEPING: { refreshTokenLifetime: '30d', rotateRefreshTokens: false },
      SILENT: { refreshTokenLifetime: '30d', rotateRefreshTokens: false, updateLastLogin: false },
      DEVICE: { refreshTokenLifetime: '30d', permanent: true },
    } as const;
    app = await startApp({
      databaseName,
      options: { policies, backendKeys: BACKEND_KEY },
      configure: (nest) =>
        (nest.getHttpAdapter().getInstance() as { set(name: string, on: boolean): void }).set('trust proxy', true),
    });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    const events = app.get(SessionEvents);
    events.on('session.client-changed', (event) => told.push({ name: 'client-changed', event }));
  });
  beforeEach(() => void told.splice(0));
  afterAll(() => app?.close());

  const login = async (session: string, headers: Record<string, string>) => {
    const body = { username: 'alice', password: 'alice-password', session, secret_key: SECRET_KEY };
    const answer = await app.post('login/', body, headers);
    expect(answer.status).toBe(200);
    const {
      permanent_token: permanent,
      device_id: deviceId,
      token: deviceAccess,
      refresh = permanent,
      session_id: id = deviceId,
      access = deviceAccess,
    } = answer.body as Record<string, string>;
    return { refresh, id, access };
  };
  const refresh = async (session: string, token: string, headers: Record<string, string>, key = SECRET_KEY) => {
    const answer = await app.post('refresh/', { refresh: token, session, secret_key: key }, headers);
    expect(answer.status).toBe(200);
    const { refresh: next = token } = answer.body as { refresh?: string };
    return next;
  };

  describe.each(['ROTATING', 'KEEPING', 'SILENT', 'DEVICE'])('a %s token', (type) => {
    test('that another client uses is recorded, shown in the list, and told of once', async () => {
      const { refresh: first, id, access } = await login(type, from(HOME, FIREFOX, { 'x-device-model': 'PC' }));
      let token = await refresh(type, first, from('203.0.113.99', FIREFOX));
      expect(told).toEqual([]);
      expect(await rows.findOneByOrFail({ id })).toMatchObject({ clientChangedAt: null });

      token = await refresh(type, token, from('198.51.100.66', 'curl/8'));
      expect(told).toHaveLength(1);
      const [{ event }] = told;
      const previousAddress = type === 'ROTATING' || type === 'KEEPING' ? '203.0.113.99' : HOME;
      expect(event.previous).toEqual({ ipAddress: previousAddress, userAgent: FIREFOX, deviceName: 'PC' });
      expect(event.client).toEqual({ ipAddress: '198.51.100.66', userAgent: 'curl/8', deviceName: null });
      expect(event.session).toMatchObject({ id, ipAddress: '198.51.100.66', userAgent: 'curl/8', deviceName: 'PC' });
      const listed = await app.request('GET', '/api/session/sessions', { headers: bearer(access) });
      const shown = (listed.body as { id: string }[]).find((session) => session.id === id);
      expect(shown).toMatchObject({ ip_address: '198.51.100.66', client_changed_at: expect.any(String) });

      await refresh(type, token, from('198.51.100.66', 'curl/8'));
      expect(told).toHaveLength(1);
    });

    test('that a backend uses for its user records the client that it passes on, and never the backend', async () => {
      const { refresh: first, id } = await login(type, from(HOME, FIREFOX, { 'x-device-model': 'PC' }));
      const server = from('192.0.2.1', 'node');
      let token = await refresh(type, first, server, BACKEND_KEY);
      expect(await rows.findOneByOrFail({ id })).toMatchObject({
        ipAddress: HOME,
        userAgent: FIREFOX,
        deviceName: 'PC',
      });
      const passed = {
        ...server,
        'x-client-address': '198.51.100.5',
        'x-client-user-agent': 'a phone',
        'x-device-model': 'Pixel',
      };
      token = await refresh(type, token, passed, BACKEND_KEY);
      const expected = { ipAddress: '198.51.100.5', userAgent: 'a phone', deviceName: 'Pixel' };
      expect(await rows.findOneByOrFail({ id })).toMatchObject(expected);
      expect(told.map(({ event }) => event.client)).toEqual([expected]);
      // Whoever knows only the secret key, which front ends may know, speaks for no other client.
      const pretending = { ...passed, 'x-client-address': '198.51.100.200', 'x-client-user-agent': 'another' };
      await refresh(type, token, pretending);
      expect(await rows.findOneByOrFail({ id })).toMatchObject({ ipAddress: '192.0.2.1', userAgent: 'node' });
    });
  });

  test('session.refreshed names the client', async () => {
    const clients: unknown[] = [];
    const stop = app.get(SessionEvents).on('session.refreshed', ({ client }) => clients.push(client));
    const { refresh: token } = await login('KEEPING', from(HOME, FIREFOX));
    await refresh('KEEPING', token, from(HOME, FIREFOX));
    await app.get(SessionService).refresh(token);
    stop();
    const unknown = { ipAddress: null, userAgent: null, deviceName: null };
    expect(clients).toEqual([{ ipAddress: HOME, userAgent: FIREFOX, deviceName: null }, unknown]);
  });

  test('login.failed names the user name that was tried, cut to 255 characters', async () => {
    const names: unknown[] = [];
    const stop = app.get(SessionEvents).on('login.failed', ({ username, userId }) => names.push([username, userId]));
    for (const username of ['alice', 'nobody', 'x'.repeat(1000)]) {
      const body = { username, password: 'wrong', session: 'KEEPING', secret_key: SECRET_KEY };
      expect((await app.post('login/', body)).status).toBe(401);
    }
    stop();
    expect(names).toEqual([
      ['alice', undefined],
      ['nobody', undefined],
      ['x'.repeat(255), undefined],
    ]);
  });

  test('verify/ takes a backend key only, if there are any; elsewhere it counts as a secret key', async () => {
    const { access } = await login('KEEPING', from(HOME, FIREFOX));
    const ask = (key: string) => app.post('verify/', { token: access, secret_key: key });
    expect(await ask(BACKEND_KEY)).toMatchObject({ status: 200, body: { active: true } });
    expect((await app.post('verify/', { token: access }, { 'x-secret-key': BACKEND_KEY })).status).toBe(200);
    expect(await ask(SECRET_KEY)).toMatchObject({ status: 401, body: { code: 'secret_key_invalid' } });
    const body = { username: 'alice', password: 'alice-password', session: 'KEEPING' };
    expect((await app.post('login/', body, { 'x-secret-key': BACKEND_KEY })).status).toBe(200);
    expect((await app.post('login/', body, { 'x-secret-key': `${BACKEND_KEY}!` })).status).toBe(401);
  });
});
