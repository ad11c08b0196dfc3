import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { APP_FILTER, APP_GUARD } from '@nestjs/core';
import { getRepositoryToken } from '@nestjs/typeorm';
import {
  BlacklistEntity,
  DevicesController,
  PERMANENT_DEVICE,
  PermittedHeadersGuard,
  SessionEntity,
  type SessionPolicyOptions,
} from 'nestjs-multisession';
import { DjangoErrorFilter } from 'nestjs-multisession/django';
import type { Repository } from 'typeorm';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import {
  ASKS_FOR_COOKIES,
  cookieHeader,
  PROOF_COOKIE,
  REFRESH_COOKIE,
  setCookies,
  tokensInCookies,
  cookieAnswer,
} from '../helpers/cookies.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';
import { WhoAmI } from '../helpers/who-am-i.js';

const POLICIES = {
  DEVICE: PERMANENT_DEVICE,
  CHECKED: { ...PERMANENT_DEVICE, accessCheck: 'session' },
  LONG: { refreshTokenLifetime: '30d' },
} as const satisfies Record<string, SessionPolicyOptions>;

const DAY = 86_400_000;
const PC = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0';
const KEY = { 'x-secret-key': SECRET_KEY };

@Controller('open')
class OpenController {
  @Get()
  open() {
    return {};
  }
}

interface Device {
  token: string;
  permanent_token: string;
  device_id: string;
}

/** What the README of drf-jwt-devices promises, one test for each sentence. */
onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let entries: Repository<BlacklistEntity>;
  const events: RecordedEvent[] = [];

  beforeAll(async () => {
    app = await startApp({
      databaseName,
      adapter,
      controllers: [WhoAmI, OpenController],
      providers: [{ provide: APP_GUARD, useClass: PermittedHeadersGuard }],
      options: { policies: POLICIES, devices: true, cookies: true },
    });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    entries = app.get(getRepositoryToken(BlacklistEntity) as string);
    recordEvents(app, events);
  });
  afterAll(() => app?.close());
  beforeEach(async () => {
    await rows.clear();
    await entries.clear();
    events.splice(0);
  });

  const credentials = (username: string, session: string) => ({
    username,
    password: `${username}-password`,
    secret_key: SECRET_KEY,
    session,
  });
  const login = async (headers: Record<string, string> = {}, username = 'alice', session = 'DEVICE') => {
    const { status, body } = await app.post('login/', credentials(username, session), headers);
    expect(status).toBe(200);
    return body as Device;
  };
  const refresh = (token: string, headers: Record<string, string> = KEY) =>
    app.request('POST', '/api/session/device-refresh-token/', { headers: { 'permanent-token': token, ...headers } });
  const ask = (method: string, route: string, access: string, headers: Record<string, string> = {}) =>
    app.request(method, `/api/session/${route}`, { headers: { ...bearer(access), ...headers } });
  const whoAmI = (access: string) => app.request('GET', '/me', { headers: bearer(access) });

  test('only a login to a permanent type answers token, permanent_token and device_id', async () => {
    const device = await login();
    expect(Object.keys(device)).toEqual(['token', 'permanent_token', 'device_id']);
    expect((await whoAmI(device.token)).status).toBe(200);
    const { body } = await app.post('login/', credentials('alice', 'LONG'));
    expect(Object.keys(body as object).sort()).toEqual(['access', 'refresh', 'session_id']);
  });

  test('a refresh in the cookie transport extends the cookie', async () => {
    const answer = await app.post('login/', credentials('alice', 'DEVICE'), ASKS_FOR_COOKIES);
    const { refresh: permanent, proof } = tokensInCookies(answer);
    const written = new Date(Date.now() - DAY);
    await rows.update(answer.body.session_id as string, {
      lastUpdate: written,
      expiresAt: new Date(+written + 7 * DAY),
    });
    const cookie = cookieHeader([REFRESH_COOKIE, permanent], [PROOF_COOKIE, proof]);
    const refreshed = await app.post('refresh/', { session: 'DEVICE' }, { ...ASKS_FOR_COOKIES, ...cookie });
    const set = setCookies(refreshed).find(({ name }) => name === REFRESH_COOKIE);
    expect([refreshed.status, set?.value]).toEqual([200, permanent]);
    expect(set?.maxAge).toBeGreaterThan((7 * DAY) / 1000 - 5);
  });

  test('a login in the cookie transport answers like any other login', async () => {
    const answer = await app.post('login/', credentials('alice', 'DEVICE'), ASKS_FOR_COOKIES);
    expect(answer.body).toEqual(cookieAnswer(expect.any(String)));
    const cookie = setCookies(answer).find(({ name }) => name === REFRESH_COOKIE);
    expect(cookie?.maxAge).toBeGreaterThan((7 * DAY) / 1000 - 5);
  });

  describe('device-refresh-token', () => {
    test('issues a new token for the permanent token in the header', async () => {
      const { permanent_token: permanent, device_id } = await login();
      const { status, body } = await refresh(permanent);
      expect([status, Object.keys(body as object)]).toEqual([200, ['token']]);
      expect(decoded(body.token, 1)).toMatchObject({ sid: device_id });
      expect((await whoAmI(body.token)).status).toBe(200);
      await rows.update(device_id, { lastUpdate: new Date(Date.now() - DAY) });
      expect(Object.keys((await refresh(permanent)).body as object)).toEqual(['token']);
    });

    test('names a missing header, and requires the secret key', async () => {
      const { permanent_token: permanent } = await login();
      const without = await app.request('POST', '/api/session/device-refresh-token/', { headers: KEY });
      expect([without.status, without.body.errors]).toEqual([400, { 'Permanent-Token': ['This header is required.'] }]);
      expect((await refresh(permanent, {})).body.code).toBe('secret_key_invalid');
    });

    test('logs an expired device out and reports it', async () => {
      const { permanent_token: permanent, device_id } = await login();
      await rows.update(device_id, { expiresAt: new Date(Date.now() - 1000) });
      const { status, body } = await refresh(permanent);
      expect([status, body.code, body.message]).toEqual([
        401,
        'token_not_valid',
        'The permanent token has expired, and the device is logged out',
      ]);
      expect(await rows.count()).toBe(0);
      expect(events.filter(({ name }) => name === 'session.ended')).toMatchObject([{ event: { reason: 'expired' } }]);
    });

    test('refuses a refresh token of another type and changes nothing', async () => {
      const { body } = await app.post('login/', credentials('alice', 'LONG'));
      const before = await rows.find();
      expect((await refresh(body.refresh)).body.code).toBe('token_not_valid');
      expect(await rows.find()).toEqual(before);
    });
  });

  test('refresh accepts a permanent token in the body too', async () => {
    const { permanent_token: permanent, device_id } = await login();
    for (let at = 0; at < 2; at++) {
      const { status, body } = await app.post('refresh/', {
        refresh: permanent,
        session: 'DEVICE',
        secret_key: SECRET_KEY,
      });
      expect([status, Object.keys(body as object)]).toEqual([200, ['access']]);
      await rows.update(device_id, { lastUpdate: new Date(Date.now() - DAY) });
    }
  });

  describe('PermittedHeadersGuard', () => {
    test('refuses the header on every route but device-refresh-token', async () => {
      const { token, permanent_token: permanent } = await login();
      expect((await refresh(permanent)).status).toBe(200);
      for (const [method, path] of [
        ['GET', '/open'],
        ['GET', '/me'],
        ['GET', '/api/session/devices'],
        ['POST', '/api/session/refresh'],
        ['POST', '/api/session/login'],
      ]) {
        const headers = { ...bearer(token), 'permanent-token': permanent };
        const { status, body } = await app.request(method, path, { headers });
        expect([path, status, body]).toEqual([
          path,
          400,
          {
            statusCode: 400,
            error: 'Bad Request',
            message: 'The header Permanent-Token is only accepted by its refresh route',
            code: 'header_not_permitted',
          },
        ]);
      }
      expect((await app.request('GET', '/open')).status).toBe(200);
    });

    test('refuses an empty header too', async () => {
      expect((await app.request('GET', '/open', { headers: { 'permanent-token': '' } })).status).toBe(400);
    });
  });

  describe('device-logout', () => {
    const logout = (access: string, id?: string) =>
      ask('DELETE', 'device-logout/', access, id === undefined ? {} : { 'device-id': id });

    test('ends the device that the header names, and refuses its token at once', async () => {
      for (const type of ['DEVICE', 'CHECKED']) {
        const [own, other] = [await login({}, 'alice', type), await login({}, 'alice', type)];
        expect((await logout(own.token, other.device_id)).status).toBe(204);
        expect((await whoAmI(other.token)).body.code).toBe('token_not_valid');
        expect((await refresh(other.permanent_token)).body.code).toBe('session_not_found');
        expect((await logout(own.token, own.device_id)).status).toBe(204);
        expect((await whoAmI(own.token)).status).toBe(401);
      }
      expect(await rows.count()).toBe(0);
    });

    test('answers 400 without the header, and 404 for anything but a device of the caller', async () => {
      const { token } = await login();
      const bob = await login({}, 'bob');
      const { body } = await app.post('login/', credentials('alice', 'LONG'));
      const without = await logout(token);
      expect([without.status, without.body.errors]).toEqual([400, { 'Device-Id': ['This header is required.'] }]);
      for (const id of ['1', 'x'.repeat(500), bob.device_id, body.session_id as string]) {
        expect((await logout(token, id)).body.code).toBe('session_not_found');
      }
      expect(await rows.count()).toBe(3);
    });
  });

  describe('devices', () => {
    test('lists the devices with their names', async () => {
      const phone = await login({ 'x-device-model': 'Pixel 9', 'user-agent': 'okhttp/4.9' });
      const pc = await login({ 'user-agent': PC });
      const other = await login({ 'user-agent': 'okhttp/4.9' });
      await login({}, 'bob');
      await app.post('login/', credentials('alice', 'LONG'));
      const { status, body } = await ask('GET', 'devices/', phone.token);
      const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as unknown;
      const times = { created: time, last_request_datetime: time };
      expect(status).toBe(200);
      expect(body).toEqual([
        { id: phone.device_id, name: 'Pixel 9', details: 'okhttp/4.9', ...times },
        { id: pc.device_id, name: 'Firefox on Linux', details: PC, ...times },
        { id: other.device_id, name: 'okhttp/4.9', details: 'okhttp/4.9', ...times },
      ]);
    });

    test('DELETE devices/:id ends a device of the caller, and no other', async () => {
      const [own, other, bob] = [await login(), await login(), await login({}, 'bob')];
      expect((await ask('DELETE', `devices/${other.device_id}/`, own.token)).status).toBe(204);
      expect((await ask('DELETE', `devices/${other.device_id}/`, own.token)).status).toBe(404);
      expect((await ask('DELETE', `devices/${bob.device_id}/`, own.token)).status).toBe(404);
      expect(await rows.count()).toBe(2);
      expect((await app.request('GET', '/api/session/devices')).status).toBe(401);
    });
  });

  test('the Django filter answers 404 for an unknown device and 401 for an expired one', async () => {
    const drf = await startApp({
      databaseName: 'sqlite',
      adapter,
      options: { policies: POLICIES, devices: true },
      providers: [{ provide: APP_FILTER, useClass: DjangoErrorFilter }],
    });
    try {
      const { body } = await drf.post('login/', credentials('alice', 'DEVICE'));
      const { token, permanent_token: permanent, device_id: id } = body as Device;
      for (const path of ['devices/x', 'device-logout', 'sessions/x']) {
        const headers = { ...bearer(token), 'device-id': 'x' };
        const unknown = await drf.request('DELETE', `/api/session/${path}`, { headers });
        expect([path, unknown.status, unknown.body]).toEqual([path, 404, { detail: 'Not found.' }]);
      }
      const stored = drf.get<Repository<SessionEntity>>(getRepositoryToken(SessionEntity) as string);
      await stored.update(id, { expiresAt: new Date(Date.now() - 1000) });
      const headers = { 'permanent-token': permanent, ...KEY };
      const expired = await drf.request('POST', '/api/session/device-refresh-token', { headers });
      expect([expired.status, expired.body]).toEqual([
        401,
        { detail: 'The permanent token has expired, and the device is logged out', code: 'token_not_valid' },
      ]);
    } finally {
      await drf.close();
    }
  });

  test('the routes are off by default, accept another header, and need a permanent session type', async () => {
    const off = await startApp({ databaseName: 'sqlite', adapter, options: { policies: POLICIES } });
    expect((await off.request('GET', '/api/session/devices')).status).toBe(404);
    await off.close();

    class Own extends DevicesController {}
    const options = { policies: POLICIES, devices: Own, permanentTokenHeader: 'X-Device-Token' };
    const renamed = await startApp({ databaseName: 'sqlite', adapter, options });
    const { body } = await renamed.post('login/', credentials('alice', 'DEVICE'));
    const headers = { 'x-device-token': (body as Device).permanent_token, ...KEY };
    expect((await renamed.request('POST', '/api/session/device-refresh-token', { headers })).status).toBe(200);
    await renamed.close();

    const none = startApp({ databaseName: 'sqlite', adapter, options: { devices: true } });
    await expect(none).rejects.toThrow('devices: needs a permanent session type');
  });
});
