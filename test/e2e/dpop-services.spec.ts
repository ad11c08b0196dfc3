import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Controller, Get, type INestApplication, UseGuards } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import express from 'express';
import fastify from 'fastify';
import { SessionService } from 'nestjs-multisession';
import {
  CurrentSession,
  JwtAuthGuard,
  ResourceServerModule,
  type SessionClaims,
} from 'nestjs-multisession/resource-server';
import { type AccessCall, createVerifier, RefusedError, type Verifier } from 'nestjs-multisession/verifier';
import { SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { ProvingClient } from '../helpers/dpop.js';
import { onEachAdapter } from '../helpers/matrix.js';
import { requestsTo } from '../helpers/requests.js';
import { until } from '../helpers/until.js';

const BACKEND_KEY = 'the backend key of the services';
const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG' };
const ALGS = 'algs="ES256 ES384 EdDSA Ed25519 PS256 RS256"';

@Controller('notes')
@UseGuards(JwtAuthGuard)
class NotesController {
  @Get()
  notes(@CurrentSession() { userId, confirmation }: SessionClaims) {
    return { userId, confirmation };
  }
}

let issuer: TestApp;
const opened: { close(): unknown }[] = [];
const options = (more: object = {}) => ({
  issuer: `${issuer.url}/api/session`,
  backendKey: BACKEND_KEY,
  audience: 'notes',
  ...more,
});

beforeAll(async () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const policy = { refreshTokenLifetime: '30d', binding: 'prefer' } as const;
  issuer = await startApp({
    options: {
      jwt: { keys: [{ algorithm: 'ES256', privateKey }], audience: 'notes' },
      backendKeys: BACKEND_KEY,
      policies: { LONG: policy, EXACT: { ...policy, accessCheck: 'session' } },
    },
  });
});
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});
afterAll(() => issuer?.close());

/** Logs in with a proof, and returns a client of the same key for a service. */
async function logIn(service: string, origin = service, session = 'LONG') {
  const client = new ProvingClient(issuer);
  const { body } = await client.post('login/', { ...LOGIN, session });
  const { access: token, session_id: sessionId } = body as { access: string; session_id: string };
  return { client: new ProvingClient(requestsTo(service), client.keys, origin), token, sessionId };
}

async function serve(server: Server): Promise<string> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  opened.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function verifierOf(more: object = {}): Promise<Verifier> {
  const verify = await createVerifier(options(more));
  opened.push(verify);
  return verify;
}

/** Starts a service in a framework, which answers as the documentation says. */
const SERVICES: Record<string, (verify: Verifier) => Promise<string>> = {
  'Node.js': (verify) => serve(createServer(nodeListener(verify))),
  Express: (verify) =>
    serve(
      createServer(
        express().use('/notes', (request, response) => {
          verify(request).then(
            ({ userId }) => response.set(verify.answerHeaders(request)).json({ userId }),
            (e: RefusedError) => response.status(e.status).set(e.headers).json(e.body),
          );
        }) as RequestListener,
      ),
    ),
  Fastify: async (verify) => {
    const app = fastify().get('/notes', async (request, reply) => {
      try {
        const { userId } = await verify(request);
        return await reply.headers(verify.answerHeaders(request)).send({ userId });
      } catch (error) {
        const e = error as RefusedError;
        return reply.status(e.status).headers(e.headers).send(e.body);
      }
    });
    await app.ready();
    return serve(app.server);
  },
  'the Fetch API': (verify) =>
    serve(
      createServer((incoming, outgoing) => {
        const request = new Request(`http://${incoming.headers.host}${incoming.url}`, {
          method: incoming.method,
          headers: incoming.headers as Record<string, string>,
        });
        void verify(request)
          .then(({ userId }) => Response.json({ userId }, { headers: verify.answerHeaders(request) }))
          .catch((error: RefusedError) => error.toResponse())
          .then(async (answer) =>
            outgoing.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text()),
          );
      }),
    ),
};

function nodeListener(verify: Verifier): RequestListener {
  return (request, response) => {
    const answer = (status: number, headers: object, body: object) =>
      response.writeHead(status, { ...headers, 'content-type': 'application/json' }).end(JSON.stringify(body));
    verify(request).then(
      ({ userId }) => answer(200, verify.answerHeaders(request), { userId }),
      (e: RefusedError) => answer(e.status, e.headers, e.body),
    );
  };
}

describe.each(Object.keys(SERVICES))('a service with %s', (framework) => {
  test('accepts a bound token with a proof of its request, once', async () => {
    const url = await SERVICES[framework](await verifierOf());
    const { client, token } = await logIn(url);
    const first = await requestsTo(url).request('GET', '/notes', { headers: client.headers('GET', '/notes', token) });
    expect([first.status, first.body]).toEqual([
      401,
      {
        statusCode: 401,
        error: 'use_dpop_nonce',
        code: 'use_dpop_nonce',
        message: 'Send a DPoP proof with the nonce of the header DPoP-Nonce',
        nonce: first.headers.get('dpop-nonce'),
      },
    ]);
    expect(first.headers.get('www-authenticate')).toBe(`DPoP error="use_dpop_nonce", ${ALGS}`);
    client.nonce = first.body.nonce;
    const headers = client.headers('GET', '/notes', token);
    const send = (more: object = {}) => requestsTo(url).request('GET', '/notes', { headers: { ...headers, ...more } });
    expect(await send()).toMatchObject({ status: 200, body: { userId: 'alice' } });
    expect(await send()).toMatchObject({ status: 401, body: { code: 'invalid_dpop_proof' } });
    expect(await send({ dpop: client.proof('GET', '/other', token) })).toMatchObject({
      status: 401,
      body: { error: 'invalid_dpop_proof', message: 'The DPoP proof is not valid: htu is not the URL of the request' },
    });
  });
});

describe('a verifier', () => {
  let verify: Verifier;
  let url: string;
  let client: ProvingClient;
  let token: string;

  beforeEach(async () => {
    verify = await verifierOf();
    url = await SERVICES['Node.js'](verify);
    ({ client, token } = await logIn(url));
    expect(await client.send('GET', '/notes', { token })).toMatchObject({ status: 200 });
  });
  const send = async (headers: Record<string, string>, method = 'GET') => {
    const { status, body } = await requestsTo(url).request(method, '/notes', { headers });
    return `${status} ${body.code}`;
  };

  test('refuses a bound token without a proof, or with that of another key, token or request', async () => {
    const thief = new ProvingClient(requestsTo(url));
    thief.nonce = client.nonce;
    const { token: other } = await logIn(url);
    const authorization = `DPoP ${token}`;
    const wrong: [Record<string, string>, string, string?][] = [
      [{ authorization: `Bearer ${token}` }, '401 device_proof_required'],
      [{ authorization: `Bearer ${token}`, dpop: client.proof('GET', '/notes', token) }, '401 device_proof_required'],
      [thief.headers('GET', '/notes', token), '401 device_proof_required'],
      [{ authorization }, '401 invalid_dpop_proof'],
      [{ authorization, dpop: client.proof('GET', '/notes', other) }, '401 invalid_dpop_proof'],
      [{ authorization, dpop: client.proof('GET', '/notes') }, '401 invalid_dpop_proof'],
      [client.headers('GET', '/notes', token), '401 invalid_dpop_proof', 'POST'],
      [client.headers('GET', '/notes', `${token}x`), '401 token_not_valid'],
    ];
    for (const [headers, outcome, method] of wrong)
      expect([headers, await send(headers, method)]).toEqual([headers, outcome]);
    expect(await send(client.headers('POST', '/notes?page=1', token), 'POST')).toBe('200 undefined');
  });

  test('refuses an unbound token under the scheme DPoP', async () => {
    const { access } = await issuer.login();
    expect(await send(client.headers('GET', '/notes', access))).toBe('401 token_not_valid');
    expect(await send({ authorization: `Bearer ${access}` })).toBe('200 undefined');
  });

  test('checks a request twice without taking its proof for a replay, also one of the Fetch API', async () => {
    const target = 'https://notes.example/notes';
    const sender = new ProvingClient(requestsTo(url), client.keys, 'https://notes.example');
    sender.nonce = client.nonce;
    const request = new Request(`${target}?page=1`, { headers: sender.headers('GET', '/notes', token) });
    for (let count = 0; count < 2; count++) expect(await verify(request)).toMatchObject({ userId: 'alice' });
    expect(await verify(request.clone()).catch((error: RefusedError) => error.code)).toBe('invalid_dpop_proof');
  });

  test('takes the proof of a handshake for a token that came in another way', async () => {
    const call: AccessCall = { method: 'GET', url: `${url}/notes`, proof: client.proof('GET', '/notes', token) };
    expect(await verify.token(token).catch((error: RefusedError) => error.code)).toBe('device_proof_required');
    for (let count = 0; count < 2; count++) expect(await verify.token(token, call)).toMatchObject({ userId: 'alice' });
    const copy = verify.token(token, { ...call });
    expect(await copy.catch((error: RefusedError) => error.code)).toBe('invalid_dpop_proof');
  });

  test('accepts nonces of another process with the same backend key, and replays only once per process', async () => {
    const other = await SERVICES['Node.js'](await verifierOf({ publicOrigin: url }));
    const headers = client.headers('GET', '/notes', token);
    const outcomes = [];
    for (const at of [url, other, url, other])
      outcomes.push((await requestsTo(at).request('GET', '/notes', { headers })).status);
    expect(outcomes).toEqual([200, 200, 401, 401]);
  });

  test('checks `htu` below `publicOrigin`', async () => {
    const at = await SERVICES['Node.js'](await verifierOf({ publicOrigin: 'https://api.example/v1/' }));
    const sender = new ProvingClient(requestsTo(at), client.keys, 'https://api.example/v1');
    expect(await sender.send('GET', '/notes', { token })).toMatchObject({ status: 200 });
    const direct = new ProvingClient(requestsTo(at), client.keys);
    expect(await direct.send('GET', '/notes', { token })).toMatchObject({ status: 401 });
    const wrong = createVerifier(options({ publicOrigin: 'api.example' }));
    await expect(wrong).rejects.toThrow(
      /options\.publicOrigin: must be an origin such as 'https:\/\/api\.example\.com'; got "api\.example"/,
    );
  });

  test('refuses a bound token of a session that has ended, also of a type whose row is read', async () => {
    for (const type of ['LONG', 'EXACT']) {
      const login = await logIn(url, url, type);
      const status = async () => (await login.client.send('GET', '/notes', login)).status;
      expect(await status()).toBe(200);
      await issuer.get(SessionService).destroy(login.sessionId);
      await until(async () => (await status()) === 401);
    }
  });
});

onEachAdapter((_database, adapter) => {
  describe('a Nest application without the database', () => {
    let service: INestApplication;
    let url: string;

    beforeEach(async () => {
      const moduleRef = await Test.createTestingModule({
        imports: [ResourceServerModule.forRoot(options())],
        controllers: [NotesController],
        // Two guards check each request, and must not take its proof for a replay.
        providers: [{ provide: APP_GUARD, useExisting: JwtAuthGuard }],
      }).compile();
      service =
        adapter === 'fastify'
          ? moduleRef.createNestApplication(new FastifyAdapter(), { logger: false })
          : moduleRef.createNestApplication({ logger: false });
      opened.push(service);
      await service.listen(0, '127.0.0.1');
      url = await service.getUrl();
    });

    test('accepts a bound token with its proof, and refuses it as the issuer does', async () => {
      const { client, token } = await logIn(url);
      const answer = await client.send('GET', '/notes', { token });
      expect(answer).toMatchObject({ status: 200, body: { userId: 'alice', confirmation: expect.any(String) } });
      const refused = async (headers: Record<string, string>) => {
        const { status, body, headers: sent } = await requestsTo(url).request('GET', '/notes', { headers });
        return [status, body.code, sent.get('www-authenticate')];
      };
      const wrongKey = `DPoP error="invalid_token", error_description="Invalid DPoP key binding", ${ALGS}`;
      expect(await refused({ authorization: `Bearer ${token}` })).toEqual([401, 'device_proof_required', wrongKey]);
      const challenge = `DPoP error="invalid_dpop_proof", ${ALGS}`;
      expect(await refused({ authorization: `DPoP ${token}` })).toEqual([401, 'invalid_dpop_proof', challenge]);
      client.nonce = undefined;
      expect((await refused(client.headers('GET', '/notes', token)))[1]).toBe('use_dpop_nonce');
    });
  });
});
