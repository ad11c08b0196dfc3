import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Controller, Logger, type INestApplication, Module, VersioningType, VERSION_NEUTRAL } from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { MultiSessionModule, SessionRoute, SessionsController } from 'nestjs-multisession';
import { startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { CookieJar } from '../helpers/cookie-jar.js';
import { ACCESS_COOKIE, PROOF_COOKIE, REFRESH_COOKIE, setCookies } from '../helpers/cookies.js';
import { onEachAdapter } from '../helpers/matrix.js';

const ALICE = { username: 'alice', password: 'alice-password', session: 'LONG' };

@Controller('auth')
class AuthController extends SessionsController {}

@Controller()
class RootController extends SessionsController {}

@Controller({ path: 'auth', version: '2' })
class SecondController extends SessionsController {}

@Controller({ path: 'auth', version: ['1', VERSION_NEUTRAL] })
class EitherController extends SessionsController {}

@Controller('tenants/:tenant/auth')
class TenantController extends SessionsController {}

@Controller('auth')
class RenamedController extends SessionsController {
  @SessionRoute('refresh', 'tokens/refresh')
  override refresh(...given: Parameters<SessionsController['refresh']>) {
    return super.refresh(...given);
  }
}

const prefix =
  (text: string, options?: Parameters<INestApplication['setGlobalPrefix']>[1]) => (app: INestApplication) =>
    void app.setGlobalPrefix(text, options);
const byPath =
  (more: object = {}) =>
  (app: INestApplication) =>
    void app.enableVersioning({ type: VersioningType.URI, ...more });

interface Case {
  options?: TestAppOptions['options'];
  configure?: TestAppOptions['configure'];
  /** Where the application serves the session routes. */
  at: string;
  /** The path of the refresh cookie. Default: `at`. */
  path?: string;
}

const CASES: [string, Case][] = [
  ['nothing', { at: '/api/session' }],
  ['the option path', { options: { path: 'v1/auth' }, at: '/v1/auth' }],
  ['a path with slashes', { options: { path: '/v1/auth/' }, at: '/v1/auth' }],
  ['no path', { options: { path: '' }, at: '', path: '/' }],
  ['a controller', { options: { controller: AuthController }, at: '/auth' }],
  ['a controller without a path', { options: { controller: RootController }, at: '', path: '/' }],
  ['a controller and a path', { options: { controller: AuthController, path: 'v1' }, at: '/v1/auth' }],
  ['a global prefix', { options: { path: 'session' }, configure: prefix('api'), at: '/api/session' }],
  ['a global prefix with slashes', { configure: prefix('/x/y/'), at: '/x/y/api/session' }],
  [
    'a global prefix that leaves out the routes',
    { configure: prefix('api', { exclude: ['api/session/{*rest}'] }), at: '/api/session' },
  ],
  [
    'a global prefix that leaves out other routes',
    {
      configure: prefix('api', { exclude: ['health', { path: 'api/session/{*rest}', method: 0 }] }),
      at: '/api/api/session',
    },
  ],
  ['a default version', { configure: byPath({ defaultVersion: '3' }), at: '/v3/api/session' }],
  ['versioning without a version', { configure: byPath(), at: '/api/session' }],
  ['the version of a controller', { options: { controller: SecondController }, configure: byPath(), at: '/v2/auth' }],
  [
    'another prefix of versions',
    { options: { controller: SecondController }, configure: byPath({ prefix: 'version-' }), at: '/version-2/auth' },
  ],
  [
    'no prefix of versions',
    { options: { controller: SecondController }, configure: byPath({ prefix: false }), at: '/2/auth' },
  ],
  ['several versions', { options: { controller: EitherController }, configure: byPath(), at: '/v1/auth', path: '/' }],
  [
    'a version in a header',
    {
      options: { controller: SecondController },
      configure: (app) =>
        void app.enableVersioning({ type: VersioningType.HEADER, header: 'version', defaultVersion: '2' }),
      at: '/auth',
    },
  ],
  [
    'a prefix, a version, a path and a controller',
    {
      options: { controller: SecondController, path: 'users' },
      configure: (app) => {
        prefix('api')(app);
        byPath()(app);
      },
      at: '/api/v2/users/auth',
    },
  ],
  ['a path with a parameter', { options: { controller: TenantController }, at: '/tenants/7/auth', path: '/tenants' }],
  ['a renamed route', { options: { controller: RenamedController }, at: '/auth' }],
];

onEachAdapter((databaseName, adapter) => {
  let app: TestApp;
  afterEach(() => app?.close());

  const start = async (
    { options, configure }: Case,
    cookies: NonNullable<TestAppOptions['options']>['cookies'] = true,
  ) => {
    const warnings: string[] = [];
    const warn = jest
      .spyOn(Logger.prototype, 'warn')
      .mockImplementation((line: unknown) => void warnings.push(String(line)));
    app = await startApp({ databaseName, adapter, options: { cookies, ...options }, configure });
    warn.mockRestore();
    return warnings;
  };
  const VERSION = { version: '2' };

  describe('the path of the refresh cookie', () => {
    test.each(CASES)('follows %s, so that a browser refreshes and logs out', async (_, given) => {
      const { at, path = at } = given;
      expect(await start(given)).toEqual([]);
      const jar = new CookieJar(app);
      const login = await jar.post(`${at}/login`, ALICE, VERSION);
      expect(login.status).toBe(200);
      expect(setCookies(login).map((cookie) => [cookie.name, cookie.path])).toEqual([
        [ACCESS_COOKIE, '/'],
        [REFRESH_COOKIE, path],
        [PROOF_COOKIE, '/'],
      ]);
      const refresh = given.options?.controller === RenamedController ? 'tokens/refresh' : 'refresh';
      expect((await jar.post(`${at}/${refresh}`, { session: 'LONG' }, VERSION)).status).toBe(200);
      const logout = await jar.post(`${at}/logout`, {}, VERSION);
      expect(logout.status).toBe(200);
      expect(jar.names).toEqual([]);
    });

    test('is below the path of an application that routes the module itself', async () => {
      @Module({
        imports: [
          RouterModule.register([{ path: 'outer', children: [{ path: 'inner', module: MultiSessionModule }] }]),
        ],
      })
      class RoutingModule {}
      app = await startApp({
        databaseName,
        adapter,
        options: { cookies: true, path: '', controller: AuthController },
        imports: [RoutingModule],
      });
      const login = await new CookieJar(app).post('/outer/inner/auth/login', ALICE);
      expect(login.status).toBe(200);
      expect(setCookies(login)[1].path).toBe('/outer/inner/auth');
    });

    test.each([
      ['/api/session', false],
      ['/api', false],
      ['/', false],
      ['/api/session/', false],
      ['/session', true],
      ['/api/sess', true],
      ['/api/session/refresh', true],
      ['/API/session', true],
    ])('if the option path is %s, the start warns: %s', async (path, warns) => {
      const warnings = await start({ options: { path: 'session' }, configure: prefix('api'), at: '' }, { path });
      expect(warnings).toEqual(
        warns ? [expect.stringMatching(/^cookies\.path is ".*", and the application serves \/api\/session\//)] : [],
      );
      const login = await new CookieJar(app).post('/api/session/login', ALICE);
      expect(setCookies(login)[1].path).toBe(path);
    });
  });
});
