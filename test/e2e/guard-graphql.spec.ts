import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module, UseGuards } from '@nestjs/common';
import { Args, Field, GraphQLModule, Mutation, ObjectType, Query, ResolveField, Resolver } from '@nestjs/graphql';
import {
  CurrentSession,
  type SessionClaims,
  JwtAuthGuard,
  OptionalSession,
  Public,
  SessionService,
  SessionTypes,
} from 'nestjs-multisession';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { expired } from '../helpers/tokens.js';

@ObjectType()
class Me {
  @Field(() => String)
  userId!: string;

  @Field(() => String)
  sessionType!: string;
}

@Resolver(() => Me)
@UseGuards(JwtAuthGuard)
class MeResolver {
  @Query(() => Me)
  me(@CurrentSession() { userId, sessionType }: SessionClaims): Me {
    return { userId: String(userId), sessionType };
  }

  @ResolveField(() => String)
  greeting(@CurrentSession('userId') userId: string): string {
    return `Hello ${userId}`;
  }

  @Mutation(() => String)
  @SessionTypes('LONG')
  rename(@Args('name', { type: () => String }) name: string, @CurrentSession('userId') userId: string): string {
    return `${userId} is ${name}`;
  }

  @Query(() => String, { nullable: true })
  @OptionalSession()
  perhaps(@CurrentSession('userId') userId?: string): string | undefined {
    return userId;
  }

  @Query(() => String)
  @Public()
  version(): string {
    return '1';
  }
}

@Module({ providers: [MeResolver] })
class MeModule {}

describe('with GraphQL', () => {
  let app: TestApp;
  let access: string;
  beforeAll(async () => {
    const graphql = GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true });
    app = await startApp({ databaseName: selectedDatabases()[0], imports: [graphql, MeModule] });
    access = (await app.get(SessionService).create('alice', { type: 'LONG' })).access;
  });
  afterAll(() => app.close());

  const ask = async (query: string, token?: string) =>
    (await app.request('POST', '/graphql', { body: { query }, headers: token ? bearer(token) : {} })).body;
  /** Apollo's driver returns our body as `originalError`. */
  const refusal = (code: string, statusCode: number) => [
    expect.objectContaining({
      extensions: expect.objectContaining({ originalError: expect.objectContaining({ code, statusCode }) }),
    }),
  ];

  test('injects the session of the caller into resolvers and their fields', async () => {
    expect(await ask('{ me { userId sessionType greeting } }', access)).toEqual({
      data: { me: { userId: 'alice', sessionType: 'LONG', greeting: 'Hello alice' } },
    });
    expect(await ask('mutation { rename(name: "Al") }', access)).toEqual({ data: { rename: 'alice is Al' } });
  });

  test('lets anonymous callers use open resolvers, and injects the session into optional ones', async () => {
    expect(await ask('{ version perhaps }')).toEqual({ data: { version: '1', perhaps: null } });
    expect(await ask('{ perhaps }', access)).toEqual({ data: { perhaps: 'alice' } });
  });

  test('puts the code of a refusal into the errors, for each field', async () => {
    expect(await ask('{ me { userId } }')).toEqual({ data: null, errors: refusal('not_authenticated', 401) });
    expect(await ask('{ me { userId } }', expired(access))).toEqual({
      data: null,
      errors: refusal('token_not_valid', 401),
    });
    expect(await ask('{ perhaps version }', expired(access))).toEqual({
      data: { perhaps: null, version: '1' },
      errors: refusal('token_not_valid', 401),
    });
    const short = await app.get(SessionService).create('alice', { type: 'SHORT' });
    expect(await ask('mutation { rename(name: "Al") }', short.access)).toEqual({
      data: null,
      errors: refusal('session_type_not_allowed', 403),
    });
  });

  test('refuses a session that has ended', async () => {
    const { access: token, session } = await app.get(SessionService).create('bob', { type: 'LONG' });
    expect(await ask('{ me { userId } }', token)).toEqual({ data: { me: { userId: 'bob' } } });
    await app.get(SessionService).destroy(session.id);
    expect((await ask('{ me { userId } }', token)).errors).toEqual(refusal('token_not_valid', 401));
  });
});
