import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Controller, Post, UseGuards } from '@nestjs/common';
import { calculateThumbprint, generateKeyPair, generateProof } from 'dpop';
import { decodeJwt } from 'jose';
import { CurrentSession, JwtAuthGuard, type SessionClaims } from 'nestjs-multisession';
import * as oauth from 'oauth4webapi';
import { SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

/** Clients that know nothing of this library, against the real application. */
@Controller('notes')
@UseGuards(JwtAuthGuard)
class NotesController {
  @Post()
  add(@CurrentSession() { userId, confirmation }: SessionClaims) {
    return { userId, confirmation };
  }
}

const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG' };
const POLICIES = { LONG: { refreshTokenLifetime: '30d', binding: 'require' } } as const;

/** The clock of the client is wrong by an hour, as on many a phone. */
const WRONG_BY = 3600;

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ databaseName, adapter, options: { policies: POLICIES }, controllers: [NotesController] });
  });
  afterAll(() => app?.close());

  test.each(['ES256', 'Ed25519', 'PS256', 'RS256'] as const)('npm dpop with %s', async (alg) => {
    const keys = await generateKeyPair(alg);
    const jkt = await calculateThumbprint(keys.publicKey);
    let nonce: string | undefined;
    const send = async (path: string, body: object, token?: string) => {
      for (;;) {
        const dpop = await generateProof(keys, app.url + path, 'POST', nonce, token);
        const headers = { dpop, ...(token !== undefined && { authorization: `DPoP ${token}` }) };
        const answer = await app.request('POST', path, { body, headers });
        const isAsked = nonce === undefined && answer.body.error === 'use_dpop_nonce';
        nonce = answer.headers.get('dpop-nonce') ?? nonce;
        if (!isAsked) return answer;
      }
    };
    const login = await send('/api/session/login/', LOGIN);
    expect([login.status, login.body.token_type]).toEqual([200, 'DPoP']);
    const refreshed = await send('/api/session/refresh/', { refresh: login.body.refresh, secret_key: SECRET_KEY });
    expect([refreshed.status, refreshed.body.token_type]).toEqual([200, 'DPoP']);
    const { status, body } = await send('/notes', {}, refreshed.body.access);
    expect([status, body]).toEqual([201, { userId: 'alice', confirmation: jkt }]);
  });

  test('npm oauth4webapi, which finds the nonce by itself', async () => {
    const server = { issuer: app.url, token_endpoint: `${app.url}/api/session/login/` };
    const client = { client_id: 'an app', [oauth.clockSkew]: WRONG_BY };
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256', { extractable: false }));
    const options = { DPoP, [oauth.allowInsecureRequests]: true };
    const login = () =>
      oauth.genericTokenEndpointRequest(server, client, oauth.None(), 'password', new URLSearchParams(LOGIN), options);
    const refused = await login();
    expect(refused.status).toBe(400);
    const error: unknown = await oauth
      .processGenericTokenEndpointResponse(server, client, refused)
      .catch((reason: unknown) => reason);
    expect(oauth.isDPoPNonceError(error)).toBe(true);
    const answer = await login();
    expect(answer.status).toBe(200);
    const { access, token_type } = (await answer.json()) as { access: string; token_type: string };
    expect(token_type).toBe('DPoP');
    expect(decodeJwt(access)).toMatchObject({ cnf: { jkt: await DPoP.calculateThumbprint() } });

    const notes = () =>
      oauth.protectedResourceRequest(access, 'POST', new URL(`${app.url}/notes?page=1`), undefined, undefined, options);
    expect(await (await notes()).json()).toMatchObject({ userId: 'alice' });
    const other = { ...options, DPoP: oauth.DPoP(client, await oauth.generateKeyPair('ES256')) };
    const foreign = () =>
      oauth.protectedResourceRequest(access, 'POST', new URL(`${app.url}/notes`), undefined, undefined, other);
    expect(oauth.isDPoPNonceError(await foreign().catch((reason: unknown) => reason))).toBe(true);
    const challenge = (await foreign().catch((reason: unknown) => reason)) as oauth.WWWAuthenticateChallengeError;
    expect(challenge.cause[0]).toMatchObject({
      scheme: 'dpop',
      parameters: { error: 'invalid_token', error_description: 'Invalid DPoP key binding' },
    });
  });
});
