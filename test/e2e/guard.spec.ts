import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Controller, Get, Module, UseGuards } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  CurrentSession,
  type SessionClaims,
  JwtAuthGuard,
  OptionalSession,
  Public,
  RequireSession,
  SessionService,
  SessionTypes,
} from 'nestjs-multisession';
import { DataSource, type Logger as SqlLogger } from 'typeorm';
import { SIGNING_SECRET, ADAPTERS, bearer, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { createDatabase, selectedDatabases } from '../helpers/databases.js';
import { expired, resigned } from '../helpers/tokens.js';

const [databaseName] = selectedDatabases();

@Controller('notes')
@UseGuards(JwtAuthGuard)
class NotesController {
  @Get('session')
  session(@CurrentSession() session: SessionClaims) {
    return session;
  }

  @Get('user')
  user(@CurrentSession('userId') userId: string | number) {
    return { userId };
  }

  @Get('claims')
  claims(@CurrentSession('claims') claims: SessionClaims['claims']) {
    return claims;
  }
}

/** A feature module like an application's: it imports nothing. */
@Module({ controllers: [NotesController] })
class NotesModule {}

const POLICIES = {
  SIGNATURE: { refreshTokenLifetime: '1d', accessCheck: 'signature' },
  BLACKLIST: { refreshTokenLifetime: '1d', maxActiveSessions: 2 },
  SESSION: { refreshTokenLifetime: '1d', accessCheck: 'session' },
} as const;

/** Polls only at start, so that a statement counter sees only the statements of requests. */
const NO_POLLS = { pollInterval: '1h', maxStaleness: '2h' } as const;

/** Counts the statements of a DataSource. */
class StatementCounter implements SqlLogger {
  statements: string[] = [];
  logQuery(query: string) {
    this.statements.push(query);
  }
  logQueryError() {}
  logQuerySlow() {}
  logSchemaBuild() {}
  logMigration() {}
  log() {}
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  let app: TestApp;
  const start = async (given: TestAppOptions = {}) =>
    (app = await startApp({ databaseName, adapter, imports: [NotesModule], ...given }));
  const create = (userId: string | number, type: string, more = {}) =>
    app.get(SessionService).create(userId, { type, ...more });
  const get = (path: string, token?: string) => app.request('GET', path, { headers: token ? bearer(token) : {} });
  afterEach(() => app.close());

  describe('in a feature module that imports nothing', () => {
    test('injects the session of the caller, or one member of it', async () => {
      await start();
      const { session, access } = await create('alice', 'LONG', { claims: { role: 'editor' } });
      expect(await get('/notes/session', access)).toMatchObject({
        status: 200,
        body: {
          userId: 'alice',
          sessionId: session.id,
          sessionType: 'LONG',
          generation: 0,
          tokenId: expect.stringMatching(/^[0-9a-f]{32}$/),
          issuedAt: expect.any(Number),
          expiresAt: expect.any(Number),
        },
      });
      expect(await get('/notes/user', access)).toMatchObject({ status: 200, body: { userId: 'alice' } });
    });

    test("passes on the application's own claims", async () => {
      await start();
      const { access } = await create('alice', 'LONG', { claims: { role: 'editor', tenants: [1, 'zwei'] } });
      expect((await get('/notes/claims', access)).body).toMatchObject({
        role: 'editor',
        tenants: [1, 'zwei'],
        sub: 'alice',
        session_type: 'LONG',
      });
    });

    test.each([
      ['no token', {}, 'not_authenticated', 'Bearer realm="api"'],
      [
        'a scheme of others',
        { authorization: 'Basic YWxpY2U6cGFzc3dvcmQ=' },
        'not_authenticated',
        'Bearer realm="api"',
      ],
      ['a scheme alone', { authorization: 'Bearer' }, 'bad_authorization_header', 'Bearer realm="api"'],
      ['three words', { authorization: 'JWT a b' }, 'bad_authorization_header', 'Bearer realm="api"'],
      ['no token of ours', { authorization: 'Bearer a.b.c' }, 'token_not_valid', 'Bearer error="invalid_token"'],
    ])('refuses %s, with a header that says why', async (_, headers: Record<string, string>, code, challenge) => {
      await start();
      const answer = await app.request('GET', '/notes/session', { headers });
      expect(answer).toMatchObject({ status: 401, body: { statusCode: 401, error: 'Unauthorized', code } });
      expect(answer.headers.get('www-authenticate')).toBe(challenge);
    });

    test('refuses a refresh token, an expired token, and one from before the lifetime was shortened', async () => {
      await start({
        options: { jwt: { secret: 'a signing secret of more than thirty-two bytes', accessTokenLifetime: '1m' } },
      });
      const { access, refresh } = await create('alice', 'LONG');
      const now = Math.floor(Date.now() / 1000);
      const fromBefore = (issued: number) => resigned(access, { claims: { iat: now - issued, exp: now + 3600 } });
      expect((await get('/notes/user', fromBefore(30))).status).toBe(200);
      for (const token of [refresh, expired(access), fromBefore(70)]) {
        expect(await get('/notes/user', token)).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
      }
    });

    test.each([
      [['Bearer', 'bearer', 'JWT', 'jwt', 'BEARER'], undefined],
      [['Token', 'token'], { name: 'X-Access', schemes: 'Token' }],
    ])('accepts the schemes %j', async (schemes, header) => {
      await start({ options: { jwt: { secret: SIGNING_SECRET, header } } });
      const { access } = await create('alice', 'LONG');
      const name = header?.name ?? 'Authorization';
      for (const scheme of schemes) {
        const headers = { [name]: `${scheme} ${access}` };
        expect((await app.request('GET', '/notes/user', { headers })).status).toBe(200);
      }
      const other = await app.request('GET', '/notes/user', { headers: { [name]: `Other ${access}` } });
      expect(other.body.code).toBe('not_authenticated');
    });

    test('returns user ids with the type that they were given', async () => {
      await start();
      for (const userId of [' bob ', 'Zoë', '0012', 'a:b/c?d=e', '🙂', 'ÿ'.repeat(255)]) {
        const { access } = await create(userId, 'LONG');
        expect((await get('/notes/user', access)).body).toEqual({ userId });
      }
      await app.close();

      await start({ options: { userIdType: 'number' } });
      for (const userId of [7, 0, -1, Number.MAX_SAFE_INTEGER]) {
        const { access } = await create(userId, 'LONG');
        expect((await get('/notes/user', access)).body).toEqual({ userId });
      }
    });
  });

  describe('bound globally', () => {
    @Controller()
    class PlainController {
      @Get('plain')
      plain(@CurrentSession('userId') userId?: string) {
        return { userId: userId ?? null };
      }
    }

    @Controller()
    class LongController {
      @Get('long')
      @SessionTypes('long')
      long(@CurrentSession('userId') userId: string) {
        return { userId };
      }
    }

    @Controller('open')
    @Public()
    class OpenController extends PlainController {
      @Get('required')
      @RequireSession()
      required(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('optional')
      @OptionalSession()
      optional(@CurrentSession('userId') userId?: string) {
        return { userId: userId ?? null };
      }
    }

    @Controller('optional')
    @OptionalSession()
    class OptionalController extends PlainController {
      @Get('required')
      @RequireSession()
      required(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('public')
      @Public()
      public(@CurrentSession('userId') userId?: string) {
        return { userId: userId ?? null };
      }

      @Get('long')
      @RequireSession()
      @SessionTypes('LONG')
      long() {
        return {};
      }
    }

    @Controller('typed')
    @SessionTypes('LONG')
    class TypedController {
      @Get()
      ofClass() {
        return {};
      }

      @Get('either')
      @SessionTypes('Short', ' long ')
      either() {
        return {};
      }

      @Get('public')
      @Public()
      public() {
        return {};
      }
    }

    const globally = {
      controllers: [PlainController, LongController, OpenController, OptionalController, TypedController],
      providers: [{ provide: APP_GUARD, useClass: JwtAuthGuard }],
    };

    // The answers to an anonymous caller, to alice, and to a bad token, an expired one, and a malformed header.
    const REFUSED = [401, 401, 401] as const;
    test.each([
      ['/plain', 401, 'alice', REFUSED],
      ['/open/plain', null, null, [null, null, null]],
      ['/open/required', 401, 'alice', REFUSED],
      ['/open/optional', null, 'alice', REFUSED],
      ['/optional/plain', null, 'alice', REFUSED],
      ['/optional/required', 401, 'alice', REFUSED],
      ['/optional/public', null, null, [null, null, null]],
    ] as const)('%s: nobody gets %j, alice %j, a token that is not valid %j', async (path, nobody, alice, notValid) => {
      await start(globally);
      const { access } = await create('alice', 'LONG');
      const outcome = async (authorization?: string) => {
        const { status, body } = await app.request('GET', path, { headers: authorization ? { authorization } : {} });
        return status === 200 ? body.userId : status;
      };
      expect(await outcome()).toBe(nobody);
      expect(await outcome(`Bearer ${access}`)).toBe(alice);
      const broken = [`Bearer ${access.slice(0, -2)}`, `Bearer ${expired(access)}`, `Bearer ${access} ${access}`];
      expect([await outcome(broken[0]), await outcome(broken[1]), await outcome(broken[2])]).toEqual(notValid);
    });

    test.each([
      ['/typed', 401, 403, 200],
      ['/typed/either', 401, 200, 200],
      ['/typed/public', 200, 200, 200],
      ['/long', 401, 403, 200],
      ['/optional/long', 401, 403, 200],
    ])(
      '%s answers %i to an anonymous caller, %i to a SHORT session, %i to a LONG one',
      async (path, nobody, short, long) => {
        await start(globally);
        const answers = [
          await get(path),
          await get(path, (await create('alice', 'SHORT')).access),
          await get(path, (await create('alice', 'LONG')).access),
        ];
        expect(answers.map((answer) => answer.status)).toEqual([nobody, short, long]);
        if (short === 403)
          expect(answers[1].body).toMatchObject({ error: 'Forbidden', code: 'session_type_not_allowed' });
      },
    );

    test('does not change the routes of the module: login is open, list is not', async () => {
      await start(globally);
      const { access } = await app.login();
      expect((await app.post('list/', { session: 'ALL' })).body.code).toBe('not_authenticated');
      expect((await app.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(200);
    });
  });

  describe('the access check', () => {
    const counter = new StatementCounter();
    const startCounting = async () => {
      const database = await createDatabase(databaseName);
      await start({
        database: { ...database, options: { ...database.options, logging: ['query'], logger: counter } as never },
        options: { policies: POLICIES, revocation: NO_POLLS },
      });
      return database;
    };

    test.each([
      ['SIGNATURE', 0, 200],
      ['BLACKLIST', 0, 401],
      ['SESSION', 1, 401],
    ])(
      'of the type %s takes %i statements, and answers %i once the session has ended',
      async (type, statements, after) => {
        const database = await startCounting();
        const { access, session } = await create('alice', type);
        counter.statements = [];
        for (let request = 0; request < 3; request++) expect((await get('/notes/user', access)).status).toBe(200);
        expect(counter.statements).toHaveLength(3 * statements);
        for (const statement of counter.statements)
          expect(statement).toMatch(/^SELECT .* WHERE .*id["`] = (\?|\$1)(\) found ON TRUE)?$/);

        await app.get(SessionService).destroy(session.id);
        const answer = await get('/notes/user', access);
        expect(answer.status).toBe(after);
        if (after === 401) expect(answer.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"');
        await app.close();
        await database.drop();
      },
    );

    test('refuses a token at once after logout, destroy and eviction, and no other token', async () => {
      await start({ options: { policies: POLICIES, revocation: NO_POLLS } });
      const service = app.get(SessionService);
      const bystander = await create('bob', 'BLACKLIST');
      const ended = async (token: string) => (await get('/notes/user', token)).body.code === 'token_not_valid';

      const left = await create('alice', 'BLACKLIST');
      await service.logout(left.refresh);
      expect(await ended(left.access)).toBe(true);

      const destroyed = await create('alice', 'BLACKLIST');
      await service.destroy(destroyed.session.id);
      expect(await ended(destroyed.access)).toBe(true);

      const evicted = await create('alice', 'BLACKLIST');
      // If both were created in the same millisecond, either may count as the older.
      await new Promise((resolve) => setTimeout(resolve, 5));
      const second = await create('alice', 'BLACKLIST');
      expect(await ended(evicted.access)).toBe(false);
      const third = await create('alice', 'BLACKLIST');
      expect(await ended(evicted.access)).toBe(true);
      for (const { access } of [second, third, bystander]) expect(await ended(access)).toBe(false);
    });

    test('reads the row of few requests if the blacklist is full, and still refuses ended sessions', async () => {
      const revocation = { pollInterval: '50ms', maxEntries: 2 } as const;
      await start({ options: { policies: POLICIES, revocation } });
      const service = app.get(SessionService);
      const live = await create('alice', 'BLACKLIST');
      const ended = [];
      app.app.useLogger(false);
      for (let at = 0; at < 5; at++) {
        ended.push(await create('bob', 'BLACKLIST'));
        await service.destroy(ended[at].session.id);
      }
      expect((await get('/notes/user', live.access)).status).toBe(200);
      for (const { access } of ended) expect((await get('/notes/user', access)).body.code).toBe('token_not_valid');
    });

    test('reads the row for each request while the blacklist is stale', async () => {
      await start({ options: { policies: POLICIES, revocation: { pollInterval: '50ms', maxStaleness: '1s' } } });
      const live = await create('alice', 'BLACKLIST');
      const gone = await create('bob', 'BLACKLIST');
      const signed = await create('bob', 'SIGNATURE');
      const dataSource = app.get(DataSource);
      app.app.useLogger(false);
      // The blacklist cannot be polled any more, and a session ends as if in another process.
      await dataSource.query('ALTER TABLE session_blacklist RENAME TO session_blacklist_away');
      await dataSource.getRepository('SessionEntity').delete({ id: gone.session.id });
      expect((await get('/notes/user', gone.access)).status).toBe(200);
      await new Promise((resolve) => setTimeout(resolve, 1100));
      expect((await get('/notes/user', live.access)).status).toBe(200);
      expect((await get('/notes/user', gone.access)).body.code).toBe('token_not_valid');
      expect((await get('/notes/user', signed.access)).status).toBe(200);
      await dataSource.query('ALTER TABLE session_blacklist_away RENAME TO session_blacklist');
    });

    test('answers 503 with Retry-After, never 401, while the database is away and a request needs it', async () => {
      await start({ options: { policies: POLICIES, revocation: { pollInterval: '50ms', maxStaleness: '200ms' } } });
      const byRow = await create('alice', 'SESSION');
      const byMemory = await create('alice', 'BLACKLIST');
      app.app.useLogger(false);
      await app.get(DataSource).destroy();
      const refused = await get('/notes/user', byRow.access);
      expect(refused).toMatchObject({
        status: 503,
        body: { statusCode: 503, error: 'Service Unavailable', code: 'unavailable' },
      });
      expect(refused.headers.get('retry-after')).toBe('1');
      expect(refused.headers.get('www-authenticate')).toBeNull();
      expect((await get('/notes/user', 'a.b.c')).status).toBe(401);
      if (databaseName === 'sqlite') {
        // The polls use the only connection, so memory becomes stale.
        await new Promise((resolve) => setTimeout(resolve, 300));
        expect((await get('/notes/user', byMemory.access)).status).toBe(503);
      }
    });
  });
});

for (const name of selectedDatabases().filter((selected) => selected === 'postgres' || selected === 'mariadb')) {
  describe(`two processes on ${name}`, () => {
    let apps: [TestApp, TestApp];
    let drop: () => Promise<void>;
    beforeAll(async () => {
      const database = await createDatabase(name);
      const given: TestAppOptions = {
        database,
        imports: [NotesModule],
        options: { revocation: { pollInterval: '200ms' } },
      };
      apps = [await startApp(given), await startApp(given)];
      drop = () => database.drop();
    });
    afterAll(async () => {
      await Promise.all(apps.map((app) => app.close()));
      await drop();
    });

    test('refuse within the poll interval a session that ended on the other', async () => {
      const [first, second] = apps;
      const { access, session } = await first.get(SessionService).create('alice', { type: 'LONG' });
      const status = async (app: TestApp) =>
        (await app.request('GET', '/notes/user', { headers: bearer(access) })).status;
      expect([await status(first), await status(second)]).toEqual([200, 200]);
      await first.get(SessionService).destroy(session.id);
      expect(await status(first)).toBe(401);
      // The interval, plus a margin for a busy machine.
      const deadline = performance.now() + 200 + 1000;
      while ((await status(second)) === 200) {
        expect(performance.now()).toBeLessThan(deadline);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect(await status(second)).toBe(401);
    });
  });
}
