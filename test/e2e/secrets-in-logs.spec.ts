import { request as httpRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type ArgumentsHost, Catch, Logger } from '@nestjs/common';
import { APP_FILTER, BaseExceptionFilter } from '@nestjs/core';
import { type Credentials, MultiSessionError, SessionEvents, SessionService } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { openProxy, type Proxy } from '../contract/proxy.js';
import { type Answer, bearer, SECRET_KEY, SIGNING_SECRET, startApp, type TestApp, TestUsers } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { LogWatch, watch } from '../helpers/log-watch.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';

// After each suite in this folder, `log-watch.setup.ts` searches the log for the secrets that were used. The tests below
// take the paths on which something fails while the library handles a secret.

const PASSWORD = 'alice-password';
const EVENTS = ['session.created', 'session.refreshed', 'session.ended', 'refresh.reused', 'login.failed'] as const;

const loggedLines = () => watch.lines().filter((line) => line.startsWith('logger, '));

describe('the watch of the logs', () => {
  const [header, claims] = [{ alg: 'HS256' }, { token_type: 'refresh', jti: 'ab'.repeat(16) }];
  const token = [header, claims, 'signature'].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  let own: LogWatch;

  beforeEach(() => {
    own = new LogWatch();
    own.options({ jwt: { keys: [{ kid: 'the-kid', secret: Buffer.from(SIGNING_SECRET) }] }, secretKey: [SECRET_KEY] });
    own.exchange({
      method: 'POST',
      url: 'http://localhost/login/',
      headers: [['x-secret-key', 'another secret key']],
      body: JSON.stringify({ username: 'alice', password: 'pass "word" of alice' }),
      status: 200,
      location: null,
      answer: JSON.stringify({ refresh: token.join('.') }),
    });
  });

  test.each([
    ['a token', `refreshed ${token.join('.')}, well`, 'refreshed <refresh token>, well'],
    ['a token without its signature', `${token[0]}.${token[1]}`, '<refresh token>'],
    ['a jti', `where jti = '${claims.jti}'`, "where jti = '<jti>'"],
    ['a password', 'tried pass "word" of alice', 'tried <password>'],
    ['a password as JSON', '{"password":"pass \\"word\\" of alice"}', '{"password":"<password>"}'],
    ['a password as in a URL', '?p=pass%20%22word%22%20of%20alice', '?p=<password>'],
    ['a secret key', `key ${SECRET_KEY}`, 'key <secret key>'],
    ['a secret key of a header', 'key another secret key', 'key <secret key>'],
    ['a signing key', SIGNING_SECRET, '<signing key>'],
    ['a signing key in hex', Buffer.from(SIGNING_SECRET).toString('hex'), '<signing key>'],
  ])('finds %s, and masks it in its report', (_, line, masked) => {
    own.text('log', `a line\n${line}\nanother`);
    own.log('stdout', () => line);
    expect(own.leaks()).toEqual([`log: ${masked}`, `stdout: ${masked}`]);
  });

  test('finds a secret in a URL or in the body of an error, and ignores other answers', () => {
    const exchange = { method: 'GET', headers: [], body: '', location: null, answer: `{"password":"${PASSWORD}"}` };
    own.secret('password', PASSWORD);
    own.exchange({ ...exchange, url: 'http://localhost/me', status: 200 });
    expect(own.leaks()).toEqual([]);
    own.exchange({ ...exchange, url: `http://localhost/me?token=${token.join('.')}`, status: 400 });
    expect(own.leaks()).toEqual([
      'URL: GET http://localhost/me?token=<refresh token>',
      'error body, GET /me: {"password":"<password>"}',
    ]);
  });

  test('sees every log level, even if the application turns its logger off', async () => {
    const app = await startApp();
    app.app.useLogger(false);
    const logger = new Logger('Test');
    for (const level of ['log', 'error', 'warn', 'debug', 'verbose', 'fatal'] as const) logger[level](`heard ${level}`);
    const heard = loggedLines().filter((line) => line.includes('heard'));
    expect(heard.map((line) => line.split(' ')[1])).toEqual([
      'log:',
      'error:',
      'warn:',
      'debug:',
      'verbose:',
      'fatal:',
    ]);
    await app.close();
  });
});

/** A filter that an application could have. It logs everything about an error of the library, including its cause. */
@Catch(MultiSessionError)
class LoggingFilter extends BaseExceptionFilter {
  override catch(exception: unknown, host: ArgumentsHost) {
    new Logger('LoggingFilter').error(inspect(exception, { depth: 9, showHidden: true }));
    super.catch(exception, host);
  }
}

/** An authenticator that returns an invalid user for `bob` and rejects for `nobody`. */
class FailingUsers extends TestUsers {
  override authenticate({ username, password }: Credentials) {
    if (username === 'bob') return Promise.resolve({ id: { of: 'bob' } as unknown as string });
    return username === 'nobody'
      ? Promise.reject(new Error('no directory'))
      : super.authenticate({ username, password });
  }
}

const POLICIES = {
  LONG: { refreshTokenLifetime: '1h', reuseGrace: 0, maxActiveSessions: 3, accessCheck: 'session' },
} as const;

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let database: TestDatabase;
  let proxy: Proxy | undefined;

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    if ('url' in database.options) proxy = await openProxy(database);
    app = await startApp({
      adapter,
      database: proxy?.database ?? database,
      providers: [{ provide: APP_FILTER, useClass: LoggingFilter }],
      options: {
        policies: POLICIES,
        authenticator: { useClass: FailingUsers },
        revocation: { pollInterval: '100ms', maxStaleness: '1s' },
      },
    });
  });
  afterAll(async () => {
    await app?.close();
    await proxy?.close();
    await database?.drop();
  });

  const secretKey = { secret_key: SECRET_KEY };
  const alice = { username: 'alice', password: PASSWORD, session: 'LONG', ...secretKey };

  /** Calls each route that needs the database. */
  const askAll = ({ access, refresh, session_id }: Awaited<ReturnType<TestApp['login']>>) =>
    Promise.all([
      app.post('login/', alice),
      app.post('refresh/', { refresh, session: 'LONG', ...secretKey }),
      app.post('logout/', { refresh, ...secretKey }),
      app.post('list/', { session: 'ALL' }, bearer(access)),
      app.post('destroy/', { session_id }, bearer(access)),
      app.post('destroyAllOther/', { session: 'ALL', refresh }, bearer(access)),
    ]);
  const statusesOf = (answers: Answer[]) => [...new Set(answers.map(({ status }) => status))];

  test('a missing table: the driver error contains the statement and its parameters', async () => {
    const login = await app.login();
    const dataSource = app.get(DataSource);
    await dataSource.query('ALTER TABLE user_session RENAME TO away');
    expect(statusesOf(await askAll(login))).toEqual([500]);
    await dataSource.query('ALTER TABLE away RENAME TO user_session');
    expect(loggedLines().join('\n')).toMatch(
      /error: the database refuses .*user_session.*[^]*error: ServerFaultError:/,
    );
    expect((await app.post('logout/', { refresh: login.refresh, ...secretKey })).status).toBe(200);
  });

  test('a secret that is sent in the wrong field', async () => {
    const { access, refresh } = await app.login();
    const body = { ...alice, info: 'x', refresh: 'x', session_id: 'x' };
    const secrets = [access, refresh, PASSWORD, SECRET_KEY, String(decoded(refresh, 1).jti)];
    const values = secrets.flatMap((secret) => [secret, [secret], { [secret]: secret }, `${secret}\0`, ` ${secret}`]);
    for (const route of ['list', 'destroy', 'destroyAllOther', 'login', 'refresh', 'logout']) {
      const answers: Answer[] = [];
      // All at once would be a flood, which the server may answer with 503.
      for (const field of Object.keys(body)) {
        const requests = values.map((value) => ({ ...body, [field]: value }));
        answers.push(...(await Promise.all(requests.map((one) => app.post(`${route}/`, one, bearer(access))))));
      }
      expect(Math.max(...statusesOf(answers))).toBeLessThan(500);
      expect(statusesOf(answers)).toContain(400);
    }
    for (const secret of secrets) {
      expect((await app.post('list/', { session: 'ALL' }, bearer(secret))).status).toBe(401);
      const broken = { body: `{ "password": ${secret} }`, headers: { 'content-type': 'application/json' } };
      expect((await app.request('POST', '/api/session/login', broken)).status).toBe(400);
    }
  });

  test('a listener that throws an error with the event in its message', async () => {
    // The sessions of the tests above have secrets in their `info`, and a login could evict them.
    await app.get(SessionService).destroyAll('alice');
    const undo = EVENTS.map((name) =>
      app.get(SessionEvents).on(name, (event) => {
        throw new Error(`${name}: ${JSON.stringify(event)}`);
      }),
    );
    const { refresh } = await app.login();
    await app.post('login/', { ...alice, password: 'not-her-password' });
    const again = () => app.post('refresh/', { refresh, session: 'LONG', ...secretKey });
    const { body } = await again();
    await app.post('list/', { session: 'ALL' }, bearer(body.access));
    expect((await again()).status).toBe(401);
    undo.forEach((takeAway) => takeAway());
    const failed = loggedLines().filter((line) => line.startsWith('logger, error: a listener of'));
    expect(failed.join('\n')).toMatch(new RegExp(EVENTS.map((name) => `(?=[^]*listener of ${name} failed)`).join('')));
  });

  test('an authenticator that throws or returns an invalid user: Nest logs the stack, but nothing of the request', async () => {
    for (const username of ['nobody', 'bob'])
      expect((await app.post('login/', { ...alice, username })).status).toBe(500);
    expect(loggedLines().join('\n')).toMatch(/no directory[^]*a user's id must be/);
  });

  test('a token in the URL is ignored', async () => {
    const { access, refresh } = await app.login();
    // Not by fetch: the watch would report the token in its URL.
    const status = (path: string) =>
      new Promise((resolve, reject) => {
        const request = httpRequest(app.url + path, { method: 'POST' }, (answer) =>
          resolve(answer.resume().statusCode),
        );
        request.on('error', reject).end();
      });
    for (const name of ['access_token', 'token', 'access', 'jwt', 'authorization', 'Authorization']) {
      expect(await status(`/api/session/list/?session=ALL&${name}=${access}`)).toBe(401);
    }
    expect(await status(`/api/session/logout/?refresh=${refresh}&secret_key=${encodeURIComponent(SECRET_KEY)}`)).toBe(
      400,
    );
    expect((await app.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(200);
  });

  test('a database that cannot be reached', async () => {
    const login = await app.login();
    const before = loggedLines().length;
    if (proxy) {
      proxy.cut();
      expect(statusesOf(await askAll(login))).toEqual([503]);
    } else {
      await app.get(DataSource).destroy();
      expect((await app.post('list/', { session: 'ALL' }, bearer(login.access))).status).toBe(503);
    }
    await until(() =>
      loggedLines()
        .slice(before)
        .some((line) => line.includes('the poll for ended sessions failed')),
    );
    expect(loggedLines().slice(before).join('\n')).toMatch(/error: the database failed: /);
    proxy?.mend();
  });
});

async function until(holds: () => boolean): Promise<void> {
  const giveUp = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > giveUp) throw new Error('the condition was not met within 10 seconds');
    await sleep(20);
  }
}
