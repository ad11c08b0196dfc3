import { once } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  Controller,
  Get,
  type INestApplication,
  Module,
  type ModuleMetadata,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { GraphQLModule, Query, Resolver } from '@nestjs/graphql';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  CurrentSession,
  type SessionClaims,
  JwtAuthGuard,
  OptionalSession,
  Public,
  RequireRecentLogin,
  SessionTypes,
} from 'nestjs-multisession';
import { type Actor, actingAs, currentSession } from 'nestjs-multisession/testing';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { ADAPTERS, type AdapterName } from '../helpers/app.js';

@Controller('notes')
class NotesController {
  @Get()
  list(@CurrentSession() session: SessionClaims) {
    return session;
  }

  @Get('long')
  @SessionTypes('LONG')
  long(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @Get('optional')
  @OptionalSession()
  optional(@CurrentSession('userId') userId?: string) {
    return { userId: userId ?? null };
  }

  @Get('public')
  @Public()
  public(@CurrentSession('userId') userId?: string) {
    return { userId: userId ?? null };
  }
}

@Controller('notes')
@UseGuards(JwtAuthGuard)
class GuardedController extends NotesController {}

@Resolver()
@UseGuards(JwtAuthGuard)
class NotesResolver {
  @Query(() => String)
  whoami(@CurrentSession('userId') userId: string): string {
    return userId;
  }
}

@WebSocketGateway()
@UseGuards(JwtAuthGuard)
class NotesGateway {
  @SubscribeMessage('whoami')
  whoami(@CurrentSession('userId') userId: string) {
    return { event: 'you', data: { userId } };
  }
}

describe('actingAs, without a database and without the module', () => {
  let app: INestApplication;
  let url: string;
  const closers: (() => unknown)[] = [];

  async function start(
    metadata: ModuleMetadata,
    override: (builder: TestingModuleBuilder) => TestingModuleBuilder,
    { adapter = 'express', sockets }: { adapter?: AdapterName; sockets?: Type } = {},
  ) {
    const moduleRef = await override(Test.createTestingModule(metadata)).compile();
    app =
      adapter === 'fastify'
        ? moduleRef.createNestApplication<NestFastifyApplication>(new FastifyAdapter())
        : moduleRef.createNestApplication(new ExpressAdapter());
    if (sockets) app.useWebSocketAdapter(new (sockets as new (app: INestApplication) => WsAdapter)(app));
    await app.listen(0, '127.0.0.1');
    url = await app.getUrl();
  }

  const as = (actor: Actor) => (builder: TestingModuleBuilder) =>
    builder.overrideGuard(JwtAuthGuard).useValue(actingAs(actor));

  async function get(path: string, headers: Record<string, string> = {}) {
    const response = await fetch(url + path, { headers });
    return { status: response.status, body: (await response.json()) as object, headers: response.headers };
  }

  afterEach(async () => {
    for (const close of closers.splice(0)) close();
    await app?.close();
  });

  describe.each(ADAPTERS)('on %s', (adapter) => {
    const controllers = [GuardedController];

    test('provides a complete session', async () => {
      await start({ controllers }, as({ userId: 'alice', sessionType: 'SHORT', claims: { role: 'editor' } }), {
        adapter,
      });
      expect(await get('/notes')).toMatchObject({
        status: 200,
        body: {
          userId: 'alice',
          sessionType: 'SHORT',
          sessionId: expect.stringMatching(/^[0-9a-f-]{36}$/),
          generation: 0,
          tokenId: expect.any(String),
          issuedAt: expect.any(Number),
          expiresAt: expect.any(Number),
          claims: { role: 'editor', sub: 'alice', session_type: 'SHORT' },
        },
      });
    });

    test.each([
      ['alice with a LONG session', { userId: 'alice' }, [200, 200, 'alice', null]],
      ['alice with a SHORT one', { userId: 'alice', sessionType: 'SHORT' }, [200, 403, 'alice', null]],
      ['an anonymous caller', null, [401, 401, null, null]],
    ] as const)('applies the decorators to %s as in production', async (_, actor, [plain, long, optional, open]) => {
      await start({ controllers }, as(actor), { adapter });
      expect((await get('/notes')).status).toBe(plain);
      expect((await get('/notes/long')).status).toBe(long);
      expect((await get('/notes/optional')).body).toEqual({ userId: optional });
      expect((await get('/notes/public')).body).toEqual({ userId: open });
    });

    test('refuses an anonymous caller as in production', async () => {
      await start({ controllers }, as(null), { adapter });
      const { body, headers } = await get('/notes');
      expect(body).toMatchObject({ statusCode: 401, error: 'Unauthorized', code: 'not_authenticated' });
      expect(headers.get('www-authenticate')).toBe('Bearer realm="api"');
    });

    test('can be another user for each request', async () => {
      const byHeader = actingAs(({ headers = {} }) => {
        const { 'x-user': userId } = headers;
        return typeof userId === 'string' ? { userId } : null;
      });
      await start({ controllers }, (builder) => builder.overrideGuard(JwtAuthGuard).useValue(byHeader), { adapter });
      expect((await get('/notes/long', { 'x-user': 'alice' })).body).toEqual({ userId: 'alice' });
      expect((await get('/notes/long', { 'x-user': 'bob' })).body).toEqual({ userId: 'bob' });
      expect((await get('/notes/long')).status).toBe(401);
    });

    test('replaces a global guard that is a provider', async () => {
      const providers = [JwtAuthGuard, { provide: APP_GUARD, useExisting: JwtAuthGuard }];
      const override = (builder: TestingModuleBuilder) =>
        builder.overrideProvider(JwtAuthGuard).useValue(actingAs({ userId: 'alice' }));
      await start({ controllers: [NotesController], providers }, override, { adapter });
      expect((await get('/notes/long')).body).toEqual({ userId: 'alice' });
      expect((await get('/notes/public')).body).toEqual({ userId: null });
    });
  });

  describe('reaches every route of an application with a global guard', () => {
    @Controller('own')
    class OwnGuardController {
      @Get()
      @UseGuards(JwtAuthGuard)
      own(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('optional')
      @UseGuards(JwtAuthGuard)
      @OptionalSession()
      optional(@CurrentSession('userId') userId?: string) {
        return { userId: userId ?? null };
      }

      @Get('recent')
      @RequireRecentLogin('10m')
      recent(@CurrentSession('userId') userId: string) {
        return { userId };
      }
    }

    @Module({ controllers: [OwnGuardController] })
    class FeatureModule {}

    const metadata = {
      imports: [FeatureModule],
      controllers: [NotesController],
      providers: [JwtAuthGuard, { provide: APP_GUARD, useExisting: JwtAuthGuard }],
    };
    const byProvider = (actor: Actor) => (builder: TestingModuleBuilder) =>
      builder.overrideProvider(JwtAuthGuard).useValue(actingAs(actor));

    test.each([
      ['overrideProvider', byProvider],
      ['overrideGuard', as],
      [
        'overrideProvider, then overrideGuard',
        (actor: Actor) => (b: TestingModuleBuilder) => as(actor)(byProvider(actor)(b)),
      ],
      [
        'overrideGuard, then overrideProvider',
        (actor: Actor) => (b: TestingModuleBuilder) => byProvider(actor)(as(actor)(b)),
      ],
    ])('with %s', async (_, override) => {
      await start(metadata, override({ userId: 'alice' }));
      for (const path of ['/notes/long', '/own', '/own/optional', '/own/recent'])
        expect({ path, ...(await get(path)) }).toMatchObject({ path, status: 200, body: { userId: 'alice' } });
      expect((await get('/notes/public')).body).toEqual({ userId: null });
      await app.close();
      await start(metadata, override(null));
      for (const path of ['/notes/long', '/own', '/own/recent'])
        expect({ path, ...(await get(path)) }).toMatchObject({
          path,
          status: 401,
          body: { code: 'not_authenticated' },
        });
      expect((await get('/own/optional')).body).toEqual({ userId: null });
    });

    test('and an application that replaces nothing does not start without MultiSessionModule', async () => {
      const started = start(metadata, (builder) => builder);
      await expect(started).rejects.toThrow('JwtAuthGuard needs MultiSessionModule');
    });
  });

  test('works in a feature module and its resolver', async () => {
    @Module({ providers: [NotesResolver] })
    class NotesModule {}
    const graphql = GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true });
    const ask = async () => {
      const body = JSON.stringify({ query: '{ whoami }' });
      const headers = { 'content-type': 'application/json' };
      return (await fetch(`${url}/graphql`, { method: 'POST', headers, body })).json();
    };
    await start({ imports: [graphql, NotesModule] }, as({ userId: 'alice' }));
    expect(await ask()).toEqual({ data: { whoami: 'alice' } });
    await app.close();
    await start({ imports: [graphql, NotesModule] }, as(null));
    expect(await ask()).toMatchObject({ errors: [{ extensions: { originalError: { code: 'not_authenticated' } } }] });
  });

  test.each([
    [{ userId: 'alice' }, 'you', { userId: 'alice' }],
    [null, 'exception', { statusCode: 401, code: 'not_authenticated' }],
  ])('works in gateways, as %j', async (actor, event, data) => {
    await start({ providers: [NotesGateway] }, as(actor), { sockets: IoAdapter });
    const socket = io(url, { transports: ['websocket'], reconnection: false });
    closers.push(() => socket.disconnect());
    const answered = new Promise((resolve) => socket.once(event, resolve));
    socket.emit('whoami');
    expect(await answered).toMatchObject(data);
    socket.disconnect();
    await app.close();

    await start({ providers: [NotesGateway] }, as(actor), { sockets: WsAdapter });
    const plain = new WebSocket(url.replace('http', 'ws'));
    closers.push(() => plain.terminate());
    await once(plain, 'open');
    plain.send(JSON.stringify({ event: 'whoami' }));
    const [answer] = (await once(plain, 'message')) as [Buffer];
    expect(JSON.parse(answer.toString())).toMatchObject({ event, data });
  });
});

describe('currentSession', () => {
  test('returns a complete session that agrees with its claims', () => {
    const session = currentSession({ userId: 7, sessionType: 'SHORT', issuedAt: 1000, claims: { role: 'editor' } });
    expect(session).toEqual({
      userId: 7,
      sessionId: '00000000-0000-7000-8000-000000000000',
      sessionType: 'SHORT',
      generation: 0,
      tokenId: '0'.repeat(32),
      issuedAt: 1000,
      expiresAt: 1300,
      authenticatedAt: 1000,
      amr: ['pwd'],
      claims: {
        token_type: 'access',
        exp: 1300,
        iat: 1000,
        jti: '0'.repeat(32),
        sub: '7',
        sid: '00000000-0000-7000-8000-000000000000',
        gen: 0,
        session_type: 'SHORT',
        auth_time: 1000,
        amr: ['pwd'],
        role: 'editor',
      },
    });
  });

  test('returns the session of a token that is valid now, by default', () => {
    const { userId, issuedAt, expiresAt } = currentSession();
    const now = Date.now() / 1000;
    expect(userId).toBe('user');
    expect(issuedAt).toBeLessThanOrEqual(now);
    expect(expiresAt).toBeGreaterThan(now);
  });
});
