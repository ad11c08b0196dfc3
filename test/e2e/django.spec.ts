import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import {
  BadRequestException,
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  ForbiddenException,
  Get,
  HttpException,
  type INestApplication,
  Injectable,
  NotFoundException,
  Post,
  Req,
  UseGuards,
  VersioningType,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, HttpAdapterHost } from '@nestjs/core';
import { GraphQLModule, Query, Resolver } from '@nestjs/graphql';
import { getDataSourceToken } from '@nestjs/typeorm';
import {
  CurrentSession,
  type SessionClaims,
  DestroyAllOtherDto,
  JwtAuthGuard,
  SessionRoute,
  SessionsController,
  SessionService,
  SessionTypes,
  ValidBody,
} from 'nestjs-multisession';
import { DJANGO_ERROR_FILTER_OPTIONS, DjangoErrorFilter } from 'nestjs-multisession/django';
import type { DataSource } from 'typeorm';
import { type Answer, bearer, DEFAULT_OPTIONS, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { onEachAdapter } from '../helpers/matrix.js';

/** Routes of the application, outside the prefix. */
@Controller('shop')
class ShopController {
  constructor(private readonly sessions: SessionService) {}

  @Get('me')
  @UseGuards(JwtAuthGuard)
  me() {
    return { ok: true };
  }

  @Get('long')
  @UseGuards(JwtAuthGuard)
  @SessionTypes('LONG')
  long() {
    return { ok: true };
  }

  @Get('missing')
  missing(): never {
    throw new NotFoundException('No such shop');
  }

  @Get('broken')
  broken(): never {
    throw new Error('only for the log');
  }

  /** The filter must not touch errors of the application's own routes. */
  @Post('refresh')
  refresh(@Body('refresh') refresh: string) {
    return this.sessions.refresh(refresh);
  }
}

@Resolver()
@UseGuards(JwtAuthGuard)
class SecretResolver {
  @Query(() => String)
  secret(): string {
    return 'the secret';
  }
}

/** Refuses like a throttler, with a header, while `isCrowded` is set. */
@Injectable()
class CrowdGuard implements CanActivate {
  static isCrowded = false;

  constructor(private readonly adapterHost: HttpAdapterHost) {}

  canActivate(context: ExecutionContext): boolean {
    if (!CrowdGuard.isCrowded) return true;
    this.adapterHost.httpAdapter.setHeader(context.switchToHttp().getResponse(), 'Retry-After', '42');
    throw new HttpException('Too Many Requests', 429);
  }
}

const BOUND = [{ provide: APP_FILTER, useClass: DjangoErrorFilter }];
const JSON_BODY = { 'content-type': 'application/json' };
const REQUIRED = ['This field is required.'];
const NULL = ['This field may not be null.'];
const BLANK = ['This field may not be blank.'];
const NO_STRING = ['Not a valid string.'];
const BAD_CREDENTIALS = { non_field_errors: ['Invalid Credentials or not active account found!'] };
const UNKNOWN = { detail: 'No active account found with the given credentials' };
const REFRESH_NOT_VALID = { detail: 'Token is invalid or expired', code: 'token_not_valid' };
const ACCESS_NOT_VALID = {
  detail: 'Given token not valid for any token type',
  code: 'token_not_valid',
  messages: [{ token_class: 'AccessToken', token_type: 'access', message: 'Token is invalid or expired' }],
};
const NO_CREDENTIALS = { detail: 'Authentication credentials were not provided.' };
const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG', info: 'x' };
const PARSE_ERROR = { detail: expect.stringMatching(/^JSON parse error - ./) };

function expectAnswer(answer: Answer, status: number, body: unknown): void {
  expect({ status: answer.status, body: answer.body as unknown }).toEqual({ status, body });
}

onEachAdapter((databaseName, adapter) => {
  describe('DjangoErrorFilter answers like Django:', () => {
    let app: TestApp;
    let session: { refresh: string; access: string; session_id: string };
    beforeAll(async () => {
      app = await startApp({
        databaseName,
        adapter,
        providers: BOUND,
        options: {
          policies: {
            SHORT: { refreshTokenLifetime: '1d', maxActiveSessions: 1, whenFull: 'refuse' },
            LONG: { refreshTokenLifetime: '30d' },
          },
        },
      });
      session = await app.login();
    });
    afterAll(() => app?.close());

    test('leaves successful answers alone', async () => {
      expectAnswer(await app.post('list/', { session: 'SHORT' }, bearer(session.access)), 200, {
        Short: { 'Available Sessions': '1', Sessions: [] },
      });
    });

    test('validation_failed: only the faulty fields', async () => {
      expectAnswer(await app.post('login/', {}), 400, {
        username: REQUIRED,
        password: REQUIRED,
        secret_key: REQUIRED,
        session: REQUIRED,
      });
      expectAnswer(await app.post('refresh/', { refresh: '', secret_key: null, session: { a: 1 } }), 400, {
        refresh: BLANK,
        secret_key: NULL,
        session: NO_STRING,
      });
      // Without the filter, the type in the token would count.
      expectAnswer(await app.post('refresh/', { refresh: session.refresh, secret_key: SECRET_KEY }), 400, {
        session: REQUIRED,
      });
      expectAnswer(await app.post('logout/', 'refresh', { 'content-type': 'text/plain' }), 400, {
        secret_key: REQUIRED,
        refresh: REQUIRED,
      });
      expectAnswer(await app.post('login/'), 400, {
        username: REQUIRED,
        password: REQUIRED,
        secret_key: REQUIRED,
        session: REQUIRED,
      });
    });

    test('invalid_session_type: the types as Python lists them, except at destroyAllOther', async () => {
      const types = (list: string) => ({ non_field_errors: [`Invalid Session Type. Valid options: ${list}`] });
      expectAnswer(await app.post('login/', { ...LOGIN, session: 'ALL' }), 400, types("['LONG', 'SHORT']"));
      expectAnswer(
        await app.post('refresh', { refresh: 'x', secret_key: SECRET_KEY, session: 'x' }),
        400,
        types("['LONG', 'SHORT']"),
      );
      expectAnswer(
        await app.post('list/', { session: 'x' }, bearer(session.access)),
        400,
        types("['LONG', 'SHORT', 'ALL']"),
      );
      expectAnswer(
        await app.post('destroyAllOther/', { session: 'x', refresh: session.refresh }, bearer(session.access)),
        400,
        { non_field_errors: ['Invalid Session Type'] },
      );
    });

    test('invalid_credentials and secret_key_invalid: the same text', async () => {
      const refresh = { refresh: session.refresh, session: 'LONG', secret_key: 'another' };
      expectAnswer(await app.post('login/', { ...LOGIN, password: 'x' }), 400, BAD_CREDENTIALS);
      expectAnswer(await app.post('login/', { ...LOGIN, username: 'nobody' }), 400, BAD_CREDENTIALS);
      expectAnswer(await app.post('login/', { ...LOGIN, secret_key: 'another' }), 400, BAD_CREDENTIALS);
      expectAnswer(await app.post('refresh/', refresh), 400, BAD_CREDENTIALS);
      expectAnswer(await app.post('logout/', refresh), 400, BAD_CREDENTIALS);
    });

    test('session_limit_reached', async () => {
      await app.login({ session: 'SHORT' });
      expectAnswer(await app.post('login/', { ...LOGIN, session: 'SHORT' }), 400, {
        detail: 'Reached max number of sessions.',
      });
    });

    test('token_not_valid: a refresh token of another session type, or of another user at destroyAllOther', async () => {
      const other = await app.login();
      expectAnswer(
        await app.post('destroyAllOther/', { session: 'ALL', refresh: other.refresh }, bearer(session.access)),
        401,
        REFRESH_NOT_VALID,
      );
      const body = { refresh: other.refresh, secret_key: SECRET_KEY, session: 'SHORT' };
      const answer = await app.post('refresh/', body);
      expectAnswer(answer, 401, REFRESH_NOT_VALID);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expectAnswer(await app.post('refresh/', body), 401, UNKNOWN);
    });

    test('session_not_found: 401, at destroy too', async () => {
      const gone = { refresh: 'x', secret_key: SECRET_KEY };
      expectAnswer(await app.post('refresh/', { ...gone, session: 'LONG' }), 401, UNKNOWN);
      expectAnswer(await app.post('logout/', gone), 401, UNKNOWN);
      expectAnswer(await app.post('destroy/', { session_id: 'x' }, bearer(session.access)), 401, UNKNOWN);
    });

    test('not_authenticated', async () => {
      const answer = await app.post('list/', { session: 'ALL' });
      expectAnswer(answer, 401, NO_CREDENTIALS);
      expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="api"');
    });

    test('bad_authorization_header', async () => {
      const answer = await app.post('list/', { session: 'ALL' }, { authorization: 'JWT a b' });
      expectAnswer(answer, 401, {
        detail: 'Authorization header must contain two space-delimited values',
        code: 'bad_authorization_header',
      });
      expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="api"');
    });

    test('token_not_valid: a forged access token, or a refresh token instead of one', async () => {
      for (const token of ['forged', session.refresh]) {
        const answer = await app.post('list/', { session: 'ALL' }, bearer(token));
        expectAnswer(answer, 401, ACCESS_NOT_VALID);
        expect(answer.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"');
      }
    });

    test('broken JSON, and JSON that is not an object', async () => {
      expectAnswer(await app.post('login/', '{"username": ', JSON_BODY), 400, PARSE_ERROR);
      expectAnswer(await app.post('login/', '[1]', JSON_BODY), 400, PARSE_ERROR);
      expectAnswer(await app.post('login/', '"text"', JSON_BODY), 400, expect.anything());
    });

    test.each(['GET', 'PUT', 'PATCH', 'DELETE'])('another method: %s', async (method) => {
      for (const path of ['/api/session/login/', '/api/session/destroyAllOther?page=2']) {
        const answer = await app.request(method, path);
        expectAnswer(answer, 405, { detail: `Method "${method}" not allowed.` });
        expect(answer.headers.get('allow')).toBe('POST, OPTIONS');
      }
    });

    test('another path', async () => {
      for (const path of ['/api/session', '/api/session/unknown/', '/api/session/login/more']) {
        const answer = await app.request('POST', path);
        expectAnswer(answer, 404, { detail: 'Not found.' });
        expect(answer.headers.get('allow')).toBeNull();
      }
    });

    test('a body over the limit', async () => {
      const answer = await app.post('login/', { ...LOGIN, info: 'x'.repeat(1_100_000) });
      expectAnswer(answer, 413, { detail: expect.stringContaining('too large') });
    });
  });

  describe('DjangoErrorFilter and errors of the application:', () => {
    let app: TestApp;
    beforeAll(async () => {
      app = await startApp({
        databaseName,
        adapter,
        providers: [...BOUND, { provide: APP_GUARD, useClass: CrowdGuard }],
      });
    });
    afterAll(() => app?.close());

    test('the message of an authenticator becomes the detail, and a custom body stays', async () => {
      app.users.authenticate = () => Promise.reject(new ForbiddenException('Locked until tomorrow'));
      expectAnswer(await app.post('login/', LOGIN), 403, { detail: 'Locked until tomorrow' });
      app.users.authenticate = () => Promise.reject(new BadRequestException(['Too old.', 'Too short.']));
      expectAnswer(await app.post('login/', LOGIN), 400, { detail: 'Too old. Too short.' });
      const body = { message: 'Locked', until: 'tomorrow' };
      app.users.authenticate = () => Promise.reject(new ForbiddenException(body));
      expectAnswer(await app.post('login/', LOGIN), 403, body);
      app.users.authenticate = () => Promise.resolve({ id: 'alice' });
    });

    test('the Retry-After of a throttler stays', async () => {
      CrowdGuard.isCrowded = true;
      const answer = await app.post('login/', LOGIN);
      CrowdGuard.isCrowded = false;
      expectAnswer(answer, 429, { detail: 'Too Many Requests' });
      expect(answer.headers.get('retry-after')).toBe('42');
    });

    test('an unreachable database is 503 with Retry-After', async () => {
      await app.app.get<DataSource>(getDataSourceToken()).destroy();
      const answer = await app.post('login/', LOGIN);
      expectAnswer(answer, 503, { detail: 'Temporarily unavailable, try again' });
      expect(answer.headers.get('retry-after')).toBe('1');
    });
  });

  describe('DjangoErrorFilter outside of the prefix', () => {
    let app: TestApp;
    let plain: TestApp;
    beforeAll(async () => {
      app = await startApp({ databaseName, adapter, providers: BOUND, controllers: [ShopController] });
      plain = await startApp({ databaseName, adapter, controllers: [ShopController] });
    });
    afterAll(async () => {
      await app?.close();
      await plain?.close();
    });

    test.each([
      ['GET', '/shop/missing', undefined, {}, 404],
      ['GET', '/shop/broken', undefined, {}, 500],
      ['GET', '/shop/unknown', undefined, {}, 404],
      ['GET', '/api/sessions', undefined, {}, 404],
      ['GET', '/', undefined, {}, 404],
      ['POST', '/shop/refresh', '{"a":', JSON_BODY, 400],
      ['POST', '/shop/refresh', { refresh: 'x' }, {}, 401],
    ])('%s %s is answered as without the filter', async (method, path, body, headers, status) => {
      const [ours, theirs] = [
        await app.request(method, path, { body, headers }),
        await plain.request(method, path, { body, headers }),
      ];
      expectAnswer(ours, status, theirs.body);
      expect(theirs.body.statusCode).toBe(status);
    });

    test('translates the refusals of JwtAuthGuard', async () => {
      const { access } = await app.login({ session: 'SHORT' });
      expectAnswer(await app.request('GET', '/shop/me', { headers: bearer(access) }), 200, { ok: true });
      const nobody = await app.request('GET', '/shop/me');
      expectAnswer(nobody, 401, NO_CREDENTIALS);
      expect(nobody.headers.get('www-authenticate')).toBe('Bearer realm="api"');
      expectAnswer(await app.request('GET', '/shop/me', { headers: bearer('x') }), 401, ACCESS_NOT_VALID);
      expectAnswer(await app.request('GET', '/shop/me', { headers: { authorization: 'Bearer' } }), 401, {
        detail: 'Authorization header must contain two space-delimited values',
        code: 'bad_authorization_header',
      });
      expectAnswer(await app.request('GET', '/shop/long', { headers: bearer(access) }), 403, {
        detail: expect.any(String),
      });
    });
  });

  describe('DjangoErrorFilter finds the routes:', () => {
    @Controller('auth')
    class AuthController extends SessionsController {
      @Get('who')
      who(): never {
        throw new NotFoundException('No such page');
      }

      @SessionRoute('destroyAllOther', 'others')
      override destroyAllOther(
        @ValidBody() body: DestroyAllOtherDto,
        @CurrentSession() current: SessionClaims,
        @Req() request: unknown,
      ) {
        return super.destroyAllOther(body, current, request);
      }
    }

    @Controller()
    class BareController extends SessionsController {}

    interface Location {
      at: string;
      outside: string;
      options?: object;
      configure?: (app: INestApplication) => void;
    }

    const globally = (app: INestApplication) => {
      app.setGlobalPrefix('v2/:tenant', { exclude: ['api/session/logout'] });
      app.enableVersioning({ type: VersioningType.URI, defaultVersion: '3' });
    };

    test.each<[string, Location]>([
      ['a path of the module', { at: '/a/b', outside: '/a', options: { path: 'a/b' } }],
      [
        'a global prefix and a version',
        { at: '/v2/acme/v3/api/session', outside: '/v2/acme/api/session', configure: globally },
      ],
      ['a subclass with a path', { at: '/auth', outside: '/api/session', options: { controller: AuthController } }],
      [
        'a subclass under a path of the module',
        { at: '/a/auth', outside: '/auth', options: { controller: AuthController, path: 'a' } },
      ],
    ])('%s', async (_, { at, outside, options, configure }) => {
      const app = await startApp({ databaseName, adapter, providers: BOUND, options, configure });
      try {
        expectAnswer(await app.request('GET', `${at}/nothing`), 404, { detail: 'Not found.' });
        expectAnswer(await app.request('GET', `${at}/list/`), 405, { detail: 'Method "GET" not allowed.' });
        expectAnswer(await app.request('POST', `${at}/login`, { body: '{', headers: JSON_BODY }), 400, PARSE_ERROR);
        expectAnswer(await app.request('POST', `${at}/logout`, { body: {} }), configure ? 404 : 400, expect.anything());
        expect((await app.request('GET', `${outside}/nothing`)).body).toMatchObject({ statusCode: 404 });
      } finally {
        await app.close();
      }
    });

    test('a route that is excluded from the global prefix', async () => {
      const app = await startApp({ databaseName, adapter, providers: BOUND, configure: globally });
      try {
        expectAnswer(await app.request('POST', '/v3/api/session/logout', { body: {} }), 400, {
          secret_key: REQUIRED,
          refresh: REQUIRED,
        });
        expectAnswer(await app.request('GET', '/v3/api/session/logout'), 405, {
          detail: 'Method "GET" not allowed.',
        });
      } finally {
        await app.close();
      }
    });

    test('the routes of a subclass without a path, which has no prefix', async () => {
      const app = await startApp({
        databaseName,
        adapter,
        options: { controller: BareController },
        controllers: [ShopController],
        // The other way to bind the filter.
        providers: [DjangoErrorFilter],
        configure: (given) => {
          given.setGlobalPrefix('api');
          given.useGlobalFilters(given.get(DjangoErrorFilter));
        },
      });
      try {
        expectAnswer(await app.request('POST', '/api/logout', { body: {} }), 400, {
          secret_key: REQUIRED,
          refresh: REQUIRED,
        });
        expectAnswer(await app.request('GET', '/api/logout'), 405, { detail: 'Method "GET" not allowed.' });
        expect((await app.request('GET', '/api/shop/missing')).body).toMatchObject({ message: 'No such shop' });
      } finally {
        await app.close();
      }
    });

    test('own routes of a subclass, with a configured user name field', async () => {
      const app = await startApp({
        databaseName,
        adapter,
        options: { controller: AuthController, usernameField: 'email' },
        providers: BOUND,
      });
      try {
        expectAnswer(await app.request('GET', '/auth/who'), 404, { detail: 'No such page' });
        expectAnswer(await app.request('POST', '/auth/login', { body: { ...LOGIN, email: '' } }), 400, {
          email: BLANK,
        });
        const { access, refresh } = await app.get(SessionService).create('alice', { type: 'LONG' });
        const others = { body: { session: 'x', refresh }, headers: bearer(access) };
        expectAnswer(await app.request('POST', '/auth/others', others), 400, {
          non_field_errors: ['Invalid Session Type'],
        });
      } finally {
        await app.close();
      }
    });

    test('routes below the configured prefixes', async () => {
      const app = await startApp({
        databaseName,
        adapter,
        controllers: [ShopController],
        options: { ...DEFAULT_OPTIONS, controller: false },
        providers: [...BOUND, { provide: DJANGO_ERROR_FILTER_OPTIONS, useValue: { prefixes: ['/shop/:any'] } }],
      });
      try {
        expectAnswer(await app.post('login/', {}), 404, expect.objectContaining({ statusCode: 404 }));
        expectAnswer(await app.request('POST', '/shop/refresh', { body: { refresh: 'x' } }), 401, UNKNOWN);
        expectAnswer(await app.request('POST', '/shop/refresh', { body: '{', headers: JSON_BODY }), 400, PARSE_ERROR);
        expectAnswer(await app.request('GET', '/shop'), 404, expect.objectContaining({ statusCode: 404 }));
      } finally {
        await app.close();
      }
    });
  });
});

test('DjangoErrorFilter leaves the errors of GraphQL resolvers to their driver', async () => {
  const app = await startApp({
    databaseName: selectedDatabases()[0],
    imports: [GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true })],
    providers: [...BOUND, SecretResolver],
  });
  try {
    const { body } = await app.request('POST', '/graphql', { body: { query: '{ secret }' } });
    expect(body.errors[0].extensions.originalError).toMatchObject({ statusCode: 401, code: 'not_authenticated' });
  } finally {
    await app.close();
  }
});
