import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { onEachSharedDatabase } from '../helpers/matrix.js';
import { type MovedApp as App, startMovedApp } from '../helpers/moved-app.js';
import { get, post, refresh, UNKNOWN } from '../helpers/old-clients.js';
import { type OtherTokens, readOldTokens } from '../helpers/old-systems.js';

/*
 * Tokens that drf-jwt-devices, django-token-manager and supertokens-django-ref-jwt have issued, on the sample application, which
 * is configured by `SESSION_CONFIG` alone. The sessions are imported, and the clients change nothing but the base URL.
 */

const SUPERTOKENS_KEY =
  'dgtPLMsxkNsSGE3WIGBkCDlfOh5DW+9/aWOHnclAw9IXF61HFN5Bi6bU/Arg5b+ccXVvJF9VuRjaiwhzWlj/HVFLCESltTPROhEhgzQI7C1Xa6DkJk/qU3xO4MbOsyu4j0ZHng==';
const ROTATED = { SHORT: { refreshTokenLifetime: '5y' }, LONG: { refreshTokenLifetime: '10y' } };

onEachSharedDatabase((name) => {
  describe('drf-jwt-devices', () => {
    let app: App;
    let tokens: OtherTokens;
    const DEVICE = { permanent: true, refreshTokenLifetime: '2y' };

    beforeAll(async () => {
      const legacyTokens = [{ system: 'drf-jwt-devices' }];
      app = await startMovedApp(name, 'other-systems', {
        policies: { DEVICE },
        devices: true,
        secretKey: false,
        legacyTokens,
      });
      tokens = await readOldTokens('other-systems');
      await app.import('drf-jwt-devices');
    });
    afterAll(() => app?.close());

    const refreshDevice = (token: string) =>
      app.post('/api/session/device-refresh-token', {}, { 'permanent-token': token });
    const headers = (access: string, more: object = {}) => ({ headers: { authorization: `JWT ${access}`, ...more } });

    test('each permanent token works again and again', async () => {
      for (const { permanent_token: token, user_id: userId } of tokens.jwt_devices) {
        for (let time = 0; time < 2; time++) {
          const { status, body } = await refreshDevice(token);
          expect({ status, keys: Object.keys(body) }).toEqual({ status: 200, keys: ['token'] });
          expect(await get(app, '/api/me', `JWT ${body.token}`)).toEqual({ status: 200, body: { user_id: userId } });
        }
      }
      const [{ permanent_token: token }] = tokens.jwt_devices;
      const other = `${token.slice(0, -1)}${token.endsWith('0') ? '1' : '0'}`;
      for (const text of [other, token.toUpperCase(), `${token} `.repeat(2)])
        expect((await refreshDevice(text)).status).toBe(401);
    });

    test('the routes show and take the numeric ids', async () => {
      const of12 = tokens.jwt_devices.filter(({ user_id }) => user_id === 12);
      const { token } = (await refreshDevice(of12[0].permanent_token)).body;
      const list = async () =>
        (await (await fetch(`${app.url}/api/session/devices`, headers(token))).json()) as { id: number }[];
      expect((await list()).map(({ id }) => id).sort()).toEqual(of12.map(({ device_id }) => device_id).sort());

      const foreign = tokens.jwt_devices.find(({ user_id }) => user_id !== 12)!;
      const logout = (id: number) =>
        fetch(`${app.url}/api/session/device-logout`, {
          method: 'DELETE',
          ...headers(token, { 'device-id': String(id) }),
        });
      expect((await logout(foreign.device_id)).status).toBe(404);
      expect((await logout(of12[1].device_id)).status).toBe(204);
      expect((await refreshDevice(of12[1].permanent_token)).status).toBe(401);
      const ended = await get(app, `/api/session/devices/${of12[2].device_id}`, `JWT ${token}`, 'DELETE');
      expect(ended.status).toBe(204);
      expect((await refreshDevice(of12[2].permanent_token)).status).toBe(401);
      expect((await refreshDevice(foreign.permanent_token)).status).toBe(200);
      expect((await list()).map(({ id }) => id)).toEqual(
        of12.filter((_, at) => at !== 1 && at !== 2).map(({ device_id }) => device_id),
      );
    });
  });

  describe('drf-jwt-devices with replaceAtFirstUse', () => {
    let app: App;
    afterAll(() => app?.close());

    test('device-refresh-token answers a new permanent token once, and the old one ends with its use', async () => {
      app = await startMovedApp(name, 'other-systems', {
        // The grace is longer than the test takes.
        policies: { DEVICE: { permanent: true, refreshTokenLifetime: '2y', reuseGrace: '10m' } },
        devices: true,
        secretKey: false,
        legacyTokens: [{ system: 'drf-jwt-devices', replaceAtFirstUse: true }],
      });
      await app.import('drf-jwt-devices');
      const [{ permanent_token: old, user_id: userId }] = (await readOldTokens('other-systems')).jwt_devices;
      const refreshDevice = (token: string) =>
        app.post('/api/session/device-refresh-token', {}, { 'permanent-token': token });

      const first = await refreshDevice(old);
      expect({ status: first.status, keys: Object.keys(first.body).sort() }).toEqual({
        status: 200,
        keys: ['permanent_token', 'token'],
      });
      const { permanent_token: ours, token } = first.body as { permanent_token: string; token: string };
      expect(await get(app, '/api/me', `JWT ${token}`)).toEqual({ status: 200, body: { user_id: userId } });
      // The answer was lost, and the client tries again.
      expect((await refreshDevice(old)).body.permanent_token).toBe(ours);

      for (let time = 0; time < 2; time++) {
        const { status, body } = await refreshDevice(ours);
        expect({ status, keys: Object.keys(body) }).toEqual({ status: 200, keys: ['token'] });
      }
      await app.run('UPDATE user_session SET rotated_at = 1 WHERE rotated_at > 0');
      expect((await refreshDevice(ours)).status).toBe(200);
      expect(await refreshDevice(old)).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
      expect((await refreshDevice(ours)).status).toBe(401);
    });
  });

  describe('django-token-manager', () => {
    let app: App;
    let tokens: OtherTokens;
    const TOKEN = { refreshTokenLifetime: '20y', rotateRefreshTokens: false, updateLastLogin: false };

    beforeAll(async () => {
      tokens = await readOldTokens('other-systems');
      const legacyTokens = [{ system: 'django-token-manager', signingKey: tokens.secret_key }];
      app = await startMovedApp(name, 'other-systems', { policies: { TOKEN }, legacyTokens }, { DJANGO_COMPAT: '1' });
      await app.import('django-token-manager', { type: 'TOKEN' });
    });
    afterAll(() => app?.close());

    test('each token gets what its state says, under the scheme JWT only', async () => {
      for (const { token, state, user_id: userId } of tokens.token_manager) {
        const { status, body } = await get(app, '/api/me', `JWT ${token}`);
        if (state === 'live') expect({ status, body }).toEqual({ status: 200, body: { user_id: userId } });
        else expect({ status, body }).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
        expect((await get(app, '/api/me', `Bearer ${token}`)).status).toBe(401);
      }
    });

    test('nothing else accepts it', async () => {
      const [{ token }] = tokens.token_manager;
      expect((await refresh(app, token, 'TOKEN')).status).toBe(401);
      expect((await post(app, 'logout/', { refresh: token })).status).toBe(401);
      expect(await post(app, 'verify/', { token })).toEqual({ status: 200, body: { active: false } });
      const cookie = { cookie: `__Host-access=${token}; access=${token}` };
      expect((await fetch(`${app.url}/api/me`, { headers: cookie })).status).toBe(401);
      const forged = `${token.slice(0, -2)}${token.endsWith('AA') ? 'BB' : 'AA'}`;
      expect((await get(app, '/api/me', `JWT ${forged}`)).status).toBe(401);
    });

    test('it stops working with its session, and for an inactive user', async () => {
      const [first, second] = tokens.token_manager.filter(({ state, user_id: id }) => state === 'live' && id === 2);
      const sessions = (await get(app, '/api/session/sessions', `JWT ${first.token}`)).body as {
        id: string;
        current: boolean;
      }[];
      const { id } = sessions.find(({ current }) => !current)!;
      expect((await get(app, `/api/session/sessions/${id}`, `JWT ${first.token}`, 'DELETE')).status).toBe(204);
      expect((await get(app, '/api/me', `JWT ${second.token}`)).status).toBe(401);

      const isActive = (active: boolean) => (name === 'sqlite' ? Number(active) : String(active));
      await app.run(`UPDATE app_user SET active = ${isActive(false)} WHERE id = 2`);
      expect((await get(app, '/api/me', `JWT ${first.token}`)).status).toBe(401);
      await app.run(`UPDATE app_user SET active = ${isActive(true)} WHERE id = 2`);
      expect((await get(app, '/api/me', `JWT ${first.token}`)).status).toBe(200);
    });
  });

  describe.each(['number', 'string'] as const)(
    'supertokens-django-ref-jwt with user ids of the type %s',
    (userIdType) => {
      let app: App;
      let tokens: OtherTokens['supertokens'];
      const SUPERTOKENS = { system: 'supertokens-django-ref-jwt', signingKey: SUPERTOKENS_KEY };

      beforeAll(async () => {
        ({ supertokens: tokens } = await readOldTokens('other-systems'));
        app = await startMovedApp(
          name,
          'other-systems',
          { policies: ROTATED, legacyTokens: [SUPERTOKENS], ...(userIdType === 'string' && { userIdType }) },
          { DJANGO_COMPAT: '1' },
        );
        const textIds = [...new Set(tokens.map(({ user_id: id }) => id).filter((id) => typeof id === 'string'))];
        await addUsers(app, textIds);
        await app.import('supertokens-django-ref-jwt', { userIdType });
      });
      afterAll(() => app?.close());

      test('each token gets what its state says. Ids of the other type were not imported', async () => {
        for (const { refresh: token, state, user_id: userId, superseded } of tokens) {
          const { status, body } = await refresh(app, token, 'LONG');
          const isLive = typeof userId === userIdType && state !== 'expired';
          expect({ userId, state, status }).toEqual({ userId, state, status: isLive ? 200 : 401 });
          if (!isLive) {
            expect(body).toEqual(UNKNOWN);
            continue;
          }
          expect(await get(app, '/api/me', `JWT ${body.access}`)).toEqual({ status: 200, body: { user_id: userId } });
          expect((await refresh(app, token, 'LONG')).body.refresh).toBe(body.refresh);
          if (superseded === undefined) continue;
          expect(await refresh(app, superseded, 'LONG')).toMatchObject({
            status: 401,
            body: { code: 'token_not_valid' },
          });
          expect(await refresh(app, body.refresh, 'LONG')).toEqual({ status: 401, body: UNKNOWN });
        }
        expect(
          new Set(tokens.filter(({ user_id: id }) => typeof id === userIdType).map(({ state }) => state)).size,
        ).toBe(userIdType === 'string' ? 4 : 2);
      });

      test('a user logs in, and is refused once inactive', async () => {
        const [username, password] =
          userIdType === 'string' ? ['text-user-6', 'password-2'] : ['mover01', 'password-1'];
        const { status, body } = await post(app, 'login/', { username, password, session: 'LONG', info: 'a test' });
        expect(status).toBe(200);
        const me = await get(app, '/api/me', `JWT ${body.access}`);
        expect(me.body).toEqual({ user_id: userIdType === 'string' ? 'user-6' : 2 });
        await app.run(`UPDATE app_user SET active = ${name === 'sqlite' ? 0 : 'false'} WHERE username = '${username}'`);
        expect(await refresh(app, body.refresh, 'LONG')).toEqual({ status: 401, body: UNKNOWN });
      });
    },
  );
});

/** Adds users with text ids. Each has a hash of a user that was moved, and so the same password. */
async function addUsers(app: App, textIds: readonly string[]): Promise<void> {
  for (const [at, textId] of textIds.entries()) {
    await app.run(
      `INSERT INTO app_user (id, text_id, username, password_hash, active)
       SELECT ${1000 + at}, '${textId}', 'text-${textId}', password_hash, active FROM app_user WHERE id = 3`,
    );
  }
}
