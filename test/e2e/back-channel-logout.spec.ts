import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  MultiSessionConfigurationError,
  type ProviderLogin,
  SessionCleanup,
  SessionService,
} from 'nestjs-multisession';
import { SignJWT } from 'jose';
import { DataSource } from 'typeorm';
import { SessionProviderEntity } from '../../lib/session/session-provider.entity.js';
import { SessionSignalEntity } from '../../lib/session/session-signal.entity.js';
import { type AdapterName, bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import type { DatabaseName } from '../helpers/databases.js';
import { until } from '../helpers/event-inbox.js';
import { type IdentityProvider, LOGOUT_EVENT, startIdentityProvider } from '../helpers/identity-provider.js';
import { onEachAdapter, onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const CLIENT = 'the-client-id';
const EVENTS = { [LOGOUT_EVENT]: {} };
const TYPE = { typ: 'logout+jwt' };

/** Starts a provider and an application for the tests of a suite. */
function scene(databaseName: DatabaseName, adapter: AdapterName) {
  let provider: IdentityProvider;
  let app: TestApp;
  let sessions: SessionService;
  let count = 0;

  beforeAll(async () => {
    // Like that of Entra ID, the key does not state its algorithm.
    provider = await startIdentityProvider({ alg: undefined });
    const { issuer, jwksUri } = provider;
    app = await startApp({
      databaseName,
      adapter,
      options: {
        signals: true,
        identityProviders: [{ issuer, jwksUri, backChannelLogout: { audience: ['another', CLIENT] } }],
      },
    });
    sessions = app.get(SessionService);
  });
  afterAll(async () => {
    await app.close();
    await provider.close();
  });

  let login: ProviderLogin;
  beforeEach(() => {
    login = { issuer: provider.issuer, subject: `subject-${++count}`, sid: `sid-${count}` };
  });

  const liveIds = async () =>
    (await sessions.list('alice', { type: 'LONG' })).flatMap((list) => list.sessions.map(({ id }) => id));
  const create = (where: ProviderLogin | undefined, userId = 'alice') =>
    sessions.create(userId, { type: 'LONG', provider: where });
  const signed = (claims: object, header: object = TYPE) =>
    provider.sign({ aud: CLIENT, events: EVENTS, ...claims }, { ...header });
  const send = (body: string, type = 'application/x-www-form-urlencoded') =>
    app.request('POST', '/api/session/signals/logout', { body, headers: { 'content-type': type } });
  const logout = async (token: string | Promise<string>) =>
    send(new URLSearchParams({ logout_token: await token }).toString());
  const isAlive = async ({ access }: { access: string }) => {
    const { status } = await app.request('GET', '/api/session/sessions', { headers: bearer(access) });
    return status === 200;
  };

  return {
    create,
    signed,
    send,
    logout,
    liveIds,
    isAlive,
    get provider() {
      return provider;
    },
    get app() {
      return app;
    },
    get sessions() {
      return sessions;
    },
    get login() {
      return login;
    },
    get count() {
      return count;
    },
  };
}

onEachDatabaseAndAdapter((databaseName, adapter) => {
  const its = scene(databaseName, adapter);
  const { create, signed, logout, liveIds, isAlive } = its;

  test('a token with a sid ends the sessions of that its.login, and no other', async () => {
    const one = await create(its.login);
    const same = await create(its.login);
    const elsewhere = await create({ ...its.login, sid: 'elsewhere' });
    const without = await create(undefined);
    const { status, body, headers } = await logout(signed({ sub: its.login.subject, sid: its.login.sid }));
    expect([status, body, headers.get('cache-control')]).toEqual([200, '', 'no-store']);
    expect(await Promise.all([one, same, elsewhere, without].map(isAlive))).toEqual([false, false, true, true]);
    expect((await its.app.post('refresh/', { refresh: one.refresh, secret_key: SECRET_KEY })).body).toEqual(
      expect.objectContaining({ code: 'session_not_found', reason: 'identity-provider' }),
    );
  });

  test('a token with only a sub ends all sessions of that its.login, and not those of others', async () => {
    const all = [
      await create(its.login),
      await create({ ...its.login, sid: undefined }),
      await create(its.login, 'bob'),
    ];
    const other = await create({ ...its.login, subject: 'somebody else' });
    expect((await logout(signed({ sub: its.login.subject }))).status).toBe(200);
    expect(await Promise.all([...all, other].map(isAlive))).toEqual([false, false, false, true]);
  });

  test('a session that replaces another one belongs to the same login', async () => {
    const { session } = await create(its.login);
    const replaced = await its.sessions.reauthenticate(
      { sessionId: session.id, userId: 'alice', sessionType: 'LONG' },
      { username: 'alice', password: 'alice-password' },
    );
    await logout(signed({ sid: its.login.sid }));
    expect(await isAlive(replaced)).toBe(false);
  });

  test('a prepared session belongs to its login', async () => {
    const prepared = await its.app
      .get(DataSource)
      .transaction((manager) => its.sessions.prepare('alice', { type: 'LONG', provider: its.login }, manager));
    const issued = await prepared.issue();
    await logout(signed({ sid: its.login.sid }));
    expect(await isAlive(issued)).toBe(false);
  });

  test.each(['sid', 'sub'])('a login that began before the logout (%s) is not completed after it', async (claim) => {
    const before = await liveIds();
    const startedAt = new Date();
    await logout(signed(claim === 'sid' ? { sid: its.login.sid } : { sub: its.login.subject }));
    await expect(its.sessions.create('alice', { type: 'LONG', provider: its.login, startedAt })).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(await liveIds()).toEqual(before);
    // The user may log in again: the provider then uses another id for its session. The first tries may still count as earlier,
    // because the time of this process is only known to some milliseconds.
    const again = () => create({ ...its.login, sid: 'the next one' });
    await until(() => again().then(isAlive, () => false));
  });

  test('a token is used once, and an unknown session is no fault', async () => {
    const token = await signed({ sid: 'never seen' });
    expect((await logout(token)).status).toBe(200);
    expect(await logout(token)).toMatchObject({
      status: 400,
      body: { error: 'invalid_request', error_description: 'The token was used before' },
    });
  });

  test('a token that was received and not handled is handled when it is sent again', async () => {
    const token = await signed({ sid: its.login.sid, jti: `unhandled-${its.count}` });
    expect((await logout(token)).status).toBe(200);
    await its.app.get(DataSource).getRepository(SessionSignalEntity).update({ handled: 1 }, { handled: 0 });
    expect((await logout(token)).status).toBe(200);
    expect((await logout(token)).status).toBe(400);
  });

  describe('the cleanup', () => {
    test('deletes signals that have expired, and logins whose sessions have ended', async () => {
      const manager = its.app.get(DataSource).manager;
      const kept = await create(its.login);
      const gone = await create(its.login);
      await its.sessions.destroy(gone.session.id);
      await manager
        .createQueryBuilder()
        .update(SessionProviderEntity)
        .set({ createdAt: new Date(0) })
        .execute();
      await logout(signed({ sid: 'expired' }));
      const young = await create({ ...its.login, sid: 'young' });
      await its.sessions.destroy(young.session.id);
      await manager
        .createQueryBuilder()
        .update(SessionSignalEntity)
        .set({ expiresAt: new Date(0) })
        .execute();
      expect((await its.app.get(SessionCleanup).run()).signals).toBeGreaterThan(0);
      expect(await manager.count(SessionSignalEntity)).toBe(0);
      const ids = (await manager.find(SessionProviderEntity)).map(({ sessionId }) => sessionId);
      expect(ids).toEqual(expect.arrayContaining([kept.session.id, young.session.id]));
      expect(ids).not.toContain(gone.session.id);
    });
  });
});

onEachAdapter((databaseName, adapter) => {
  const its = scene(databaseName, adapter);
  const { create, signed, send, logout, isAlive } = its;

  const ago = (seconds: number) => Math.floor(Date.now() / 1000) - seconds;
  test.each([
    ['with a nonce', 'nonce', { nonce: 'n' }, TYPE],
    ['without events', 'events must be', { events: undefined }, TYPE],
    ['with another event', 'event of a logout', { events: { 'https://id.example/other': {} } }, TYPE],
    ['with an event that is no object', 'event of a logout', { events: { [LOGOUT_EVENT]: true } }, TYPE],
    ['for another audience', 'audience', { aud: 'somebody' }, TYPE],
    ['without an audience', 'audience', { aud: undefined }, TYPE],
    ['of another issuer', 'from this issuer', { iss: 'https://id.example' }, TYPE],
    ['without a jti', 'jti', { jti: undefined }, TYPE],
    ['without an iat', 'iat must be', { iat: undefined }, TYPE],
    ['that is too old', 'too old', { iat: ago(700) }, TYPE],
    ['of the future', 'in the future', { iat: ago(-120) }, TYPE],
    ['that has expired', 'has expired', { exp: ago(120) }, TYPE],
    ['with neither sub nor sid', 'neither', { sid: undefined }, TYPE],
    ['with a sid that is no text', 'must be texts', { sid: 7 }, TYPE],
    ['with the type of an access token', 'type of the token', {}, { typ: 'at+jwt' }],
    ['with a critical extension', 'signed', {}, { ...TYPE, crit: ['b64'], b64: true }],
  ])('a token %s is refused', async (_, fault, claims, header) => {
    const session = await create(its.login);
    const { status, body, headers } = await logout(signed({ sid: its.login.sid, ...claims }, header));
    expect([status, headers.get('cache-control')]).toEqual([400, 'no-store']);
    expect(body).toEqual({ error: 'invalid_request', error_description: expect.stringContaining(fault) });
    expect(await isAlive(session)).toBe(true);
  });

  test('a token with the type of any JWT, or without one, is accepted: the type is only recommended', async () => {
    for (const header of [{ typ: 'JWT' }, {}, { typ: 'application/logout+jwt' }])
      expect((await logout(signed({ sid: its.login.sid }, header))).status).toBe(200);
  });

  test('a forged token is refused', async () => {
    const [header, payload, signature] = (await signed({ sid: its.login.sid })).split('.');
    const other = Buffer.from(JSON.stringify({ iss: its.provider.issuer, aud: CLIENT, sid: 'x' })).toString(
      'base64url',
    );
    const none = `${Buffer.from('{"alg":"none","typ":"logout+jwt"}').toString('base64url')}.${payload}.`;
    const { kid } = JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string };
    const symmetric = await new SignJWT({ iss: its.provider.issuer, aud: CLIENT, events: EVENTS, sid: 'x', jti: 'x' })
      .setProtectedHeader({ alg: 'HS256', kid, ...TYPE })
      .setIssuedAt()
      .sign(Buffer.alloc(32, 7));
    for (const token of [`${header}.${other}.${signature}`, none, symmetric, 'x.y.z', '', 'x'.repeat(70_000)])
      expect([token.length, (await logout(token)).status]).toEqual([
        token.length,
        token.length > 60_000 ? expect.any(Number) : 400,
      ]);
  });

  test.each([
    ['no body', '', 'application/x-www-form-urlencoded'],
    ['no token', 'other=1', 'application/x-www-form-urlencoded'],
    ['two tokens', 'logout_token=a&logout_token=b', 'application/x-www-form-urlencoded'],
    ['JSON without a token', '{"logout_token":7}', 'application/json'],
  ])('a request with %s is refused', async (_, body, type) => {
    expect((await send(body, type)).status).toBe(400);
  });

  test('a key that the provider has added is found', async () => {
    await its.provider.rotate();
    const session = await create(its.login);
    expect((await logout(signed({ sid: its.login.sid }))).status).toBe(200);
    expect(await isAlive(session)).toBe(false);
  });

  test('if the keys cannot be loaded, the answer is 503, and the token can be sent again', async () => {
    const session = await create(its.login);
    its.provider.status = 500;
    await its.provider.rotate();
    const token = await signed({ sid: its.login.sid });
    const { status, headers } = await logout(token);
    expect([status, headers.get('retry-after')]).toEqual([503, '1']);
    its.provider.status = 200;
    expect((await logout(token)).status).toBe(200);
    expect(await isAlive(session)).toBe(false);
  });

  test('made-up keys do not make it ask the provider at each request', async () => {
    const before = its.provider.asked;
    const startedAt = performance.now();
    await Promise.all(
      Array.from({ length: 20 }, (_, at) => logout(signed({ sid: 'x' }, { ...TYPE, kid: `made-up-${at}` }))),
    );
    expect(its.provider.asked - before).toBeLessThanOrEqual(2 + (performance.now() - startedAt) / 1000);
  });

  test('a login at a provider that is not configured is refused', async () => {
    await expect(create({ issuer: 'https://id.example', subject: 'x' })).rejects.toThrow(
      MultiSessionConfigurationError,
    );
    await expect(create({ issuer: its.provider.issuer, subject: '' })).rejects.toThrow(MultiSessionConfigurationError);
  });
});

describe('the options', () => {
  const issuer = 'https://id.example';
  const good = { issuer, jwksUri: `${issuer}/jwks`, backChannelLogout: { audience: 'x' } };
  const faultOf = (options: object) =>
    startApp({ options }).then(
      async (app) => (await app.close(), 'started'),
      (error: unknown) => (error as MultiSessionConfigurationError).faults.join('\n'),
    );

  test.each([
    ['without routes', { identityProviders: [good] }, /needs the static option signals/],
    ['without providers', { signals: true }, /signals: needs identityProviders/],
    ['an empty list', { signals: true, identityProviders: [] }, /must be a list/],
    ['no way', { signals: true, identityProviders: [{ issuer }] }, /does nothing; set at least one/],
    ['no keys', { signals: true, identityProviders: [{ ...good, jwksUri: undefined }] }, /jwksUri: is missing/],
    ['http', { signals: true, identityProviders: [{ ...good, jwksUri: 'http://id.example/jwks' }] }, /https:\/\//],
    ['no audience', { signals: true, identityProviders: [{ ...good, backChannelLogout: {} }] }, /audience: is missing/],
    [
      'a symmetric algorithm',
      { signals: true, identityProviders: [{ ...good, algorithm: 'HS256' }] },
      /algorithm: must be/,
    ],
    ['an issuer twice', { signals: true, identityProviders: [good, good] }, /names the issuer .* twice/],
    [
      'a short token',
      { signals: true, identityProviders: [{ issuer, globalTokenRevocation: { tokens: 'short' } }] },
      /at least 32 characters/,
    ],
  ])('%s stop the start', async (_, options, fault) => {
    expect(await faultOf(options)).toMatch(fault);
  });

  test('without them, there are no routes', async () => {
    const app = await startApp();
    for (const route of ['logout', 'events', 'revoke'])
      expect((await app.request('POST', `/api/session/signals/${route}`)).status).toBe(404);
    await app.close();
  });
});
