import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { Controller, Get, Logger } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { SessionHealthIndicator } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import type { Engine } from '../../lib/engine/engine.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import { SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabase } from '../helpers/matrix.js';

@Controller('health')
class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly sessions: SessionHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  check() {
    return this.health.check([() => this.sessions.check('sessions')]);
  }
}

const POLL = { pollInterval: '50ms', maxStaleness: '400ms' } as const;
const CREDENTIALS = {
  username: 'alice',
  password: 'alice-password',
  secret_key: SECRET_KEY,
  session: 'LONG',
  info: 'x',
};

onEachDatabase((databaseName) => {
  describe('the health indicator', () => {
    let app: TestApp | undefined;

    const start = async (options: object = {}) => {
      app = await startApp({
        databaseName,
        options: { revocation: POLL, ...options },
        imports: [TerminusModule.forRoot({ logger: false })],
        controllers: [HealthController],
      });
      return app;
    };
    const healthOf = async (app: TestApp) => {
      const { status, body } = await app.request('GET', '/health');
      return { status, sessions: body.details.sessions };
    };
    /** Asks until the answer has this status. */
    const until = async (app: TestApp, status: number) => {
      for (;;) {
        const health = await healthOf(app);
        if (health.status === status) return health;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };

    afterEach(async () => {
      await app?.close();
      app = undefined;
      jest.restoreAllMocks();
    });

    test('is up while polls succeed', async () => {
      const { status, sessions } = await healthOf(await start({ revocation: { ...POLL, maxStaleness: '10s' } }));
      expect(status).toBe(200);
      expect(sessions).toEqual({
        status: 'up',
        pollLag: expect.any(Number),
        stale: false,
        overflow: false,
        faults: [],
      });
      expect(sessions.pollLag).toBeLessThan(10_000);
    });

    test('names a missing table, and requests that need it get 500 without Retry-After', async () => {
      jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
      const app = await start();
      const dataSource = app.get<DataSource>(DataSource);
      await dataSource.query('DROP TABLE user_session');
      const { sessions } = await until(app, 503);
      expect(sessions).toMatchObject({
        status: 'down',
        faults: [expect.stringMatching(/^tables: the database lacks user_session; run the migrations/)],
      });
      const answer = await app.post('login/', CREDENTIALS);
      expect([answer.status, answer.body.code, answer.headers.get('retry-after')]).toEqual([500, 'server_fault', null]);
      await dataSource.synchronize();
      expect(await until(app, 200)).toMatchObject({ sessions: { faults: [] } });
      expect((await app.post('login/', CREDENTIALS)).status).toBe(200);
    });

    test('is down while polls fail', async () => {
      const app = await start();
      const { poller } = app.get<Engine>(ENGINE);
      await poller.stop();
      expect((await until(app, 503)).sessions).toMatchObject({ status: 'down', stale: true, faults: [] });
    });

    test('tells that there are more ended sessions than memory holds', async () => {
      jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
      const app = await start({ revocation: { ...POLL, maxStaleness: '10s', maxEntries: 2 } });
      for (let i = 0; i < 4; i++) {
        const { refresh } = await app.login();
        await app.post('logout/', { refresh, secret_key: SECRET_KEY });
      }
      let health = await healthOf(app);
      while (!health.sessions.overflow) health = await healthOf(app);
      expect(health).toMatchObject({ status: 200, sessions: { status: 'up', overflow: true } });
    });
  });
});
