import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { onEachSharedDatabase } from '../helpers/matrix.js';
import { type MovedApp as App, startMovedApp } from '../helpers/moved-app.js';
import { get, post, refresh, UNKNOWN } from '../helpers/old-clients.js';
import { type OldUser, readOldTokens } from '../helpers/old-systems.js';

/*
 * Tokens that simplejwt_multisessions has issued, on the sample application, which is configured by `SESSION_CONFIG` alone. The
 * sessions are imported, and the clients change nothing but the base URL.
 */

const OLD_KEY = 'import-django-secret-key-4f1d9e0b7c2a';
const KEPT = {
  SHORT: { refreshTokenLifetime: '5y', rotateRefreshTokens: false, updateLastLogin: true },
  LONG: { refreshTokenLifetime: '10y', rotateRefreshTokens: false, updateLastLogin: false },
};
/** Longer than the tests take. A test changes the time of a rotation to let the grace pass. */
const reuseGrace = '10m';
const ROTATED = {
  SHORT: { refreshTokenLifetime: '5y', reuseGrace },
  LONG: { refreshTokenLifetime: '10y', reuseGrace },
};

/** Lists the ids of a user's sessions. */
async function listed(app: App, access: string): Promise<string[]> {
  const { body } = await post(app, 'list/', { session: 'ALL' }, access);
  return Object.values(body as Record<string, { Sessions: { session_id: string }[] }>).flatMap(({ Sessions }) =>
    Sessions.map(({ session_id }) => session_id),
  );
}

onEachSharedDatabase((name) => {
  describe('simplejwt_multisessions without rotation', () => {
    let app: App;
    let users: OldUser[];
    const tokens = () => users.flatMap((user) => user.tokens.map((token) => ({ ...token, user })));

    beforeAll(async () => {
      const legacyTokens = [{ system: 'simplejwt-multisessions', signingKey: OLD_KEY }];
      app = await startMovedApp(
        name,
        'simplejwt-multisessions',
        { policies: KEPT, legacyTokens },
        { DJANGO_COMPAT: '1' },
      );
      users = await readOldTokens('simplejwt-multisessions');
      await app.import('simplejwt-multisessions');
    });
    afterAll(() => app?.close());

    test('each token gets what its state says, and works again and again', async () => {
      for (const { refresh: token, session, state, user } of tokens()) {
        for (let time = 0; time < 2; time++) {
          const { status, body } = await refresh(app, token, session);
          if (state !== 'live') {
            expect({ state, status, body }).toEqual({ state, status: 401, body: UNKNOWN });
            continue;
          }
          expect({ state, status, keys: Object.keys(body) }).toEqual({ state, status: 200, keys: ['access'] });
          const me = await get(app, '/api/me', `JWT ${body.access}`);
          expect(me).toEqual({ status: 200, body: { user_id: user.id } });
        }
      }
    });

    test('an old access token and a changed token are refused', async () => {
      const [{ refresh: token, access, session }] = tokens().filter(({ state }) => state === 'live');
      expect(await get(app, '/api/me', `JWT ${access}`)).toMatchObject({
        status: 401,
        body: { code: 'token_not_valid' },
      });
      const forged = `${token.slice(0, -2)}${token.endsWith('AA') ? 'BB' : 'AA'}`;
      const [header, , signature] = token.split('.');
      const none = `${Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')}.${token.split('.')[1]}.`;
      const empty = `${header}.${Buffer.from('{}').toString('base64url')}.${signature}`;
      for (const text of [forged, none, empty, access])
        expect(await refresh(app, text, session)).toEqual({ status: 401, body: UNKNOWN });
    });

    test('lists show the old ids, and destroy/ takes them', async () => {
      const user = users.find(
        ({ active, tokens: all }) => active && all.filter(({ state }) => state === 'live').length > 1,
      ) as OldUser;
      const [own, other] = user.tokens.filter(({ state }) => state === 'live');
      const { body } = await refresh(app, own.refresh, own.session);
      expect(await listed(app, body.access)).toEqual(expect.arrayContaining([own.session_id, other.session_id]));

      const stranger = tokens().find((token) => token.state === 'live' && token.user.id !== user.id)!;
      const strangers = (await refresh(app, stranger.refresh, stranger.session)).body.access;
      expect((await post(app, 'destroy/', { session_id: other.session_id }, strangers)).status).toBe(401);
      expect((await post(app, 'destroy/', { session_id: other.session_id.toUpperCase() }, body.access)).status).toBe(
        401,
      );
      expect(await refresh(app, other.refresh, other.session)).toMatchObject({ status: 200 });

      expect(await post(app, 'destroy/', { session_id: other.session_id }, body.access)).toEqual({
        status: 200,
        body: {},
      });
      expect(await refresh(app, other.refresh, other.session)).toEqual({ status: 401, body: UNKNOWN });
      expect(await listed(app, body.access)).not.toContain(other.session_id);
      await app.import('simplejwt-multisessions');
      expect(await refresh(app, other.refresh, other.session)).toEqual({ status: 401, body: UNKNOWN });
    });

    test('a wrong type ends the session, and logout/ and destroyAllOther/ take the old token', async () => {
      const [first, second, third] = users
        .filter(({ active }) => active)
        .flatMap(({ tokens: all }) => all.filter(({ state }) => state === 'live').slice(-1))
        .slice(-3);
      const access = (await refresh(app, first.refresh, first.session)).body.access as string;
      expect(await post(app, 'destroyAllOther/', { refresh: second.refresh, session: 'ALL' }, access)).toMatchObject({
        status: 401,
      });
      expect(await post(app, 'destroyAllOther/', { refresh: first.refresh, session: 'ALL' }, access)).toMatchObject({
        status: 200,
      });
      expect(await listed(app, access)).toEqual([first.session_id]);
      expect(await post(app, 'logout/', { refresh: first.refresh })).toEqual({ status: 200, body: {} });
      expect(await refresh(app, first.refresh, first.session)).toEqual({ status: 401, body: UNKNOWN });

      const otherType = third.session === 'LONG' ? 'SHORT' : 'LONG';
      expect(await refresh(app, third.refresh, otherType)).toMatchObject({ status: 401 });
      expect(await refresh(app, third.refresh, third.session)).toEqual({ status: 401, body: UNKNOWN });
    });

    test('a user who is deactivated here is refused, and the session ends', async () => {
      const user = users.filter(({ active, tokens: all }) => active && all.some(({ state }) => state === 'live'))[5];
      const { refresh: token, session } = user.tokens.find(({ state }) => state === 'live')!;
      const isActive = (active: boolean) => (name === 'sqlite' ? Number(active) : String(active));
      await app.run(`UPDATE app_user SET active = ${isActive(false)} WHERE id = ${user.id}`);
      expect(await refresh(app, token, session)).toEqual({ status: 401, body: UNKNOWN });
      await app.run(`UPDATE app_user SET active = ${isActive(true)} WHERE id = ${user.id}`);
      expect(await refresh(app, token, session)).toEqual({ status: 401, body: UNKNOWN });
    });

    test('users log in with the passwords that they had', async () => {
      for (const { username, password, active } of users.slice(0, 12)) {
        const { status } = await post(app, 'login/', { username, password, session: 'SHORT', info: 'a test' });
        expect({ username, status }).toEqual({ username, status: active ? 200 : 400 });
      }
    });
  });

  describe('simplejwt_multisessions with rotation', () => {
    let app: App;
    let users: OldUser[];

    beforeAll(async () => {
      const legacyTokens = [{ system: 'simplejwt-multisessions', signingKey: OLD_KEY }];
      app = await startMovedApp(
        name,
        'simplejwt-multisessions-rotated',
        { policies: ROTATED, legacyTokens },
        { DJANGO_COMPAT: '1' },
      );
      users = await readOldTokens('simplejwt-multisessions-rotated');
      await app.import('simplejwt-multisessions');
    });
    afterAll(() => app?.close());

    test('each token gets what its state says, and a new one takes its place', async () => {
      for (const { refresh: token, session, state, superseded } of users.flatMap(({ tokens }) => tokens)) {
        if (superseded !== undefined)
          expect(await refresh(app, superseded, session)).toEqual({ status: 401, body: UNKNOWN });
        const { status, body } = await refresh(app, token, session);
        if (state !== 'live') {
          expect({ state, status, body }).toEqual({ state, status: 401, body: UNKNOWN });
          continue;
        }
        expect({ state, status, keys: Object.keys(body).sort() }).toEqual({
          state,
          status: 200,
          keys: ['access', 'refresh'],
        });
        // A retry within the grace.
        expect((await refresh(app, token, session)).body.refresh).toBe(body.refresh);
      }
    });

    test('the old token is theft once its successor has been used', async () => {
      const { refresh: token, session } = users.flatMap(({ tokens }) => tokens).find(({ state }) => state === 'live')!;
      const { body } = await refresh(app, token, session);
      // The successor of the successor supersedes the old token for good.
      await app.run('UPDATE user_session SET rotated_at = 1');
      const next = await refresh(app, body.refresh, session);
      expect(next.status).toBe(200);
      expect(await refresh(app, token, session)).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
      expect(await refresh(app, next.body.refresh, session)).toEqual({ status: 401, body: UNKNOWN });
    });
  });
});
