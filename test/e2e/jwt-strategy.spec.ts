import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Controller,
  Get,
  Injectable,
  Module,
  type ModuleMetadata,
  type OnModuleInit,
  Req,
  UseGuards,
} from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { AuthGuard, PassportStrategy } from '@nestjs/passport';
import {
  CurrentSession,
  JwtAuthGuard,
  MultiSessionConfigurationError,
  OptionalSession,
  SessionService,
} from 'nestjs-multisession';
import { MultiSessionPassportModule } from 'nestjs-multisession/passport';
import passport from 'passport';
import { DataSource } from 'typeorm';
import { ADAPTERS, type AdapterName, bearer, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { decoded, resigned, signedByHand, type TokenPart } from '../helpers/tokens.js';

const [databaseName] = selectedDatabases();
const FIRST_SECRET = 'the first secret of more than thirty-two bytes';
const SECOND_SECRET = 'the second secret of more than thirty-two bytes';

/** A strategy of the application: accepts a request with the right `X-Api-Key`. */
class ApiKey extends passport.Strategy {
  constructor(private readonly verify: (key: unknown, done: (error: unknown, user?: object | null) => void) => void) {
    super();
  }

  override authenticate(request: { headers: Record<string, unknown> }) {
    this.verify(request.headers['x-api-key'], (error, user) => {
      if (error) this.error(error);
      else if (user) this.success(user);
      else this.fail(401);
    });
  }
}

@Injectable()
class ApiKeyStrategy extends PassportStrategy(ApiKey, 'api-key') {
  validate(key: unknown) {
    return key === 'right' ? { userId: 'a machine' } : null;
  }
}

@Controller()
class WhoController {
  @Get('direct')
  @UseGuards(JwtAuthGuard)
  direct(@CurrentSession() session: object) {
    return session;
  }

  @Get('passport')
  @UseGuards(AuthGuard('jwt'))
  passport(@CurrentSession() session: object) {
    return session;
  }

  @Get('key-or-jwt')
  @UseGuards(AuthGuard(['api-key', 'jwt']))
  @OptionalSession()
  keyOrJwt(@CurrentSession('userId') sessionUser: string | undefined, @Req() { user }: { user: { userId: string } }) {
    return { userId: user.userId, sessionUser };
  }

  @Get('jwt-or-key')
  @UseGuards(AuthGuard(['jwt', 'api-key']))
  @OptionalSession()
  jwtOrKey(@CurrentSession('userId') sessionUser: string | undefined, @Req() { user }: { user: { userId: string } }) {
    return { userId: user.userId, sessionUser };
  }

  @Get('renamed')
  @UseGuards(AuthGuard('session-token'))
  renamed(@CurrentSession('userId') userId: string) {
    return { userId };
  }
}

const POLICIES = {
  SIGNATURE: { refreshTokenLifetime: '1d', accessCheck: 'signature' },
  BLACKLIST: { refreshTokenLifetime: '1d' },
  SESSION: { refreshTokenLifetime: '1d', accessCheck: 'session' },
} as const;

const OPTIONS = {
  jwt: {
    keys: [
      { kid: 'first', secret: FIRST_SECRET },
      { kid: 'second', secret: SECOND_SECRET, algorithm: 'HS512' },
    ],
    issuer: 'https://issuer.example',
    audience: ['web', 'mobile'],
  },
  policies: POLICIES,
} as const;

const start = (adapter: AdapterName, options: object, imports: ModuleMetadata['imports'] = []) =>
  startApp({
    databaseName,
    adapter,
    options,
    imports,
    controllers: [WhoController],
    providers: [ApiKeyStrategy],
  });

/** Marsaglia's xorshift. Every run makes the same choices. */
function seeded(state: number): (below: number) => number {
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

interface Material {
  /** A valid access token. The others are the same user's: of an ended session, and a refresh token. */
  good: string;
  ended: string;
  refresh: string;
  random: (below: number) => number;
}

type Mutation = (material: Material) => string;

const header =
  (change: TokenPart): Mutation =>
  ({ good }) =>
    `Bearer ${resigned(good, { header: change }, FIRST_SECRET)}`;
const claims =
  (change: (material: Material, now: number) => TokenPart): Mutation =>
  (material) =>
    `Bearer ${resigned(material.good, { claims: change(material, Math.floor(Date.now() / 1000)) }, FIRST_SECRET)}`;
const pick = <T>(random: Material['random'], choices: readonly T[]): T => choices[random(choices.length)];
const anyOf =
  (...values: unknown[]) =>
  ({ random }: Material) =>
    pick(random, values);

const NO_TEXT = anyOf(undefined, null, 7, true, {}, [], '');
const NO_NUMBER = anyOf(undefined, null, '7', true, {}, [], '');

/** Ways to send or to change a good token. Some of the results are still valid. */
const MUTATIONS: Mutation[] = [
  ({ good }) => `Bearer ${good}`,
  ({ good }) => `bearer   ${good} `,
  ({ good }) => `JWT ${good}`,
  ({ refresh }) => `Bearer ${refresh}`,
  ({ ended }) => `Bearer ${ended}`,
  // The authorization header.
  ({ good }) => good,
  ({ good }) => `Basic ${good}`,
  ({ good }) => `Bearer ${good} ${good}`,
  ({ good }) => `Bearer, ${good}`,
  ({ random }) =>
    pick(random, ['Bearer', 'Bearer .', 'Bearer ..', 'Bearer a.b.c', 'Bearer null', 'Bearer undefined', '']),
  // The text of the token.
  ({ good, random }) => `Bearer ${good.slice(0, random(good.length - 1))}`,
  ({ good, random }) => `Bearer ${good.slice(1 + random(good.length - 1))}`,
  ({ good, random }) => {
    const at = random(good.length - 1);
    return `Bearer ${good.slice(0, at)}${good[at] === 'A' ? 'B' : 'A'}${good.slice(at + 1)}`;
  },
  ({ good, random }) => `Bearer ${good}${pick(random, ['.', '=', 'A', '.A', '%00', '\u00e9', '#'])}`,
  ({ good }) => `Bearer ${good.slice(0, good.lastIndexOf('.') + 1)}`,
  ({ good, ended }) => `Bearer ${good.slice(0, good.lastIndexOf('.'))}${ended.slice(ended.lastIndexOf('.'))}`,
  ({ good, ended }) => `Bearer ${[good.split('.')[0], ended.split('.')[1], good.split('.')[2]].join('.')}`,
  // The signature.
  ({ good }) => `Bearer ${resigned(good, {}, SECOND_SECRET)}`,
  ({ good }) => `Bearer ${resigned(good, { header: { kid: 'second' } }, SECOND_SECRET)}`,
  ({ good }) => `Bearer ${resigned(good, { header: { kid: 'second', alg: 'HS512' } }, SECOND_SECRET)}`,
  ({ good }) => `Bearer ${resigned(good, {}, 'x'.repeat(40))}`,
  ({ good }) => `Bearer ${resigned(good, { header: { alg: 'none' } }).replace(/[^.]*$/, '')}`,
  ({ good, random }) =>
    `Bearer ${resigned(good, { header: { alg: pick(random, ['none', 'None', 'HS512', 'RS256', 'ES256', undefined, 7]) } }, FIRST_SECRET)}`,
  header({ kid: undefined }),
  header({ kid: 'unknown' }),
  header({ kid: ['first'] }),
  header({ kid: '__proto__' }),
  header({ crit: ['exp'] }),
  header({ typ: 'JWT' }),
  header({ jku: 'https://thief.example/keys', jwk: { kty: 'oct', k: 'eA' } }),
  ({ good, random }) =>
    `Bearer ${signedByHand(pick(random, [null, [], 7, 'text', {}]), decoded(good, 1), FIRST_SECRET)}`,
  ({ good, random }) =>
    `Bearer ${signedByHand(decoded(good, 0), pick(random, [null, [], 7, 'text', {}, true]), FIRST_SECRET)}`,
  // The claims.
  claims((_, now) => ({ exp: now - 1 })),
  claims((_, now) => ({ exp: now + 100 })),
  claims((_, now) => ({ exp: now + 100.5 })),
  claims((material) => ({ exp: NO_NUMBER(material) })),
  claims((_, now) => ({ nbf: now + 60 })),
  claims((_, now) => ({ nbf: now - 60 })),
  claims((material) => ({ nbf: anyOf(null, '7', {}, [])(material) })),
  claims((_, now) => ({ iat: now - 86_400, exp: now + 86_400 })),
  claims((_, now) => ({ iat: now + 3600 })),
  claims((material) => ({ iat: NO_NUMBER(material) })),
  claims((material) => ({ sub: anyOf(undefined, null, true, {}, [])(material) })),
  claims((material) => ({ sub: anyOf('mallory', 7, '', 'alice ')(material) })),
  claims((material) => ({ sid: NO_TEXT(material) })),
  claims((material) => ({ sid: anyOf('00000000-0000-7000-8000-000000000000', "' OR 1=1", 'x'.repeat(500))(material) })),
  claims((material) => ({ sid: decoded(material.ended, 1).sid })),
  claims((material) => ({ gen: NO_NUMBER(material) })),
  claims(() => ({ gen: 0.5 })),
  claims((material) => ({ session_type: NO_TEXT(material) })),
  claims((material) => ({ session_type: anyOf('OTHER', 'signature', 'ALL', '__proto__')(material) })),
  claims((material) => ({ token_type: anyOf('refresh', undefined, 'ACCESS', null)(material) })),
  claims((material) => ({ jti: NO_TEXT(material) })),
  claims((material) => ({
    iss: anyOf('https://thief.example', undefined, null, ['https://issuer.example'])(material),
  })),
  claims((material) => ({ aud: anyOf('desktop', undefined, null, [], 'WEB')(material) })),
  claims((material) => ({ aud: anyOf('web', ['mobile', 'tv'])(material) })),
  claims(() => ({ role: 'admin' })),
];

const TOKENS = 200;

describe.each(ADAPTERS)('on %s', (adapter) => {
  describe('the guard and the strategy', () => {
    let app: TestApp;
    beforeAll(async () => void (app = await start(adapter, OPTIONS, [MultiSessionPassportModule.forRoot()])));
    afterAll(() => app.close());

    const material = async (type: string): Promise<Material> => {
      const service = app.get(SessionService);
      const live = await service.create('alice', { type, claims: { role: 'editor' } });
      const ended = await service.create('alice', { type });
      await service.destroy(ended.session.id);
      return { good: live.access, ended: ended.access, refresh: live.refresh, random: seeded(20_26_11) };
    };
    const verdict = async (path: string, authorization: string) => {
      const { status, body } = await app.request('GET', path, { headers: { authorization } });
      return { status, user: status === 200 ? body : undefined };
    };

    test.each(Object.keys(POLICIES))('give the same verdict on two hundred tokens of the type %s', async (type) => {
      const given = await material(type);
      const headers = Array.from({ length: TOKENS }, (_, at) => MUTATIONS[at % MUTATIONS.length](given));
      const verdicts = await Promise.all(
        headers.map(async (authorization) => ({
          authorization,
          direct: await verdict('/direct', authorization),
          passport: await verdict('/passport', authorization),
        })),
      );
      for (const { authorization, direct, passport: throughPassport } of verdicts) {
        expect({ authorization, ...throughPassport }).toEqual({ authorization, ...direct });
      }
      const statuses = verdicts.map(({ direct }) => direct.status);
      expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(30);
      expect(statuses.filter((status) => status === 401).length).toBeGreaterThan(120);
      expect(statuses.every((status) => status === 200 || status === 401)).toBe(true);
    });

    test.each(['/key-or-jwt', '/jwt-or-key'])(
      'pass a request in the chain %s if either strategy accepts it',
      async (path) => {
        const { good, ended } = await material('BLACKLIST');
        const outcome = async (headers: Record<string, string>) => {
          const { status, body } = await app.request('GET', path, { headers });
          // The session is the caller's only if the token was accepted: a key is no session.
          if (body.userId !== undefined) expect(body.sessionUser).toBe(body.userId === 'alice' ? 'alice' : undefined);
          return body.userId ?? status;
        };
        expect(await outcome({ 'x-api-key': 'right' })).toBe('a machine');
        expect(await outcome(bearer(good))).toBe('alice');
        expect(await outcome({ 'x-api-key': 'wrong', ...bearer(good) })).toBe('alice');
        expect(await outcome({ 'x-api-key': 'right', ...bearer(ended) })).toBe('a machine');
        expect(await outcome({ 'x-api-key': 'wrong', ...bearer(ended) })).toBe(401);
        expect(await outcome({ 'x-api-key': 'right', authorization: 'Bearer' })).toBe('a machine');
        expect(await outcome({})).toBe(401);
      },
    );

    test('both answer 503 while the database is away, and end a chain that reaches the token', async () => {
      const { good } = await material('SESSION');
      app.app.useLogger(false);
      await app.get(DataSource).destroy();
      for (const path of ['/direct', '/passport', '/jwt-or-key', '/key-or-jwt']) {
        const { status, body } = await app.request('GET', path, { headers: bearer(good) });
        expect({ path, status, code: body.code }).toEqual({ path, status: 503, code: 'unavailable' });
      }
      expect((await app.request('GET', '/passport', { headers: bearer('a.b.c') })).status).toBe(401);
    });
  });

  describe('the name of the strategy', () => {
    let app: TestApp;
    const status = async (path: string) => {
      const { access } = await app.get(SessionService).create('alice', { type: 'LONG' });
      return (await app.request('GET', path, { headers: bearer(access) })).status;
    };
    afterEach(() => app.close());

    test.each([
      ['jwt by default', [MultiSessionPassportModule.forRoot()], { '/passport': 200, '/renamed': 500 }],
      ['jwt if undefined', [MultiSessionPassportModule.forRoot({ name: undefined })], { '/passport': 200 }],
      [
        'the one that the module was given',
        [MultiSessionPassportModule.forRoot({ name: 'session-token' })],
        { '/passport': 500, '/renamed': 200 },
      ],
      ['not registered without the module', [], { '/passport': 500, '/renamed': 500 }],
    ])('is %s', async (_, imports, expected) => {
      app = await start(adapter, {}, imports);
      app.app.useLogger(false);
      expect(await status('/direct')).toBe(200);
      for (const [path, wanted] of Object.entries(expected)) expect([path, await status(path)]).toEqual([path, wanted]);
    });
  });
});

describe('a name that Passport has already', () => {
  /** The application's own strategy, under the name that ours would have. */
  @Injectable()
  class OwnJwtStrategy extends PassportStrategy(ApiKey, 'jwt') {
    validate() {
      return null;
    }
  }

  @Module({ providers: [OwnJwtStrategy] })
  class OwnAuthModule {}

  @Module({})
  class LateAuthModule implements OnModuleInit {
    onModuleInit() {
      new OwnJwtStrategy();
    }
  }

  const ours = MultiSessionPassportModule.forRoot();
  const faultsOf = (imports: ModuleMetadata['imports']) =>
    start('express', {}, imports).then(
      async (app) => {
        await app.close();
        return [];
      },
      (error: unknown) => {
        expect(error).toBeInstanceOf(MultiSessionConfigurationError);
        return (error as MultiSessionConfigurationError).faults;
      },
    );

  afterEach(() => void passport.unuse('jwt'));

  test.each([
    ['imported before ours', [OwnAuthModule, ours]],
    ['imported after ours', [ours, OwnAuthModule]],
    ['registered during start, before ours', [LateAuthModule, ours]],
    ['registered during start, after ours', [ours, LateAuthModule]],
  ])('stops the start: a strategy of the application, %s', async (_, imports) => {
    expect(await faultsOf(imports)).toEqual([
      expect.stringMatching(/already has a strategy named 'jwt' \(class OwnJwtStrategy\).*choose another name/),
    ]);
  });

  test('stops the start: the strategy that Passport itself has', async () => {
    expect(await faultsOf([MultiSessionPassportModule.forRoot({ name: 'session' })])).toEqual([
      expect.stringMatching(/'session' \(class SessionStrategy\)/),
    ]);
  });

  test('leaves the strategy of the application in place if ours has another name', async () => {
    expect(await faultsOf([OwnAuthModule, MultiSessionPassportModule.forRoot({ name: 'session-token' })])).toEqual([]);
    expect(passport).toHaveProperty('_strategies.jwt', expect.any(OwnJwtStrategy));
  });

  test('may belong to another application of this library, and is free after shutdown', async () => {
    const first = await start('express', {}, [ours]);
    const second = await start('fastify', {}, [ours]);
    await first.close();
    const { access } = await second.get(SessionService).create('alice', { type: 'LONG' });
    expect((await second.request('GET', '/passport', { headers: bearer(access) })).status).toBe(200);
    await second.close();
    expect(await faultsOf([OwnAuthModule])).toEqual([]);
    expect(passport).toHaveProperty('_strategies.jwt', expect.any(OwnJwtStrategy));
  });
});

describe('MultiSessionPassportModule', () => {
  test.each([
    [{ name: '' }, /name: must be a string that is not blank/],
    [{ name: 7 }, /name: must be a string/],
    [{ strategy: 'jwt' }, /strategy: is (no|not an) option/],
  ])('refuses the options %j', (options, message) => {
    expect(() => MultiSessionPassportModule.forRoot(options as never)).toThrow(MultiSessionConfigurationError);
    expect(() => MultiSessionPassportModule.forRoot(options as never)).toThrow(message);
  });

  test('says what is missing without MultiSessionModule', async () => {
    const moduleRef = await Test.createTestingModule({ imports: [MultiSessionPassportModule.forRoot()] }).compile();
    await expect(moduleRef.init()).rejects.toThrow(/MultiSessionPassportModule needs MultiSessionModule/);
    await moduleRef.close();
  });
});
