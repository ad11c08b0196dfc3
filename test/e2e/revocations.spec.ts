import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type MultiSessionModuleOptions, SessionService } from 'nestjs-multisession';
import type { Engine } from '../../lib/engine/engine.js';
import type { FeedAnswer } from '../../lib/feed/feed-answer.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import { startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, selectedDatabases, type TestDatabase } from '../helpers/databases.js';
import { createVerifier } from 'nestjs-multisession/verifier';
import { until } from '../helpers/until.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const BACKEND_KEY = 'the backend key of the services';
const OPTIONS: Partial<MultiSessionModuleOptions> = {
  backendKeys: BACKEND_KEY,
  policies: {
    SHORT: { refreshTokenLifetime: '1d', accessTokenLifetime: '1m', accessCheck: 'session' },
    LONG: { refreshTokenLifetime: '30d' },
  },
  revocation: { pollInterval: '100ms', maxStaleness: '4s' },
};

const read = async (app: TestApp, query = '') => {
  const headers = { 'x-secret-key': BACKEND_KEY };
  const answer = await app.request('GET', `/api/session/revocations${query}`, { headers });
  if (answer.status !== 200) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body as FeedAnswer;
};
const end = async (app: TestApp) => {
  const { session_id: id } = await app.login();
  await app.get(SessionService).destroy(id);
  return id;
};
const engineOf = (app: TestApp) => app.get<Engine>(ENGINE);

onEachDatabaseAndAdapter((databaseName, adapter) => {
  describe('GET revocations', () => {
    let database: TestDatabase;
    let first: TestApp;

    beforeAll(async () => {
      database = await createDatabase(databaseName);
      first = await startApp({ database, adapter, options: OPTIONS });
    });
    afterAll(async () => {
      await first?.close();
      await database?.drop();
    });

    test('needs a backend key, and names what is wrong with the query', async () => {
      const route = '/api/session/revocations';
      expect(await first.request('GET', route)).toMatchObject({ status: 401, body: { code: 'secret_key_invalid' } });
      const headers = { 'x-secret-key': BACKEND_KEY };
      const wrong = await first.request('GET', `${route}?wait=long&page=-1&since=1`, { headers });
      expect(wrong).toMatchObject({ status: 400, body: { code: 'validation_failed' } });
      expect(Object.keys(wrong.body.errors).sort()).toEqual(['page', 'since', 'wait']);
    });

    test('says what a service needs to know of tokens', async () => {
      expect(await read(first)).toMatchObject({
        full: true,
        complete: true,
        ended: {},
        tokens: {
          issuer: null,
          user_id_claim: 'sub',
          user_id_type: 'string',
          token_type_claim: 'token_type',
          jti_claim: 'jti',
          clock_tolerance: 0,
        },
        types: {
          SHORT: { access_token_lifetime: 60_000, access_check: 'session' },
          LONG: { access_token_lifetime: 300_000, access_check: 'blacklist' },
        },
        epoch: { current: expect.stringMatching(/^[0-9a-f]{16}$/) },
      });
    });

    test('gives all in pages, with the expiry of the last access token', async () => {
      const id = await end(first);
      const page = await read(first, '?page=0');
      expect(page.ended[id]).toBeGreaterThan(page.now + 300_000);
      expect(page).toMatchObject({ next_page: null, size: Object.keys(page.ended).length });
    });

    test('asks for all pages after a cursor that is too old, or is none', async () => {
      for (const after of ['1000.0123456789ab.0', 'nonsense', `${Date.now()}.0123456789ab.5.6`])
        expect(await read(first, `?after=${after}`)).toMatchObject({ full: true, ended: {} });
    });

    test('waits for news', async () => {
      const { cursor } = await read(first);
      const waiting = read(first, `?after=${cursor}&wait=60`);
      const id = await end(first);
      const { ended, waited } = await waiting;
      expect(Object.keys(ended)).toEqual([id]);
      expect(waited).toBeLessThanOrEqual(2000);
    });

    test('waits no longer than half of maxStaleness', async () => {
      const { cursor } = await read(first);
      const { waited, ended } = await read(first, `?after=${cursor}&wait=60`);
      expect(ended).toEqual({});
      expect(waited).toBeGreaterThanOrEqual(1990);
      expect(waited).toBeLessThan(4000);
    });

    test('does not keep the application from closing', async () => {
      const third = await startApp({ database, adapter, options: OPTIONS });
      const { cursor } = await read(third);
      const waiting = read(third, `?after=${cursor}&wait=60`);
      const { log } = engineOf(third).revoked;
      while ((log as unknown as { waiters: Set<unknown> }).waiters.size === 0)
        await new Promise((resolve) => setImmediate(resolve));
      await third.close();
      expect((await waiting).waited).toBeLessThan(1900);
    });

    test('closes although a service follows it all the time', async () => {
      const third = await startApp({ database, adapter, options: OPTIONS });
      const issuer = `${third.url}/api/session`;
      const logger = { warn: () => undefined };
      const verify = await createVerifier({ issuer, backendKey: BACKEND_KEY, audience: false, logger });
      await until(() => verify.health().feedLag !== null);
      await third.close();
      await verify.close();
    });

    test('answers 503 while the process is stale', async () => {
      const stale = await startApp({ database, adapter, options: OPTIONS });
      const { revoked, poller } = engineOf(stale);
      await poller.stop();
      revoked.markPolled({ monotonic: performance.now() - 4001, wall: Date.now() - 4001 });
      const headers = { 'x-secret-key': BACKEND_KEY };
      const answer = await stale.request('GET', '/api/session/revocations', { headers });
      await stale.close();
      expect(answer).toMatchObject({ status: 503, body: { code: 'unavailable' } });
    });
  });
});

// Embedded databases belong to one application.
for (const databaseName of selectedDatabases().filter((name) => name === 'postgres' || name === 'mariadb')) {
  describe(`GET revocations of two processes on ${databaseName}`, () => {
    let database: TestDatabase;
    let first: TestApp;
    let second: TestApp;

    beforeAll(async () => {
      database = await createDatabase(databaseName);
      first = await startApp({ database, options: OPTIONS });
      second = await startApp({ database, options: OPTIONS });
    });
    afterAll(async () => {
      await first?.close();
      await second?.close();
      await database?.drop();
    });

    test('gives what is new since a cursor, whichever process gave it', async () => {
      const { cursor } = await read(first);
      const id = await end(first);
      expect(Object.keys((await read(first, `?after=${cursor}`)).ended)).toEqual([id]);
      await until(() => engineOf(second).revoked.has(id));
      const answer = await read(second, `?after=${cursor}`);
      expect(Object.keys(answer.ended)).toContain(id);
      expect(answer.full).toBe(false);
      expect((await read(first, `?after=${answer.cursor}`)).full).toBe(false);
      expect((await read(second, `?after=${answer.cursor}`)).ended).toEqual({});
    });

    test('gives news once, also to a receiver whose requests a balancer divides among the processes', async () => {
      const known = (await read(second, `?after=${(await read(first)).cursor}`)).cursor;
      const id = await end(first);
      await until(() => engineOf(second).revoked.has(id));
      let { cursor, ended } = await read(second, `?after=${known}`);
      expect(Object.keys(ended)).toContain(id);
      ({ cursor, ended } = await read(first, `?after=${cursor}`));
      expect(Object.keys(ended)).toContain(id);
      for (const app of [second, first, second]) {
        ({ cursor, ended } = await read(app, `?after=${cursor}`));
        expect(ended).toEqual({});
      }
    });

    test('gives what a process has read at its start, to receivers of other processes', async () => {
      const { cursor } = await read(first);
      const id = await end(first);
      const third = await startApp({ database, options: OPTIONS });
      const answer = await read(third, `?after=${cursor}`);
      await third.close();
      expect(answer.full).toBe(false);
      expect(Object.keys(answer.ended)).toContain(id);
    });
  });
}
