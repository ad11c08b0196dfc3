import { generateKeyPairSync } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { CacheInterceptor, CacheModule } from '@nestjs/cache-manager';
import {
  type CallHandler,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  Logger,
  type NestInterceptor,
  ValidationPipe,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { PERMANENT_DEVICE, sessionRouteOf } from 'nestjs-multisession';
import { map, type Observable } from 'rxjs';
import {
  type AdapterName,
  type Answer,
  bearer,
  DEFAULT_OPTIONS,
  SECRET_KEY,
  startApp,
  type TestApp,
  type TestAppOptions,
} from '../helpers/app.js';
import type { DatabaseName } from '../helpers/databases.js';
import { ASKS_FOR_COOKIES, cookieHeader, setCookies } from '../helpers/cookies.js';
import { onEachAdapter } from '../helpers/matrix.js';

/** A route of the application, to show that its own pipes, caches and envelopes work. */
@Controller('counter')
class CounterController {
  private calls = 0;

  @Get()
  count() {
    return { calls: ++this.calls };
  }
}

/** Wraps the answers of all routes, as many applications do. */
@Injectable()
class Envelope implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((data: unknown) => ({ data })));
  }
}

/** The same, but not for the routes of the library. */
@Injectable()
class PoliteEnvelope extends Envelope {
  override intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return sessionRouteOf(context) ? next.handle() : super.intercept(context, next);
  }
}

const allValidated = () => new ValidationPipe({ validateCustomDecorators: true, whitelist: true, transform: true });
const credentials = { username: 'bob', password: 'bob-password', secret_key: SECRET_KEY, session: 'LONG' };

onEachAdapter((databaseName: DatabaseName, adapter: AdapterName) => {
  let app: TestApp;
  const start = async (options: TestAppOptions) =>
    (app = await startApp({ databaseName, adapter, controllers: [CounterController], ...options }));
  afterEach(() => app?.close());

  describe('in an application with a global ValidationPipe that validates custom decorators', () => {
    test.each<[string, TestAppOptions['options'], Record<string, string>, number]>([
      ['the secret key in a header', {}, { 'x-secret-key': SECRET_KEY }, 200],
      // `verify/` refuses every caller then.
      ['no secret key', { secretKey: false }, {}, 401],
    ])('every route with a body answers as without it, with %s', async (_, options, key, verified) => {
      await start({ options, configure: (nest) => nest.useGlobalPipes(allValidated()) });
      const alice = { username: 'alice', password: 'alice-password' };
      const login = async () => (await app.post('login', { ...alice, session: 'LONG' }, key)).body;
      const first = await login();
      const refreshed = await app.post('refresh', { refresh: first.refresh, session: 'LONG' }, key);
      expect(refreshed.status).toBe(200);
      const access = bearer(refreshed.body.access);
      expect((await app.post('list', { session: 'ALL' }, access)).status).toBe(200);
      expect((await app.post('verify', { token: first.access }, key)).status).toBe(verified);
      const other = await login();
      expect((await app.post('sessions/delete-list', { ids: [other.session_id] }, access)).body).toEqual({ ended: 1 });
      const again = await app.post('reauthenticate', alice, access);
      expect(again.status).toBe(200);
      expect(await app.post('logout', { refresh: again.body.refresh }, key)).toMatchObject({ status: 200, body: {} });
    });

    test('a login and a refresh with cookies work', async () => {
      await start({ options: { cookies: true }, configure: (nest) => nest.useGlobalPipes(allValidated()) });
      const login = await app.post('login', credentials, ASKS_FOR_COOKIES);
      expect(login.status).toBe(200);
      const refreshed = await app.post('refresh', { session: 'LONG' }, { ...ASKS_FOR_COOKIES, ...cookiesOf(login) });
      expect(refreshed).toMatchObject({ status: 200, body: { session_id: login.body.session_id } });
    });

    test('a faulty body is still refused by the library, with the names of the fields', async () => {
      await start({ configure: (nest) => nest.useGlobalPipes(allValidated()) });
      const { status, body } = await app.post('login', { username: 'alice', secret_key: SECRET_KEY });
      expect(status).toBe(400);
      expect(Object.keys(body.errors as object).sort()).toEqual(['password', 'session']);
    });
  });

  describe("in an application with Nest's global CacheInterceptor", () => {
    const cached: TestAppOptions = {
      imports: [CacheModule.register({ isGlobal: true, ttl: 60_000 })],
      providers: [{ provide: APP_INTERCEPTOR, useClass: CacheInterceptor }],
    };

    test('nobody gets the sessions of another user', async () => {
      await start(cached);
      const calls = async () => (await app.request('GET', '/counter')).body.calls as number;
      expect([await calls(), await calls()]).toEqual([1, 1]);
      const alice = await app.login();
      const bob = await app.login(credentials);
      const sessionsOf = async ({ access }: { access: string }) =>
        (await app.request('GET', '/api/session/sessions', { headers: bearer(access) })).body as { id: string }[];
      expect((await sessionsOf(alice)).map(({ id }) => id)).toEqual([alice.session_id]);
      expect((await sessionsOf(bob)).map(({ id }) => id)).toEqual([bob.session_id]);
    });

    test('answers of the library are not stored by any cache, refusals included', async () => {
      await start(cached);
      const { access } = await app.login();
      const answers = [
        await app.request('GET', '/api/session/sessions', { headers: bearer(access) }),
        await app.request('GET', '/api/session/sessions'),
        await app.request('DELETE', '/api/session/sessions', { headers: bearer(access) }),
        await app.post('login', {}),
        await app.post('login', { ...credentials, secret_key: 'wrong' }),
        await app.post('verify', { token: access, secret_key: SECRET_KEY }),
      ];
      expect(answers.map(({ status }) => status)).toEqual([200, 401, 200, 400, 401, 200]);
      expect(answers.map(({ headers }) => headers.get('cache-control'))).toEqual(answers.map(() => 'no-store'));
      expect(answers.map(({ headers }) => headers.get('x-cache'))).not.toContain('HIT');
    });
  });

  describe('in an application that wraps every answer', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const options = {
      jwt: {
        keys: [{ kid: 'ec', algorithm: 'ES256', privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) }],
      },
    } as TestAppOptions['options'];

    test('jwks.json stays a JWK Set that jose can read', async () => {
      await start({ options, providers: [{ provide: APP_INTERCEPTOR, useClass: Envelope }] });
      expect((await app.request('GET', '/counter')).body).toEqual({ data: { calls: 1 } });
      const login = await app.post('login', credentials);
      const access = login.body.data.access as string;
      const keys = await app.request('GET', '/api/session/jwks.json');
      expect(keys.body).toEqual({ keys: [expect.objectContaining({ kid: 'ec' })] });
      expect(keys.headers.get('cache-control')).toMatch(/^public, max-age=\d+$/);
      expect(keys.headers.get('content-type')).toMatch(/^application\/json/);
      const known = createRemoteJWKSet(new URL(`${app.url}/api/session/jwks.json`));
      expect((await jwtVerify(access, known, { typ: 'at+jwt' })).payload.sub).toBe('bob');
    });

    test('the application can leave the routes of the library out', async () => {
      await start({ providers: [{ provide: APP_INTERCEPTOR, useClass: PoliteEnvelope }] });
      expect((await app.request('GET', '/counter')).body).toEqual({ data: { calls: 1 } });
      const { access, session_id: id } = await app.login();
      const sessions = await app.request('GET', '/api/session/sessions', { headers: bearer(access) });
      expect(sessions.body).toMatchObject([{ id }]);
    });
  });

  describe('with the header of a JSON body but no body', () => {
    test('every route that reads no body answers', async () => {
      const policies = { ...DEFAULT_OPTIONS.policies, DEVICE: PERMANENT_DEVICE };
      await start({ options: { policies, devices: true, cookies: true } });
      const { access, session_id: own } = await app.login();
      const [second, third] = [await app.login(), await app.login()];
      const remove = (path: string, more: Record<string, string> = {}) =>
        app.request('DELETE', `/api/session/${path}`, { headers: { ...json, ...bearer(access), ...more } });
      expect((await remove(`sessions/${second.session_id}`)).status).toBe(204);
      expect((await remove('sessions')).body).toEqual({ ended: 1 });
      expect((await app.post('list', { session: 'ALL' }, bearer(third.access))).status).toBe(401);

      const device = async () =>
        (await app.post('login', { ...credentials, username: 'alice', password: 'alice-password', session: 'DEVICE' }))
          .body;
      const [first, other] = [await device(), await device()];
      const header = { 'permanent-token': first.permanent_token as string, 'x-secret-key': SECRET_KEY };
      const refreshed = await app.request('POST', '/api/session/device-refresh-token/', {
        headers: { ...json, ...header },
      });
      expect(refreshed).toMatchObject({ status: 200, body: { token: expect.any(String) } });
      expect((await remove(`devices/${other.device_id}/`)).status).toBe(204);
      expect((await remove('device-logout/', { 'device-id': first.device_id })).status).toBe(204);
      expect((await remove(`sessions/${own}`)).status).toBe(204);
    });

    test('a logout with cookies ends the session', async () => {
      await start({ options: { cookies: true } });
      const login = await app.post('login', credentials, ASKS_FOR_COOKIES);
      const cookies = cookiesOf(login);
      const logout = await app.request('POST', '/api/session/logout', {
        headers: { ...json, ...ASKS_FOR_COOKIES, ...cookies },
      });
      expect(logout.status).toBe(200);
      const list = await app.request('GET', '/api/session/sessions', { headers: cookies });
      expect(list.body.code).toBe('token_not_valid');
    });

    test('a route that needs a body names the missing fields', async () => {
      await start({});
      const login = await app.request('POST', '/api/session/login', { headers: json });
      expect(login.status).toBe(400);
      expect(Object.keys(login.body.errors as object)).toContain('username');
    });
  });

  describe('with a global prefix', () => {
    let warnings: string[];
    beforeEach(() => {
      warnings = [];
      jest
        .spyOn(Logger.prototype, 'warn')
        .mockImplementation((message: unknown) => void warnings.push(String(message)));
    });
    afterEach(() => void jest.restoreAllMocks());

    test('that the path repeats, a warning says where the routes are and what to set', async () => {
      await start({ configure: (nest) => nest.setGlobalPrefix('/api') });
      expect((await app.request('GET', '/api/api/session/sessions')).status).toBe(401);
      const [warning] = warnings;
      expect(warning).toContain('at /api/api/session,');
      expect(warning).toContain("For /api/session, set path: 'session'.");
    });

    test.each<[string, TestAppOptions]>([
      [
        'set the path as the warning says',
        { options: { path: 'session' }, configure: (nest) => nest.setGlobalPrefix('api') },
      ],
      [
        'are excluded from the prefix',
        { configure: (nest) => nest.setGlobalPrefix('api', { exclude: ['api/session/*rest'] }) },
      ],
      ['have no prefix', {}],
    ])('nothing is logged for applications that %s', async (_, options) => {
      await start(options);
      expect((await app.request('GET', '/api/session/sessions')).status).toBe(401);
      expect(warnings).toEqual([]);
    });
  });

  describe('the description of the client', () => {
    test('shows an IPv4 address as such if the server listens on IPv6', async () => {
      await start({});
      // Nest's `app.listen(3000)` listens on `::`, where IPv4 clients have mapped addresses.
      await app.app.getHttpServer().close();
      const server = app.app.getHttpServer();
      await new Promise<void>((resolve) => server.listen(0, '::', resolve));
      const { port } = server.address() as { port: number };
      const body = JSON.stringify(credentials);
      const tokens = await (
        await fetch(`http://127.0.0.1:${port}/api/session/login`, { method: 'POST', headers: json, body })
      ).json();
      const sessions = await fetch(`http://127.0.0.1:${port}/api/session/sessions`, {
        headers: bearer((tokens as { access: string }).access),
      });
      expect(await sessions.json()).toMatchObject([{ ip_address: '127.0.0.1' }]);
    });

    test('decodes UTF-8 in the headers, and keeps Latin-1', async () => {
      await start({});
      const model = async (bytes: Buffer) => {
        const login = await postWithRawHeader(`${app.url}/api/session/login`, bytes);
        const sessions = await app.request('GET', '/api/session/sessions', { headers: bearer(login.access) });
        return (sessions.body as { device: string }[])[0].device;
      };
      expect(await model(Buffer.from('Телефон Ольги 📱', 'utf8'))).toBe('Телефон Ольги 📱');
      expect(await model(Buffer.from('Gerät von Zoë', 'utf8'))).toBe('Gerät von Zoë');
      expect(await model(Buffer.from('Gerät von Zoë', 'latin1'))).toBe('Gerät von Zoë');
      expect(await model(Buffer.from('Pixel 9', 'utf8'))).toBe('Pixel 9');
    });
  });
});

const json = { 'content-type': 'application/json' };

/** The header with the cookies that an answer sets. */
function cookiesOf(answer: Answer): { cookie: string } {
  return cookieHeader(...setCookies(answer).map(({ name, value }) => [name, value] as [string, string]));
}

/** Logs Bob in with these bytes as `X-Device-Model`. `fetch` accepts only Latin-1. */
async function postWithRawHeader(url: string, model: Buffer): Promise<{ access: string }> {
  const headers = { ...json, 'x-device-model': model.toString('latin1') };
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method: 'POST', headers }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.on('end', () => resolve(JSON.parse(text) as { access: string }));
    });
    // A buffer: Node would write the headers in the encoding of a text.
    request.on('error', reject).end(Buffer.from(JSON.stringify(credentials)));
  });
}
