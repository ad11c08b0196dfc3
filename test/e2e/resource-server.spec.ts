import { generateKeyPairSync } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Controller, Get, type INestApplication, Post, UseGuards } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { type MultiSessionModuleOptions, SessionService } from 'nestjs-multisession';
import {
  CurrentSession,
  EndedSessions,
  JwtAuthGuard,
  Public,
  ResourceServerHealthIndicator,
  ResourceServerModule,
  type SessionClaims,
  SessionTypes,
  type VerifierOptions,
} from 'nestjs-multisession/resource-server';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { until } from '../helpers/until.js';

const BACKEND_KEY = 'the backend key of the services';
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ISSUER_OPTIONS: Partial<MultiSessionModuleOptions> = {
  jwt: { keys: [{ algorithm: 'ES256', privateKey: key }], issuer: 'tests', audience: ['notes', 'files'] },
  backendKeys: BACKEND_KEY,
  policies: {
    LONG: { refreshTokenLifetime: '30d' },
    EXACT: { refreshTokenLifetime: '30d', accessCheck: 'session' },
    SIGNED: { refreshTokenLifetime: '30d', accessCheck: 'signature' },
  },
  cookies: true,
};

@Controller('notes')
@UseGuards(JwtAuthGuard)
class NotesController {
  @Get()
  list(@CurrentSession() session: SessionClaims) {
    return session;
  }

  @Post()
  create(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @Get('exact')
  @SessionTypes('EXACT')
  exact() {
    return {};
  }

  @Get('open')
  @Public()
  open() {
    return {};
  }
}

onEachDatabaseAndAdapter((databaseName, adapter) => {
  describe('a service without the database', () => {
    let issuer: TestApp;
    let service: INestApplication;
    let url: string;
    const started: INestApplication[] = [];

    const startService = async (change: Partial<VerifierOptions> = {}) => {
      const options = { issuer: `${issuer.url}/api/session`, backendKey: BACKEND_KEY, audience: 'notes', ...change };
      const moduleRef = await Test.createTestingModule({
        imports: [ResourceServerModule.forRoot({ cookies: true, ...options })],
        controllers: [NotesController],
      }).compile();
      const app = moduleRef.createNestApplication({ logger: false });
      started.push(app);
      await app.listen(0, '127.0.0.1');
      return app;
    };
    const ask = async (headers: Record<string, string>, path = '/notes', method = 'GET') => {
      const response = await fetch(url + path, { method, headers });
      const body = (await response.json()) as Record<string, unknown>;
      return { status: response.status, code: body.code, body };
    };
    const statusOf = async (access: string) => (await ask(bearer(access))).status;

    beforeAll(async () => {
      issuer = await startApp({ databaseName, adapter, options: ISSUER_OPTIONS });
      service = await startService();
      url = await service.getUrl();
    });
    afterAll(async () => {
      await service?.close();
      await issuer?.close();
    });
    afterEach(async () => {
      for (const app of started.splice(1)) await app.close();
    });

    test('knows the caller as the issuer does', async () => {
      const { access, session_id: sessionId } = await issuer.login();
      expect(await ask(bearer(access))).toMatchObject({
        status: 200,
        body: { userId: 'alice', sessionId, sessionType: 'LONG', amr: ['pwd'] },
      });
      expect(await ask({})).toMatchObject({ status: 401, code: 'not_authenticated' });
      expect(await ask(bearer(`${access}x`))).toMatchObject({ status: 401, code: 'token_not_valid' });
      expect(await ask({ authorization: 'Bearer' })).toMatchObject({ status: 401, code: 'bad_authorization_header' });
      expect(await ask(bearer(access), '/notes/exact')).toMatchObject({
        status: 403,
        code: 'session_type_not_allowed',
      });
      expect((await ask({}, '/notes/open')).status).toBe(200);
    });

    test('refuses a session soon after it has ended, and announces that', async () => {
      const { access, session_id: sessionId } = await issuer.login();
      const { access: other } = await issuer.login();
      const ended: string[] = [];
      service.get(EndedSessions).onEnded((id) => ended.push(id));
      expect(await statusOf(access)).toBe(200);
      await issuer.get(SessionService).destroy(sessionId);
      await until(async () => (await statusOf(access)) === 401);
      expect(ended).toEqual([sessionId]);
      expect(await statusOf(other)).toBe(200);
    });

    test('asks the issuer about each token of a type whose row must be read', async () => {
      const { access, session_id: sessionId } = await issuer.login({ session: 'EXACT' });
      expect((await ask(bearer(access), '/notes/exact')).status).toBe(200);
      await issuer.get(SessionService).destroy(sessionId);
      expect((await ask(bearer(access), '/notes/exact')).status).toBe(401);
    });

    test('accepts tokens of a type that only checks the signature', async () => {
      const { access, session_id: sessionId } = await issuer.login({ session: 'SIGNED' });
      await issuer.get(SessionService).destroy(sessionId);
      const { access: seen, session_id: seenId } = await issuer.login();
      await issuer.get(SessionService).destroy(seenId);
      await until(async () => (await statusOf(seen)) === 401);
      expect(await statusOf(access)).toBe(200);
    });

    test('refuses tokens for other services', async () => {
      const { access } = await issuer.login();
      const other = await startService({ audience: 'mail' });
      const response = await fetch(`${await other.getUrl()}/notes`, { headers: bearer(access) });
      expect(response.status).toBe(401);
    });

    test('accepts the access cookie, and checks where an unsafe request comes from', async () => {
      const { access } = await issuer.login();
      const cookie = { cookie: `__Host-session-access=${access}` };
      expect((await ask(cookie)).status).toBe(200);
      expect(await ask(cookie, '/notes', 'POST')).toMatchObject({ status: 403, code: 'csrf_failed' });
      const origin = { origin: 'https://app.example', 'sec-fetch-site': 'cross-site' };
      const own = { 'x-session-transport': 'cookie', 'sec-fetch-site': 'same-origin' };
      expect((await ask({ ...cookie, ...own, ...origin }, '/notes', 'POST')).status).toBe(403);
      expect((await ask({ ...cookie, ...own }, '/notes', 'POST')).status).toBe(201);
    });

    test('knows the sessions that had ended before it started', async () => {
      const { access, session_id: sessionId } = await issuer.login();
      const { access: other } = await issuer.login();
      await issuer.get(SessionService).destroy(sessionId);
      const late = await startService();
      const lateUrl = await late.getUrl();
      const status = async (token: string) => (await fetch(`${lateUrl}/notes`, { headers: bearer(token) })).status;
      expect([await status(access), await status(other)]).toEqual([401, 200]);
    });

    test('asks the issuer if more sessions have ended than fit into memory', async () => {
      const tokens = [await issuer.login(), await issuer.login(), await issuer.login()];
      const small = await startService({ maxEntries: 1 });
      const health = () => small.get(ResourceServerHealthIndicator).check('sessions').sessions;
      for (const { session_id: id } of tokens.slice(0, 2)) await issuer.get(SessionService).destroy(id);
      await until(() => health().overflow);
      const smallUrl = await small.getUrl();
      const status = async (token: string) => (await fetch(`${smallUrl}/notes`, { headers: bearer(token) })).status;
      expect(await Promise.all(tokens.map(({ access }) => status(access)))).toEqual([401, 401, 200]);
      expect(health().status).toBe('up');
    });

    test('starts while the issuer is away, and refuses with 503 until it is there', async () => {
      const { access } = await issuer.login();
      const alone = await startService({ issuer: 'http://127.0.0.1:9/api/session' });
      const response = await fetch(`${await alone.getUrl()}/notes`, { headers: bearer(access) });
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
      expect(alone.get(ResourceServerHealthIndicator).check('sessions').sessions).toMatchObject({
        status: 'down',
        feedLag: null,
        stale: true,
        keys: 0,
      });
    });

    test('does not start with wrong options, and says what is wrong', async () => {
      const start = startService({ issuer: 'http://auth.example/api/session', audience: undefined as never });
      await expect(start).rejects.toThrow(/options\.issuer: must begin with https:[^]*options\.audience: is missing/);
    });
  });
});
