import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { type DynamicModule, Injectable, Module, type PipeTransform, UseGuards } from '@nestjs/common';
import { Args, Field, GraphQLModule, ObjectType, Query, ResolveField, Resolver, Subscription } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { AuthGuard } from '@nestjs/passport';
import { GqlExecutionContext } from '@nestjs/graphql';
import type { ExecutionContext } from '@nestjs/common';
import { createClient } from 'graphql-ws';
import {
  CurrentSession,
  JwtAuthGuard,
  OptionalSession,
  Public,
  RequireRecentLogin,
  SessionService,
  SessionTypes,
} from 'nestjs-multisession';
import { MultiSessionPassportModule } from 'nestjs-multisession/passport';
import { WebSocket } from 'ws';
import { type AdapterName, bearer, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { expired } from '../helpers/tokens.js';

@ObjectType()
class Me {
  @Field(() => String)
  userId!: string;
}

@ObjectType()
class Article {
  @Field(() => String)
  title!: string;
}

/** Passport's guard in GraphQL, as Nest documents it. */
@Injectable()
class PassportGuard extends AuthGuard('jwt') {
  override getRequest(context: ExecutionContext): unknown {
    return GqlExecutionContext.create(context).getContext<{ req: unknown }>().req;
  }
}

/** Lets other fields of the operation overtake this one between its guard and its resolver. */
@Injectable()
class SlowPipe implements PipeTransform {
  async transform(value: unknown) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return value;
  }
}

@Resolver(() => Me)
class MeResolver {
  @Query(() => Me)
  @UseGuards(JwtAuthGuard)
  me(@CurrentSession('userId') userId: string): Me {
    return { userId };
  }

  @ResolveField(() => String)
  greeting(@CurrentSession('userId') userId: string): string {
    return `Hello ${userId}`;
  }

  @Query(() => String)
  @UseGuards(JwtAuthGuard)
  slow(
    @Args('n', { type: () => String, nullable: true }, SlowPipe) _: unknown,
    @CurrentSession('userId') userId: string,
  ) {
    return userId;
  }

  @Query(() => String)
  @SessionTypes('LONG')
  long(@CurrentSession('userId') userId: string) {
    return userId;
  }

  @Query(() => String, { nullable: true })
  @UseGuards(JwtAuthGuard)
  @OptionalSession()
  perhaps(@CurrentSession('userId') userId?: string): string | undefined {
    return userId;
  }

  @Query(() => String, { nullable: true })
  @UseGuards(JwtAuthGuard)
  @Public()
  open(@CurrentSession('userId') userId?: string): string | undefined {
    return userId;
  }

  @Query(() => String, { nullable: true })
  unguarded(@CurrentSession('userId') userId: string): string {
    return userId;
  }

  @Query(() => String)
  @UseGuards(PassportGuard)
  passport(@CurrentSession('userId') userId: string): string {
    return userId;
  }

  @Subscription(() => String)
  @UseGuards(JwtAuthGuard)
  async *news(@CurrentSession('userId') userId: string) {
    yield await Promise.resolve({ news: `for ${userId}` });
  }

  @Subscription(() => Me)
  @UseGuards(JwtAuthGuard)
  async *joined(@CurrentSession('userId') userId: string) {
    yield await Promise.resolve({ joined: { userId } });
  }

  @Subscription(() => String)
  @SessionTypes('LONG')
  async *longNews(@CurrentSession('userId') userId: string) {
    yield await Promise.resolve({ longNews: `for ${userId}` });
  }

  @Subscription(() => String)
  async *unguardedNews(@CurrentSession('userId') userId: string) {
    yield await Promise.resolve({ unguardedNews: `for ${userId}` });
  }
}

@Resolver(() => Article)
class ArticleResolver {
  @Query(() => Article)
  @UseGuards(JwtAuthGuard)
  @Public()
  article(): Article {
    return { title: 'News' };
  }

  /** A field of a public query: nobody has been identified for it. */
  @ResolveField(() => String, { nullable: true })
  @OptionalSession()
  reader(@CurrentSession('userId') userId?: string): string | undefined {
    return userId;
  }
}

@Module({ providers: [MeResolver, ArticleResolver] })
class ResolversModule {}

interface Driver {
  readonly adapter: AdapterName;
  readonly module: () => DynamicModule;
}

const DRIVERS: Readonly<Record<string, Driver>> = {
  Apollo: {
    adapter: 'express',
    module: () =>
      GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        autoSchemaFile: true,
        subscriptions: { 'graphql-ws': true },
      }),
  },
  'Apollo with a context of the application': {
    adapter: 'express',
    module: () =>
      GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        autoSchemaFile: true,
        subscriptions: { 'graphql-ws': true },
        context: (socket: { extra?: object; connectionParams?: object }) =>
          socket.extra ? { extra: socket.extra, connectionParams: socket.connectionParams } : { loaders: {} },
      }),
  },
  Mercurius: {
    adapter: 'fastify',
    module: () =>
      GraphQLModule.forRoot<MercuriusDriverConfig>({
        driver: MercuriusDriver,
        autoSchemaFile: true,
        subscription: { fullWsTransport: true },
      }),
  },
};

describe.each(Object.keys(DRIVERS))('GraphQL with %s', (name) => {
  const { adapter, module } = DRIVERS[name];
  let app: TestApp;
  const open = (more: TestAppOptions = {}) =>
    startApp({
      databaseName: selectedDatabases()[0],
      adapter,
      imports: [module(), ResolversModule, MultiSessionPassportModule.forRoot()],
      ...more,
    });
  beforeAll(async () => {
    app = await open({ options: { cookies: true } });
  });
  afterAll(() => app.close());

  const create = (userId = 'alice', type = 'LONG') => app.get(SessionService).create(userId, { type });
  const ask = async (query: string, token?: string) =>
    (await app.request('POST', '/graphql', { body: { query }, headers: token ? bearer(token) : {} })).body;

  describe('over HTTP', () => {
    test('knows the caller, in a query and in the fields of its type', async () => {
      const { access } = await create();
      expect(await ask('{ me { userId greeting } long perhaps }', access)).toEqual({
        data: { me: { userId: 'alice', greeting: 'Hello alice' }, long: 'alice', perhaps: 'alice' },
      });
    });

    test.each(['{ open me { userId } }', '{ me { userId } open }', '{ slow open }', '{ open slow passport }'])(
      'gives a public field of the same operation no session: %s',
      async (query) => {
        const { data, errors } = await ask(query, (await create()).access);
        expect(errors).toBeUndefined();
        expect(data).toMatchObject({ open: null });
      },
    );

    test.each(['{ me { userId } unguarded }', '{ a: slow unguarded }', '{ unguarded me { userId } }'])(
      'fails for a field without a guard, whatever else the operation asks: %s',
      async (query) => {
        app.app.useLogger(false);
        const { data, errors } = await ask(query, (await create()).access);
        expect(data).toMatchObject({ unguarded: null });
        expect(errors).toHaveLength(1);
      },
    );

    test('gives the fields under a public query no session, even next to a guarded one', async () => {
      const { access } = await create();
      for (const query of ['{ article { reader } }', '{ me { userId } article { reader } }'])
        expect((await ask(query, access)).data.article).toEqual({ reader: null });
    });

    test('refuses', async () => {
      // Apollo passes on our body. Mercurius passes on the message only, unless the application formats errors itself.
      const reason = async (query: string, token?: string): Promise<string> => {
        const { errors } = await ask(query, token);
        const [{ message, extensions }] = errors as [
          { message: string; extensions?: { originalError: { code: string } } },
        ];
        return extensions?.originalError.code ?? message;
      };
      const { access, session } = await create();
      expect(await reason('{ me { userId } }')).toMatch(/not_authenticated|credentials were not provided/);
      const short = await create('alice', 'SHORT');
      expect(await reason('{ long }', short.access)).toMatch(/session_type_not_allowed|Sessions of this type/);
      await app.get(SessionService).destroy(session.id);
      for (const query of ['{ me { userId } }', '{ long }', '{ perhaps }'])
        expect(await reason(query, access)).toMatch(/token_not_valid|Token is invalid or expired/);
    });

    test('works with the Passport strategy', async () => {
      const { access } = await create();
      expect(await ask('{ passport }', access)).toEqual({ data: { passport: 'alice' } });
    });
  });

  describe('over a socket', () => {
    interface Connection {
      connectionParams?: Record<string, unknown>;
      headers?: Record<string, string>;
    }

    /** Runs one operation and returns its results, or the reason of its refusal. */
    async function results(query: string, { connectionParams, headers = {} }: Connection): Promise<unknown> {
      const client = createClient({
        url: `${app.url.replace('http', 'ws')}/graphql`,
        connectionParams,
        retryAttempts: 0,
        webSocketImpl: class extends WebSocket {
          constructor(url: string, protocols: string[]) {
            super(url, protocols, { headers });
          }
        },
      });
      try {
        const found: unknown[] = [];
        for await (const result of client.iterate({ query })) found.push(result.errors ?? result.data);
        return found;
      } catch (error) {
        return error;
      } finally {
        await client.dispose();
      }
    }
    const refused = async (query: string, connection: Connection) => {
      const outcome = JSON.stringify(await results(query, connection));
      expect(outcome).not.toContain('for ');
      expect(outcome).not.toBe('[]');
    };

    test.each([
      [
        '`authorization` of the connection',
        (token: string) => ({ connectionParams: { authorization: `Bearer ${token}` } }),
      ],
      [
        '`Authorization` of the connection',
        (token: string) => ({ connectionParams: { Authorization: `Bearer ${token}` } }),
      ],
      [
        '`headers` of the connection',
        (token: string) => ({ connectionParams: { headers: { Authorization: `Bearer ${token}` } } }),
      ],
      ['`token` of the connection', (token: string) => ({ connectionParams: { token } })],
      ['the headers of the request', (token: string) => ({ headers: bearer(token) })],
    ])('reads the token from %s', async (_, connection) => {
      const { access } = await create();
      expect(await results('subscription { news }', connection(access))).toEqual([{ news: 'for alice' }]);
      expect(await results('subscription { longNews }', connection(access))).toEqual([{ longNews: 'for alice' }]);
      expect(await results('subscription { joined { userId greeting } }', connection(access))).toEqual([
        { joined: { userId: 'alice', greeting: 'Hello alice' } },
      ]);
      expect(await results('{ me { userId greeting } open perhaps }', connection(access))).toEqual([
        { me: { userId: 'alice', greeting: 'Hello alice' }, open: null, perhaps: 'alice' },
      ]);
    });

    test('refuses anonymous callers, bad tokens, other types, and fields without a guard', async () => {
      app.app.useLogger(false);
      const { access, session } = await create();
      const short = await create('alice', 'SHORT');
      await refused('subscription { news }', {});
      await refused('subscription { news }', { connectionParams: { authorization: `Bearer ${expired(access)}` } });
      await refused('subscription { news }', { connectionParams: { user: { userId: 'admin' } } });
      await refused('subscription { longNews }', { connectionParams: { token: short.access } });
      await refused('subscription { unguardedNews }', { connectionParams: { token: access } });
      await app.get(SessionService).destroy(session.id);
      await refused('subscription { news }', { connectionParams: { token: access } });
    });

    test('refuses the next operation of a connection whose session has ended', async () => {
      const { access, session } = await create();
      const client = createClient({
        url: `${app.url.replace('http', 'ws')}/graphql`,
        connectionParams: { token: access },
        lazy: false,
        retryAttempts: 0,
        webSocketImpl: WebSocket,
      });
      const next = async (query: string) => {
        const { value } = (await client.iterate({ query }).next()) as { value: { data?: object; errors?: unknown } };
        return value;
      };
      expect((await next('{ me { userId } }')).data).toEqual({ me: { userId: 'alice' } });
      await app.get(SessionService).destroy(session.id);
      expect((await next('{ me { userId } }')).errors).toBeDefined();
      expect((await next('{ perhaps }')).errors).toBeDefined();
      expect((await next('{ open }')).data).toEqual({ open: null });
      await client.dispose();
    });

    test('accepts cookies from pages of the application only, whatever the client claims in the connection', async () => {
      const { access } = await create();
      const cookie = `__Host-session-access=${access}`;
      const own = { cookie, origin: app.url };
      const foreign = { cookie, origin: 'https://evil.example' };
      expect(await results('subscription { news }', { headers: own })).toEqual([{ news: 'for alice' }]);
      await refused('subscription { news }', { headers: foreign });
      for (const claimed of [{ 'sec-fetch-site': 'same-origin' }, { origin: app.url }, { upgrade: 'no' }]) {
        await refused('subscription { news }', { headers: foreign, connectionParams: claimed });
        await refused('subscription { news }', { headers: foreign, connectionParams: { headers: claimed } });
      }
      await refused('subscription { news }', { connectionParams: own });
      await refused('subscription { news }', { connectionParams: { headers: own } });
    });
  });
});

describe('restricted fields of GraphQL types', () => {
  @Resolver(() => Me)
  class RestrictedResolver {
    @Query(() => Me)
    @UseGuards(JwtAuthGuard)
    me(@CurrentSession('userId') userId: string): Me {
      return { userId };
    }

    @ResolveField(() => String)
    @SessionTypes('LONG')
    secret(): string {
      return 'a secret';
    }
  }

  @Resolver(() => Me)
  @RequireRecentLogin('10m')
  class RestrictedClass extends RestrictedResolver {}

  const graphql = (fieldResolverEnhancers?: ['guards']) =>
    GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true, fieldResolverEnhancers });
  const databaseName = selectedDatabases()[0];

  test.each([RestrictedResolver, RestrictedClass])(
    'stop the start, because no guard runs for them: %p',
    async (resolver) => {
      const started = startApp({ databaseName, imports: [graphql()], providers: [resolver] });
      await expect(started).rejects.toThrow(`${resolver.name}.secret: Nest runs no guard for a field`);
    },
  );

  test('are protected if guards run for fields', async () => {
    const app = await startApp({ databaseName, imports: [graphql(['guards'])], providers: [RestrictedResolver] });
    const ask = async (type: string) => {
      const { access } = await app.get(SessionService).create('alice', { type });
      const query = '{ me { userId secret } }';
      return (await app.request('POST', '/graphql', { body: { query }, headers: bearer(access) })).body;
    };
    expect((await ask('LONG')).data).toEqual({ me: { userId: 'alice', secret: 'a secret' } });
    expect((await ask('SHORT')).data).toBeNull();
    await app.close();
  });
});
