import { calculateJwkThumbprint, decodeJwt } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { All, Controller, Get, UseGuards } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  type AccessCall,
  AccessVerifier,
  CurrentSession,
  JwtAuthGuard,
  OptionalSession,
  type SessionClaims,
  SessionService,
} from 'nestjs-multisession';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { ACCESS_COOKIE } from '../helpers/cookies.js';
import { proofKeys, ProvingClient } from '../helpers/dpop.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

@Controller('notes')
@UseGuards(JwtAuthGuard)
class NotesController {
  @All()
  notes(@CurrentSession() { userId, confirmation }: SessionClaims) {
    return { userId, confirmation };
  }

  @Get('optional')
  @OptionalSession()
  optional(@CurrentSession('userId') userId?: string) {
    return { userId: userId ?? null };
  }
}

const POLICIES = {
  LONG: { refreshTokenLifetime: '30d', binding: 'prefer' },
  STRICT: { refreshTokenLifetime: '30d', binding: 'require' },
  CHECKED: { refreshTokenLifetime: '30d', binding: 'prefer', accessCheck: 'session' },
  PLAIN: { refreshTokenLifetime: '30d' },
} as const;

const ALGS = 'algs="ES256 ES384 EdDSA Ed25519 PS256 RS256"';
const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY };

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let client: ProvingClient;
  const login = async (session = 'LONG', by = client) => {
    const { status, body } = await by.post('login/', { ...LOGIN, session });
    expect([status, body]).toEqual([200, expect.anything()]);
    return body as { access: string; refresh: string; session_id: string; token_type?: string };
  };
  const refresh = (token: string, by: ProvingClient | TestApp = client) =>
    by.post('refresh/', { refresh: token, secret_key: SECRET_KEY });
  const jkt = ({ keys }: ProvingClient) => calculateJwkThumbprint(keys.jwk);

  beforeAll(async () => {
    app = await startApp({
      databaseName,
      adapter,
      options: { policies: POLICIES, cookies: true, backendKeys: 'a backend key of the tests' },
      controllers: [NotesController],
      // Two guards check each request, and must not take its proof for a replay.
      providers: [{ provide: APP_GUARD, useExisting: JwtAuthGuard }],
      configure: (nest) => nest.enableCors({ origin: 'https://spa.example', exposedHeaders: ['X-Own'] }),
    });
  });
  beforeEach(() => {
    client = new ProvingClient(app);
  });
  afterAll(() => app?.close());

  describe('a login with a proof', () => {
    test('binds the session and its access token to the key', async () => {
      const { access, session_id, token_type } = await login();
      expect(token_type).toBe('DPoP');
      expect(decodeJwt(access)).toMatchObject({ cnf: { jkt: await jkt(client) } });
      expect((await app.get(SessionService).get(session_id))?.bound).toBe(true);
      expect(await client.send('GET', '/notes?page=1', { token: access })).toMatchObject({
        status: 200,
        body: { userId: 'alice', confirmation: await jkt(client) },
      });
    });

    test('needs a nonce first', async () => {
      const answer = await app.post(
        'login/',
        { ...LOGIN, session: 'LONG' },
        client.headers('POST', '/api/session/login/'),
      );
      expect(answer).toMatchObject({ status: 400, body: { error: 'use_dpop_nonce', code: 'use_dpop_nonce' } });
      const nonce = answer.headers.get('dpop-nonce');
      expect(nonce).toBe(answer.body.nonce);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(answer.headers.get('www-authenticate')).toBeNull();
    });

    test('that is not valid is refused, and the password is not checked', async () => {
      const { asked } = app.users;
      const headers = client.headers('GET', '/api/session/login/');
      const answer = await app.post('login/', { ...LOGIN, session: 'LONG' }, headers);
      expect(answer).toMatchObject({ status: 400, body: { error: 'invalid_dpop_proof', code: 'invalid_dpop_proof' } });
      expect(app.users.asked).toBe(asked);
    });

    test('of a type that does not bind gives bearer tokens, as does one without a proof', async () => {
      for (const { access, ...answer } of [await login('PLAIN'), await app.login()]) {
        expect(answer).not.toHaveProperty('token_type');
        expect(decodeJwt(access)).not.toHaveProperty('cnf');
        expect(await app.request('GET', '/notes', { headers: bearer(access) })).toMatchObject({ status: 200 });
      }
    });

    test('is demanded by a type that requires it', async () => {
      const { asked } = app.users;
      const refused = await app.post('login/', { ...LOGIN, session: 'STRICT' });
      expect(refused).toMatchObject({ status: 401, body: { code: 'device_proof_required' } });
      expect(app.users.asked).toBe(asked);
      expect((await login('STRICT')).token_type).toBe('DPoP');
    });

    test('in cookies is not bound: a page cannot read the token that the proof must name', async () => {
      const headers = {
        ...client.headers('POST', '/api/session/login/'),
        'x-session-transport': 'cookie',
        'sec-fetch-site': 'same-origin',
      };
      const { status, body } = await app.post('login/', { ...LOGIN, session: 'LONG' }, headers);
      expect(status).toBe(200);
      expect(await app.get(SessionService).get(body.session_id)).toMatchObject({ bound: false });
    });
  });

  describe('a bound access token', () => {
    test('is refused as a bearer token, with and without a proof', async () => {
      const { access } = await login();
      const proof = { dpop: client.proof('GET', '/notes', access) };
      for (const headers of [bearer(access), { ...bearer(access), ...proof }]) {
        const answer = await app.request('GET', '/notes', { headers });
        expect(answer).toMatchObject({ status: 401, body: { code: 'device_proof_required' } });
        expect(answer.headers.get('www-authenticate')).toBe(
          `DPoP error="invalid_token", error_description="Invalid DPoP key binding", ${ALGS}`,
        );
      }
    });

    test('is refused without a proof', async () => {
      const { access } = await login();
      const answer = await app.request('GET', '/notes', { headers: { authorization: `DPoP ${access}` } });
      expect(answer).toMatchObject({ status: 401, body: { code: 'invalid_dpop_proof', error: 'invalid_dpop_proof' } });
      expect(answer.headers.get('www-authenticate')).toBe(`DPoP error="invalid_dpop_proof", ${ALGS}`);
    });

    test('is refused without a nonce, which the answer has', async () => {
      const { access } = await login();
      const stranger = new ProvingClient(app, client.keys);
      const answer = await app.request('GET', '/notes', { headers: stranger.headers('GET', '/notes', access) });
      expect(answer).toMatchObject({ status: 401, body: { code: 'use_dpop_nonce', error: 'use_dpop_nonce' } });
      expect(answer.headers.get('www-authenticate')).toBe(`DPoP error="use_dpop_nonce", ${ALGS}`);
      stranger.nonce = answer.headers.get('dpop-nonce') ?? '';
      const headers = stranger.headers('GET', '/notes', access);
      expect(await app.request('GET', '/notes', { headers })).toMatchObject({ status: 200 });
    });

    test('is refused with the proof of another key, another token, another request, or one that was used', async () => {
      const { access } = await login();
      const { access: other } = await login();
      const thief = new ProvingClient(app);
      thief.nonce = client.nonce;
      const send = (dpop: string) =>
        app.request('GET', '/notes', { headers: { authorization: `DPoP ${access}`, dpop } });
      const valid = client.proof('GET', '/notes', access);
      expect(await send(valid)).toMatchObject({ status: 200 });
      expect(await send(valid)).toMatchObject({ status: 401, body: { code: 'invalid_dpop_proof' } });
      expect(await send(thief.proof('GET', '/notes', access))).toMatchObject({
        status: 401,
        body: { code: 'device_proof_required' },
      });
      for (const proof of [
        client.proof('GET', '/notes', other),
        client.proof('GET', '/notes'),
        client.proof('POST', '/notes', access),
        client.proof('GET', '/notes/optional', access),
        `${client.proof('GET', '/notes', access)}, ${client.proof('GET', '/notes', access)}`,
      ])
        expect(await send(proof)).toMatchObject({ status: 401, body: { code: 'invalid_dpop_proof' } });
    });

    test('is refused if the header DPoP is there twice', async () => {
      const { access } = await login();
      const headers = new Headers({ authorization: `DPoP ${access}` });
      headers.append('dpop', client.proof('GET', '/notes', access));
      headers.append('dpop', client.proof('GET', '/notes', access));
      const answer = await fetch(`${app.url}/notes`, { headers });
      expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([401, 'invalid_dpop_proof']);
    });

    test('is refused in a cookie', async () => {
      const { access } = await login();
      const headers = { cookie: `${ACCESS_COOKIE}=${access}` };
      for (const more of [undefined, { dpop: client.proof('GET', '/notes', access) }])
        expect(await app.request('GET', '/notes', { headers: { ...headers, ...more } })).toMatchObject({
          status: 401,
          body: { code: 'device_proof_required' },
        });
    });

    test('works on every route that takes an access token, and with every check of the policy', async () => {
      for (const type of ['LONG', 'CHECKED']) {
        const { access, session_id } = await login(type);
        const answer = await client.send('GET', '/api/session/sessions', { token: access });
        expect(answer).toMatchObject({ status: 200 });
        expect(answer.body[0]).toMatchObject({ id: session_id, current: true, bound: true });
        expect(await app.request('GET', '/api/session/sessions', { headers: bearer(access) })).toMatchObject({
          status: 401,
        });
        await app.get(SessionService).destroy(session_id);
        expect(await client.send('GET', '/notes', { token: access })).toMatchObject({
          status: 401,
          body: { code: 'token_not_valid' },
        });
      }
    });

    test('of another scheme than DPoP, or an unbound token under DPoP, is refused', async () => {
      const { access } = await app.login();
      const answer = await client.send('GET', '/notes', { token: access });
      expect(answer).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
    });

    test('is refused by a verifier that is given no call, or another call with the same proof', async () => {
      const { access } = await login();
      const sessions = app.get(SessionService);
      expect(() => sessions.verifyClaims(decodeJwt(access))).toThrow('bound to a device');
      const proof = client.proof('GET', '/notes', access);
      const call: AccessCall = { method: 'GET', url: `${app.url}/notes`, proof };
      const verifier = app.get<AccessVerifier>(AccessVerifier as never);
      expect(() => verifier.verify(access)).toThrow('bound to a device');
      expect(verifier.verify(access, call)).toMatchObject({ userId: 'alice' });
      expect(verifier.verify(access, call)).toMatchObject({ userId: 'alice' });
      expect(() => verifier.verify(access, { ...call })).toThrow('used before');
    });
  });

  test('a request without credentials is told both schemes', async () => {
    const { headers } = await app.request('GET', '/notes');
    expect(headers.get('www-authenticate')).toBe(`Bearer realm="api", DPoP ${ALGS}`);
    expect(await app.request('GET', '/notes/optional')).toMatchObject({ status: 200, body: { userId: null } });
  });

  test('a page of another origin may read the nonce', async () => {
    const { access } = await login();
    client.nonce = undefined;
    const headers = { ...client.headers('GET', '/notes', access), origin: 'https://spa.example' };
    const answer = await app.request('GET', '/notes', { headers });
    const exposed = answer.headers.get('access-control-expose-headers')?.split(/, */);
    expect(exposed).toEqual(expect.arrayContaining(['X-Own', 'WWW-Authenticate', 'DPoP-Nonce']));
  });

  describe('a refresh of a bound session', () => {
    test('needs a proof by the same key, and gives bound tokens', async () => {
      const first = await login();
      const { status, body } = await refresh(first.refresh);
      expect([status, body.token_type]).toEqual([200, 'DPoP']);
      expect(decodeJwt(body.access)).toMatchObject({ cnf: { jkt: await jkt(client) } });
      expect(await client.send('GET', '/notes', { token: body.access })).toMatchObject({ status: 200 });
    });

    test('without one, or by another key, is refused, and the session goes on', async () => {
      const first = await login();
      const thief = new ProvingClient(app);
      for (const by of [app, thief])
        expect(await refresh(first.refresh, by)).toMatchObject({
          status: 401,
          body: { code: 'device_proof_required' },
        });
      expect(await refresh(first.refresh)).toMatchObject({ status: 200 });
    });

    test('with a proof that is not valid is refused with 400', async () => {
      const first = await login();
      const headers = { dpop: client.proof('GET', '/api/session/refresh/') };
      const body = { refresh: first.refresh, secret_key: SECRET_KEY };
      expect(await app.post('refresh/', body, headers)).toMatchObject({
        status: 400,
        body: { error: 'invalid_dpop_proof' },
      });
    });
  });

  test('a refresh of an unbound session ignores a proof', async () => {
    const { status, body } = await refresh((await app.login()).refresh);
    expect([status, body.token_type]).toEqual([200, undefined]);
  });

  test('a reauthentication binds the new session to the same key', async () => {
    const { access } = await login();
    const credentials = { username: 'alice', password: 'alice-password' };
    const { status, body } = await client.post('reauthenticate/', credentials, access);
    expect([status, body.token_type]).toEqual([200, 'DPoP']);
    expect(decodeJwt(body.access)).toMatchObject({ cnf: { jkt: await jkt(client) } });
    expect(await client.send('GET', '/notes', { token: body.access })).toMatchObject({ status: 200 });
  });

  test('introspection answers the key and the type of a bound token', async () => {
    const { access } = await login();
    const body = { token: access, secret_key: 'a backend key of the tests' };
    expect(await app.post('verify/', body)).toMatchObject({
      status: 200,
      body: { active: true, token_type: 'DPoP', cnf: { jkt: await jkt(client) } },
    });
    const { access: unbound } = await app.login();
    expect((await app.post('verify/', { ...body, token: unbound })).body).toMatchObject({ token_type: 'Bearer' });
  });

  test('a client may use another algorithm', async () => {
    for (const alg of ['EdDSA', 'PS256']) {
      const other = new ProvingClient(app, proofKeys(alg));
      const { access } = await login('LONG', other);
      expect(await other.send('GET', '/notes', { token: access })).toMatchObject({ status: 200 });
    }
  });
});
