import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { ADAPTERS, type Answer, bearer, startApp, type TestApp } from '../helpers/app.js';
import { rowsOf } from '../helpers/rows.js';

const LIMIT = 3;
const POLICY = {
  refreshTokenLifetime: '1h',
  reuseGrace: 0,
  blacklistAfterRotation: true,
  extendSession: 'every-refresh',
} as const;

const folder = mkdtempSync(join(tmpdir(), 'sqlite-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(ADAPTERS)('a database that cannot be written to, on %s', (adapter) => {
  let app: TestApp;
  beforeEach(async () => {
    const database = join(folder, `${adapter}-${process.hrtime.bigint()}.db`);
    const options = { type: 'better-sqlite3', database } as DataSourceOptions;
    app = await startApp({
      adapter,
      configure: (application) => application.useLogger(false),
      database: { name: 'sqlite', options, drop: () => Promise.resolve() },
      options: {
        policies: { LONG: { ...POLICY, maxActiveSessions: LIMIT }, FREE: POLICY },
        revocation: { pollInterval: '100ms', maxStaleness: '1s' },
      },
    });
  });
  afterEach(() => app.close());

  const pragma = (text: string) => app.get(DataSource).query<Record<string, number>[]>(`PRAGMA ${text}`);
  const expectUnavailable = ({ status, body, headers }: Answer) => {
    expect([status, body.code]).toEqual([503, 'unavailable']);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  };
  const credentials = { username: 'alice', password: 'alice-password', secret_key: 'the secret key of the tests' };
  const tryLogin = (session: string, info = 'a test') => app.post('login/', { ...credentials, session, info });
  const tryRefresh = (refresh: string) => app.post('refresh/', { ...credentials, refresh, session: 'LONG' });
  const list = (access: string) => app.post('list/', { session: 'LONG' }, bearer(access));

  /** Checks that the given sessions and a new one work. */
  async function allWorks(before: { refresh: string; access: string }[]): Promise<void> {
    for (const { refresh, access } of before) {
      expect((await list(access)).status).toBe(200);
      const again = await tryRefresh(refresh);
      expect(again.status).toBe(200);
      expect((await tryRefresh(again.body.refresh)).status).toBe(200);
    }
    const { access, refresh } = await app.login();
    expect((await list(access)).status).toBe(200);
    expect((await app.post('logout/', { ...credentials, refresh })).status).toBe(200);
  }

  test('read-only: answers 503 to what writes, goes on reading, and leaves nothing half done', async () => {
    const sessions = [await app.login(), await app.login(), await app.login()];
    await pragma('query_only = ON');
    const before = await rowsOf(app);
    for (const { refresh, access, session_id } of sessions) {
      expectUnavailable(await tryRefresh(refresh));
      expectUnavailable(await app.post('destroy/', { session_id }, bearer(access)));
      expectUnavailable(await app.post('destroyAllOther/', { refresh, session: 'ALL' }, bearer(access)));
      expectUnavailable(await app.post('logout/', { ...credentials, refresh }));
      expect((await list(access)).status).toBe(200);
    }
    expectUnavailable(await tryLogin('LONG'));
    expectUnavailable(await tryLogin('FREE'));
    expect(await rowsOf(app)).toEqual(before);
    await pragma('query_only = OFF');
    await allWorks(sessions);
  });

  test('full: answers 503 to what needs space, goes on with the rest, and leaves nothing half done', async () => {
    const sessions = [await app.login(), await app.login(), await app.login()];
    const [{ page_count: pages }] = await pragma('page_count');
    await pragma(`max_page_count = ${pages + 2}`);

    // Fills the database. A login that evicts a session then has no space for its blacklist entry or its row either.
    const statuses = new Set<number>();
    for (let logins = 0; logins < 500 && !statuses.has(503); logins++) {
      const answer = await tryLogin('FREE', 'x'.repeat(500));
      statuses.add(answer.status);
      if (answer.status === 503) expectUnavailable(answer);
    }
    expect(statuses).toEqual(new Set([200, 503]));
    const seen = new Set<number>();
    for (let attempt = 0; attempt < 20; attempt++) {
      for (const session of sessions) {
        const before = await rowsOf(app);
        const answer = await tryRefresh(session.refresh);
        seen.add(answer.status);
        if (answer.status === 200) session.refresh = answer.body.refresh;
        else {
          expectUnavailable(answer);
          expect(await rowsOf(app)).toEqual(before);
        }
        expect((await list(session.access)).status).toBe(200);
      }
    }
    expect([...seen].filter((status) => status !== 200)).toEqual([503]);
    const full = await rowsOf(app);
    expectUnavailable(await tryLogin('LONG', 'x'.repeat(500)));
    expect(await rowsOf(app)).toEqual(full);

    await pragma(`max_page_count = ${pages * 100}`);
    await allWorks(sessions);
  });
});
