import { generateKeyPairSync } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import express from 'express';
import fastify from 'fastify';
import { SessionService } from 'nestjs-multisession';
import { redisPush } from 'nestjs-multisession/redis';
import { createVerifier, RefusedError, type Verifier, type VerifierOptions } from 'nestjs-multisession/verifier';
import { Keyring } from '../../lib/token/keyring.js';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { until } from '../helpers/until.js';

const BACKEND_KEY = 'the backend key of the services';
const PUSH_KEY = 'the push key of the tests, of more than thirty-two bytes';
const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

describe('a verifier', () => {
  let issuer: TestApp;
  let url: string;
  const open: { close(): unknown }[] = [];
  const warnings: string[] = [];

  const verifierOf = async (more: Partial<VerifierOptions> = {}): Promise<Verifier> => {
    const logger = { warn: (text: string) => void warnings.push(text) };
    const verify = await createVerifier({ issuer: url, backendKey: BACKEND_KEY, audience: 'notes', logger, ...more });
    open.push(verify);
    return verify;
  };
  const refusal = async (verdict: Promise<unknown>) => {
    const error = await verdict.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(RefusedError);
    return error as RefusedError;
  };

  beforeAll(async () => {
    issuer = await startApp({
      databaseName: selectedDatabases()[0],
      options: {
        jwt: { keys: [{ algorithm: 'ES256', privateKey: newKey() }], audience: 'notes' },
        backendKeys: BACKEND_KEY,
        revocation: { pushKey: PUSH_KEY },
      },
    });
    url = `${issuer.url}/api/session`;
  });
  afterEach(async () => {
    warnings.splice(0);
    for (const each of open.splice(0)) await each.close();
  });
  afterAll(() => issuer?.close());

  test.each(['Node.js', 'Express', 'Fastify'])('works with %s', async (framework) => {
    const verify = await verifierOf();
    let server: Server;
    if (framework === 'Node.js') {
      server = createServer((request, response) => {
        verify(request).then(
          ({ userId }) => response.end(JSON.stringify({ userId })),
          (e: RefusedError) => response.writeHead(e.status, { ...e.headers }).end(JSON.stringify(e.body)),
        );
      });
    } else if (framework === 'Express') {
      const app = express().get('/', (request, response) => {
        verify(request).then(
          ({ userId }) => response.json({ userId }),
          (e: RefusedError) => response.status(e.status).set(e.headers).json(e.body),
        );
      });
      server = createServer(app);
    } else {
      const app = fastify().get('/', async (request, reply) => {
        try {
          return { userId: (await verify(request)).userId };
        } catch (error) {
          const e = error as RefusedError;
          return reply.status(e.status).headers(e.headers).send(e.body);
        }
      });
      await app.ready();
      server = app.server;
    }
    await once(server.listen(0, '127.0.0.1'), 'listening');
    open.push(server);
    const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const { access } = await issuer.login();
    expect(await (await fetch(at, { headers: bearer(access) })).json()).toEqual({ userId: 'alice' });
    const refused = await fetch(at, { headers: bearer('nonsense') });
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer error="invalid_token"']);
    expect(await refused.json()).toEqual({
      statusCode: 401,
      error: 'Unauthorized',
      message: 'Token is invalid or expired',
      code: 'token_not_valid',
    });
  });

  test('works with requests of the Fetch API', async () => {
    const verify = await verifierOf();
    const { access } = await issuer.login();
    expect(await verify(new Request('https://notes.example/', { headers: bearer(access) }))).toMatchObject({
      userId: 'alice',
    });
    const response = (await refusal(verify(new Request('https://notes.example/')))).toResponse();
    expect([response.status, await response.json()]).toEqual([
      401,
      expect.objectContaining({ code: 'not_authenticated' }),
    ]);
  });

  test('answers as the guard of the issuer does', async () => {
    const verify = await verifierOf({ cookies: true });
    const { access } = await issuer.login();
    const carriers = [
      {},
      { authorization: 'Bearer' },
      { authorization: 'Basic abc' },
      { authorization: `JWT ${access}` },
      { authorization: `bearer  ${access}` },
      { authorization: `Bearer ${access}.` },
      { authorization: `Bearer ${access.slice(0, -4)}AAAA` },
    ];
    for (const headers of carriers) {
      const theirs = await issuer.request('GET', '/api/session/sessions', {
        headers: headers as Record<string, string>,
      });
      const ours = await verify({ method: 'GET', headers }).then(
        () => ({ status: 200, code: undefined }),
        (error: RefusedError) => error,
      );
      expect([headers, ours.status, ours.code]).toEqual([headers, theirs.status, theirs.body.code]);
    }
  });

  test('tells of endings, until the listener is removed, also if another listener fails', async () => {
    const verify = await verifierOf();
    const [seen, removed]: string[][] = [[], []];
    verify.onEnded(() => {
      throw new Error('a listener of the test');
    });
    verify.onEnded((id) => seen.push(id));
    verify.onEnded((id) => removed.push(id))();
    const { access, session_id: id } = await issuer.login();
    expect(await verify.token(access)).toMatchObject({ sessionId: id });
    await issuer.get(SessionService).destroy(id);
    await until(() => seen.includes(id));
    expect(removed).toEqual([]);
    expect(new Set(warnings)).toEqual(new Set(['a listener of ended sessions failed: a listener of the test']));
    expect((await refusal(verify.token(access))).code).toBe('token_not_valid');
  });

  test('accepts the first token of a new key, and refuses those of a removed one once it has loaded the keys again', async () => {
    const verify = await verifierOf();
    const old = await issuer.login();
    const keyring = issuer.get(Keyring);
    const privateKey = newKey();
    const { createPublicKey } = await import('node:crypto');
    const next = {
      kid: 'next',
      algorithm: 'ES256' as const,
      signingKey: privateKey,
      verifyingKey: createPublicKey(privateKey),
    };
    keyring.use([next], 'next');
    const fresh = await issuer.login();
    expect(await verify.token(fresh.access)).toMatchObject({ userId: 'alice' });
    expect(await verify.token(old.access)).toMatchObject({ userId: 'alice' });
    keyring.use([]);
    const later = await verifierOf();
    expect((await refusal(later.token(fresh.access))).code).toBe('token_not_valid');
  });

  test('refuses a bound token without its proof', async () => {
    const verify = await verifierOf();
    const { access } = await issuer.login();
    const claims = JSON.parse(Buffer.from(access.split('.')[1], 'base64url').toString()) as Record<string, unknown>;
    const bound = issuer.get(Keyring).sign({ ...claims, cnf: { jkt: 'x' } }, 'at+jwt');
    expect((await refusal(verify.token(bound))).code).toBe('device_proof_required');
  });

  test('is told of an ending by Redis, and forgets a push that the feed does not confirm', async () => {
    const channel = `verifier-${process.pid}`;
    const redis = process.env.TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';
    const verify = await verifierOf({ push: redisPush({ url: redis, channel }), pushKey: PUSH_KEY });
    const { PushMessages } = await import('../../lib/revocation/push-message.js');
    const { access, session_id: sessionId } = await issuer.login();
    const now = Date.now();
    const entry = { sessionId, userId: 'alice', reason: 'logout', expiresAt: now + 600_000 };
    const sender = redisPush({ url: redis, channel });
    open.push({ close: () => sender.stop() });
    await sender.start(() => undefined);
    const isRefused = () =>
      verify.token(access).then(
        () => false,
        () => true,
      );
    await until(async () => {
      for (const message of new PushMessages([PUSH_KEY]).write([entry], now)) await sender.publish(message);
      return isRefused();
    });
    await until(async () => !(await isRefused()));
  });

  test('warns once if the issuer has no public key, refuses its key, or is away', async () => {
    const symmetric = await startApp({ databaseName: selectedDatabases()[0], options: { backendKeys: BACKEND_KEY } });
    open.push(symmetric);
    const verify = await verifierOf({ issuer: `${symmetric.url}/api/session` });
    expect(verify.health()).toMatchObject({ status: 'down', stale: false, keys: 0 });
    await verifierOf({ backendKey: 'another key of the services' });
    await verifierOf({ issuer: `${issuer.url}/nowhere` });
    expect(
      warnings.map(
        (text) =>
          /no public keys|answered 401; check that backendKey|revocations: .* 404; check that issuer|keys cannot be loaded/.exec(
            text,
          )?.[0],
      ),
    ).toEqual(['no public keys', 'answered 401; check that backendKey', expect.anything(), expect.anything()]);
  });

  test('refuses with 503 after it was closed', async () => {
    const verify = await verifierOf({ maxStaleness: '200ms' });
    const { access } = await issuer.login();
    await until(() =>
      verify.token(access).then(
        () => true,
        () => false,
      ),
    );
    await verify.close();
    await until(() =>
      verify.token(access).then(
        () => false,
        (error: RefusedError) => error.status === 503,
      ),
    );
  });
});
