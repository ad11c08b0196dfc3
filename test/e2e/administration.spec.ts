import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type CanActivate, type ExecutionContext, Injectable, type Type } from '@nestjs/common';
import { getRepositoryToken } from '@nestjs/typeorm';
import {
  AdminSessionsController,
  DailyCounts,
  JwtAuthGuard,
  type Session,
  SessionAdministration,
  SessionCleanup,
  SessionEntity,
  SessionService,
  UserAuthenticator,
  type UserId,
} from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import { Clock } from '../../lib/database/clock.js';
import { SessionDailyCountEntity } from '../../lib/admin/statistics/session-daily-count.entity.js';
import {
  type Answer,
  bearer,
  SECRET_KEY,
  startApp,
  type TestApp,
  type TestAppOptions,
  TestUsers,
} from '../helpers/app.js';
import { until } from '../helpers/until.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { ACCESS_COOKIE, ASKS_FOR_COOKIES, cookieHeader, tokensInCookies } from '../helpers/cookies.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { recordEvents } from '../helpers/events.js';
import { onEachAdapter, onEachDatabase, onEachDatabaseAndAdapter } from '../helpers/matrix.js';

@Injectable()
class OnlyAlice implements CanActivate {
  canActivate(context: ExecutionContext) {
    return context.switchToHttp().getRequest<{ user?: { userId: string } }>().user?.userId === 'alice';
  }
}

const POLICIES = { LONG: { refreshTokenLifetime: '30d' }, SHORT: { refreshTokenLifetime: '1d' } } as const;
const OPTIONS = { policies: POLICIES, admin: { guard: [JwtAuthGuard, OnlyAlice] }, cookies: true };
const CONFIRMED = { confirm: 'END ALL SESSIONS' };
const NEVER = { status: 'none', ended: 0, started_at: null, second_pass_at: null, finished_at: null };
const DAY = 86_400_000;

interface Report {
  all(userId: string): AsyncIterable<Session>;
  lockOut(userId: string, by: string): Promise<number>;
  active(): Promise<Record<string, number>>;
}

/** Waits until `endAll` has ended every session that began before it. */
async function firstPassOf(app: TestApp): ReturnType<SessionAdministration['endAllProgress']> {
  for (;;) {
    const progress = await app.get(SessionAdministration).endAllProgress();
    if (progress?.status !== 'running') return progress;
    await sleep(5);
  }
}

/** Users with the ids 0 to 29, and their names. */
@Injectable()
class NamedUsers extends TestUsers {
  readonly described: (readonly UserId[])[] = [];
  override describeUsers(userIds: readonly UserId[]) {
    this.described.push(userIds);
    return Promise.resolve(new Map(userIds.filter((id) => id !== '9').map((id) => [id, `User ${id}`])));
  }
  override searchUsers(name: string, limit: number) {
    const ids = Array.from({ length: 30 }, (_, id) => String(id));
    return Promise.resolve(ids.filter((id) => `User ${id}`.includes(name)).slice(0, limit));
  }
}

type Listed = { sessions: { id: string; user_id: string; type: string }[]; next: string | null };

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let alice: { access: string; refresh: string; session_id: string };

  beforeAll(async () => {
    app = await startApp({ databaseName, adapter, options: OPTIONS });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
  });
  afterAll(() => app?.close());
  beforeEach(async () => {
    await rows.clear();
    alice = await login('alice');
  });

  const login = async (username: string, session = 'LONG') => {
    const body = { username, password: `${username}-password`, secret_key: SECRET_KEY, session };
    return (await app.post('login/', body)).body as typeof alice;
  };
  const make = async (userId: string, count: number, type = 'LONG') => {
    const sessions: string[] = [];
    for (let at = 0; at < count; at++)
      sessions.push((await app.get(SessionService).create(userId, { type })).session.id);
    return sessions;
  };
  const ask = (method: string, route: string, access = alice.access, body?: unknown) =>
    app.request(method, `/api/session/admin/${route}`, { body, headers: bearer(access) });
  const listed = async (query = '') => (await ask('GET', `sessions${query}`)).body as Listed;
  const idsOf = (page: Listed) => page.sessions.map(({ id }) => id);
  /** Sorts by id, which decides within a millisecond. */
  const latestFirst = (ids: string[]) => [...ids].sort().reverse();
  const refusal = ({ status, body }: Answer) => [status, body.code];

  test('every route refuses a caller whom the guard refuses', async () => {
    const bob = await login('bob');
    const routes = [
      ['GET', 'sessions'],
      ['DELETE', `sessions/${alice.session_id}`],
      ['DELETE', 'users/alice/sessions'],
      ['POST', 'sessions/end-all'],
      ['GET', 'sessions/end-all'],
      ['GET', 'statistics'],
      ['GET', 'users/alice/history'],
      ['GET', 'keys'],
      ['GET', 'actions'],
      ['GET', 'events'],
    ];
    for (const [method, route] of routes) {
      const body = method === 'POST' ? CONFIRMED : undefined;
      expect([route, ...refusal(await ask(method, route, 'nonsense', body))]).toEqual([route, 401, 'token_not_valid']);
      expect((await app.request(method, `/api/session/admin/${route}`, { body })).status).toBe(401);
      expect((await ask(method, route, bob.access, body)).status).toBe(403);
    }
    expect(await rows.count()).toBe(2);
    expect(await ask('GET', 'sessions/end-all')).toMatchObject({ status: 200, body: NEVER });
  });

  test('a request with cookies must pass the CSRF check', async () => {
    const body = { username: 'alice', password: 'alice-password', session: 'LONG' };
    const { access } = tokensInCookies(await app.post('login/', body, ASKS_FOR_COOKIES));
    const cookie = cookieHeader([ACCESS_COOKIE, access]);
    const endAll = (headers: object) => app.post('admin/sessions/end-all', CONFIRMED, { ...cookie, ...headers });
    expect(refusal(await endAll({}))).toEqual([403, 'csrf_failed']);
    expect(await rows.count()).toBe(2);
    expect((await endAll(ASKS_FOR_COOKIES)).status).toBe(200);
  });

  describe('the list', () => {
    test("shows everybody's active sessions, the newest first", async () => {
      const bobs = await make('bob', 2, 'SHORT');
      await rows.update({ id: bobs[0] }, { expiresAt: new Date(1000) });
      const answer = await ask('GET', 'sessions');
      expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store']);
      expect(answer.body).toEqual({
        sessions: [
          expect.objectContaining({ user_id: 'bob', id: bobs[1], type: 'SHORT' }),
          {
            user_id: 'alice',
            user_name: null,
            id: alice.session_id,
            type: 'LONG',
            device: null,
            browser: null,
            os: null,
            kind: 'other',
            ip_address: '127.0.0.1',
            info: 'node',
            created_at: expect.stringMatching(/Z$/) as unknown,
            last_update: expect.any(String) as unknown,
            expires_at: expect.any(String) as unknown,
            client_changed_at: null,
            bound: false,
          },
        ],
        next: null,
        can_search_users: false,
      });
    });

    test('filters by user, by type, by time, and by all three', async () => {
      const [early, late] = [await make('Bob', 2), await make('bob', 3)];
      const short = await make('bob', 1, 'SHORT');
      const lateBegin = (await rows.findOneByOrFail({ id: late[0] })).createdAt.toISOString();
      expect(idsOf(await listed('?user=Bob'))).toEqual(latestFirst(early));
      expect(idsOf(await listed('?type=short'))).toEqual(short);
      expect(idsOf(await listed(`?since=${lateBegin}&user=bob`))).toEqual(latestFirst([...short, ...late]));
      expect(idsOf(await listed(`?since=${lateBegin}&user=bob&type=SHORT`))).toEqual(short);
      expect(idsOf(await listed(`?user=${encodeURIComponent("' OR 1=1 --")}`))).toEqual([]);
      const later = new Date(Date.now() + DAY).toISOString();
      expect(idsOf(await listed(`?since=${later}`))).toEqual([]);
      expect(idsOf(await listed('?since=1969-01-01'))).toHaveLength(7);
    });

    test('filters by address and device, a page at a time', async () => {
      const service = app.get(SessionService);
      const create = async (ipAddress: string, userAgent: string, deviceName?: string, info = '') =>
        (await service.create('bob', { type: 'LONG', info, client: { ipAddress, userAgent, deviceName } })).session.id;
      const phone = await create('203.0.113.7', 'app/1.0', 'Pixel 100%');
      const laptop = await create('203.0.113.70', 'Mozilla/5.0 (X11; Linux) Firefox/140.0');
      const six = await create('2001:db8::7', 'curl', undefined, 'Build_Server');
      expect(idsOf(await listed('?ip_address=203.0.113.7'))).toEqual([phone]);
      expect(idsOf(await listed('?ip_address=203.0.113.'))).toEqual(latestFirst([phone, laptop]));
      expect(idsOf(await listed('?ip_address=2001:0DB8:0::7'))).toEqual([six]);
      expect(idsOf(await listed('?ip_address=2001:DB8:'))).toEqual([six]);
      expect(idsOf(await listed('?device=pixel'))).toEqual([phone]);
      expect(idsOf(await listed(`?device=${encodeURIComponent('100%')}`))).toEqual([phone]);
      expect(idsOf(await listed('?device=_'))).toEqual([six]);
      expect(idsOf(await listed('?device=FIREFOX'))).toEqual([laptop]);
      expect(idsOf(await listed('?device=firefox&ip_address=203.0.113.7'))).toEqual([]);
      expect(idsOf(await listed('?device=firefox&user=alice'))).toEqual([]);
      const first = await listed('?ip_address=203.0.113.&limit=1');
      const second = await listed(`?ip_address=203.0.113.&limit=1&after=${first.next}`);
      expect([...idsOf(first), ...idsOf(second)]).toEqual(latestFirst([phone, laptop]));
    });

    test('of a rare device reads 1,000 sessions per page', async () => {
      const template = await rows.findOneByOrFail({ id: alice.session_id });
      const idAt = (at: number) => `00000000-0000-7000-8000-${String(at).padStart(12, '0')}`;
      const others = Array.from({ length: 1500 }, (_, at) => ({ ...template, id: idAt(at) }));
      await rows.save(others, { chunk: 100 });
      await rows.update({ id: idAt(0) }, { deviceName: 'rare' });
      const first = await listed('?device=rare');
      expect(first).toMatchObject({ sessions: [], next: idAt(501) });
      const second = await listed(`?device=rare&after=${first.next}`);
      expect(second).toMatchObject({ sessions: [{ id: idAt(0) }], next: null });
    });

    test('continues where the previous page ended, whatever starts and ends in between', async () => {
      const before = [alice.session_id, ...(await make('bob', 11))];
      const seen: string[] = [];
      let next: string | null = '';
      for (let page = 0; next !== null; page++) {
        const answer: Listed = await listed(`?limit=4${next && `&after=${next}`}`);
        seen.push(...idsOf(answer));
        next = answer.next;
        await make('carol', 3);
        if (page === 0) await app.get(SessionService).destroy(next as string);
        expect(page).toBeLessThan(4);
      }
      expect(seen).toEqual(latestFirst(before));
    });

    test.each([
      ['?usr=bob', 'usr', /user, user_name, ip_address, device, type, since, after, limit/],
      ['?user=a&user=b', 'user', /once/],
      ['?user=', 'user', /user id/],
      ['?user=%00', 'user', /user id/],
      ['?user_name=alice', 'user_name', /searchUsers/],
      ['?device=', 'device', /255/],
      [`?ip_address=${'1'.repeat(256)}`, 'ip_address', /255/],
      ['?since=yesterday', 'since', /2026-11-24/],
      ['?since=2026-13-45', 'since', /2026-11-24/],
      ['?since=5', 'since', /2026-11-24/],
      ['?after=5', 'after', /next/],
      ['?limit=0', 'limit', /1 to 200/],
      ['?limit=1e2', 'limit', /1 to 200/],
      ['?limit=201', 'limit', /1 to 200/],
      ['?constructor=1', 'constructor', /not known/i],
    ])('refuses %s and names the parameter', async (query, field, fault) => {
      const { status, body } = await ask('GET', `sessions${query}`);
      expect([status, body.code, Object.keys(body.errors)]).toEqual([400, 'validation_failed', [field]]);
      expect(body.errors[field][0]).toMatch(fault);
    });

    test('refuses an unknown session type', async () => {
      expect(refusal(await ask('GET', 'sessions?type=WEB'))).toEqual([400, 'invalid_session_type']);
    });
  });

  test('has no history without events, and no keys unless they are managed', async () => {
    expect((await ask('GET', 'users/alice/history')).body).toEqual({ events: [], next: null });
    expect(await ask('GET', 'keys')).toMatchObject({ status: 200, body: [] });
  });

  test('ends one session', async () => {
    const [id] = await make('bob', 1);
    const events = recordEvents(app);
    expect((await ask('DELETE', `sessions/${id}`)).status).toBe(204);
    expect(events).toMatchObject([
      { name: 'session.revoked', event: { sessionId: id, userId: 'bob', reason: 'admin' } },
      { name: 'session.ended', event: { session: { id }, reason: 'admin' } },
    ]);
    expect(refusal(await ask('DELETE', `sessions/${id}`))).toEqual([404, 'session_not_found']);
    expect(refusal(await ask('DELETE', 'sessions/nonsense'))).toEqual([404, 'session_not_found']);
  });

  test('ends all sessions of a user, whatever characters the id has', async () => {
    const names = ['bob', 'a/b c?&%', '{"a":1}', 'Bob'];
    for (const name of names) await make(name, 2);
    for (const name of names) {
      const { status, body } = await ask('DELETE', `users/${encodeURIComponent(name)}/sessions`);
      expect([name, status, body]).toEqual([name, 200, { ended: 2 }]);
    }
    expect((await ask('DELETE', 'users/nobody/sessions')).body).toEqual({ ended: 0 });
    expect(await rows.count()).toBe(1);
  });

  test("ends everybody's sessions if the request confirms it", async () => {
    const bob = await login('bob');
    for (const body of [undefined, {}, { confirm: true }, { confirm: 'yes' }, { confirm: ['END ALL SESSIONS'] }]) {
      const { status, body: answer } = await ask('POST', 'sessions/end-all', alice.access, body);
      expect([status, answer.errors]).toEqual([400, { confirm: ['Must be "END ALL SESSIONS".'] }]);
    }
    expect(await rows.count()).toBe(2);
    const { status, body: started } = await ask('POST', 'sessions/end-all', alice.access, CONFIRMED);
    expect([status, started]).toEqual([
      200,
      { ...NEVER, status: 'running', started_at: expect.any(String), second_pass_at: expect.any(String) },
    ]);
    const [startedAt, secondPassAt] = [Date.parse(started.started_at), Date.parse(started.second_pass_at)];
    expect(Math.abs(Date.now() - startedAt)).toBeLessThan(10_000);
    expect(secondPassAt - startedAt).toBeGreaterThan(600_000);
    await firstPassOf(app);
    for (const { access, refresh } of [alice, bob]) {
      // Another connection may see the commit before this process publishes it.
      await until(async () => (await ask('GET', 'sessions', access)).status === 401);
      expect(refusal(await ask('GET', 'sessions', access))).toEqual([401, 'token_not_valid']);
      const again = { refresh, session: 'LONG', secret_key: SECRET_KEY };
      expect((await app.post('refresh/', again)).status).toBe(401);
    }
    const { access } = await login('alice');
    const progress = await ask('GET', 'sessions/end-all', access);
    expect(progress.body).toEqual({ ...started, status: 'waiting', ended: 2 });
  });
});

onEachDatabase((databaseName) => {
  let database: TestDatabase;
  const apps: TestApp[] = [];
  const started = async (options: TestAppOptions['options']) => {
    const app = await startApp({ database, options: { policies: POLICIES, ...options } });
    apps.push(app);
    return app;
  };
  beforeEach(async () => {
    database = await createDatabase(databaseName);
  });
  afterEach(async () => {
    for (const app of apps.splice(0)) await app.close();
    await database.drop();
  });

  test('the list names users and finds them by name, if the application can', async () => {
    const app = await started({ ...OPTIONS, authenticator: { useClass: NamedUsers } });
    const { access } = await app.login();
    const service = app.get(SessionService);
    for (const id of ['1', '2', '12', '9', '9']) await service.create(id, { type: 'LONG' });
    const ask = async (query: string) =>
      (await app.request('GET', `/api/session/admin/sessions${query}`, { headers: bearer(access) })).body;
    // Ids of sessions of one millisecond are in no order.
    const named = ({ sessions }: { sessions: { user_id: string; user_name: string | null }[] }) =>
      sessions.map(({ user_id, user_name }) => `${user_id}: ${user_name}`).sort();
    const { described } = app.get<NamedUsers>(UserAuthenticator as never);
    const all = await ask('');
    expect(all.can_search_users).toBe(true);
    expect(named(all)).toEqual(
      ['12: User 12', '1: User 1', '2: User 2', '9: null', '9: null', 'alice: User alice'].sort(),
    );
    expect(described.map((ids) => [...ids].sort())).toEqual([['1', '12', '2', '9', 'alice']]);
    expect(named(await ask('?user_name=User 2'))).toEqual(['2: User 2']);
    expect(named(await ask('?user_name=2&type=long'))).toEqual(['12: User 12', '2: User 2']);
    expect((await ask('?user_name=2&limit=1')).sessions).toHaveLength(1);
    expect(named(await ask('?user_name=2&user=2'))).toEqual(['2: User 2']);
    expect(named(await ask('?user_name=nobody'))).toEqual([]);
    expect((await ask('?user_name=User')).errors).toEqual({
      user_name: ['More than 20 users have this name. Give more of it.'],
    });
  });

  const create = async (app: TestApp, count: number, type = 'LONG') => {
    const service = app.get(SessionService);
    for (let at = 0; at < count; at++) await service.create(`user ${at}`, { type });
  };
  const statistics = (app: TestApp) => app.get(DailyCounts).statistics();
  const countsOf = (app: TestApp) =>
    app.get<Repository<SessionDailyCountEntity>>(getRepositoryToken(SessionDailyCountEntity) as string);
  const today = () => new Date().toISOString().slice(0, 10);

  test('endAll ends sessions in batches, and logins after its start survive', async () => {
    const app = await started({});
    await create(app, 450);
    const service = app.get(SessionService);
    const during = { stop: false, made: 0 };
    const { startedAt } = await app.get(SessionAdministration).endAll();
    while (app.get(Clock).earliest() <= startedAt.getTime()) await sleep(1);
    const logins = (async () => {
      for (; !during.stop; during.made++) {
        await service.create('busy', { type: 'SHORT' });
        // SQLite answers without a turn of the event loop, which the job needs.
        await sleep(1);
      }
    })();
    const progress = await firstPassOf(app);
    during.stop = true;
    await logins;
    const left = await app.get<Repository<SessionEntity>>(getRepositoryToken(SessionEntity) as string).find();
    expect(progress).toMatchObject({ status: 'waiting', ended: 450 });
    expect(left.map(({ type }) => type)).toEqual(Array.from({ length: during.made }, () => 'SHORT'));
    expect(during.made).toBeGreaterThan(0);
    const [later] = (await app.get(SessionAdministration).list({ limit: 1 })).sessions;
    expect(later.userId).toBe('busy');
  });

  test('statistics count each day by type and reason, without counting sessions', async () => {
    const app = await started({ admin: { guard: OnlyAlice }, cleanup: false });
    await create(app, 3);
    await create(app, 4, 'SHORT');
    const service = app.get(SessionService);
    await service.destroyAll('user 0', { type: 'LONG' });
    await service.destroyAll('user 1', { reason: 'admin' });
    await app
      .get<Repository<SessionEntity>>(getRepositoryToken(SessionEntity) as string)
      .update({ userId: 'user 3' }, { expiresAt: new Date(1000), cleanupAt: new Date(1000) });
    await app.get(SessionCleanup).run();
    await app.get(DailyCounts).flush();
    const { days } = await statistics(app);
    expect(await statistics(app)).toEqual({
      active: { LONG: 1, SHORT: 2 },
      days: [{ day: today(), logins: { LONG: 3, SHORT: 4 }, endings: { destroyed: 1, admin: 2, expired: 1 } }],
    });
    await create(app, 2);
    await app.get(DailyCounts).flush();
    expect((await statistics(app)).days[0].logins.LONG).toBe(days[0].logins.LONG + 2);
  });

  test('recount corrects the number of active sessions', async () => {
    const app = await started({ dailyCounts: true });
    await create(app, 3);
    await app.get(DailyCounts).flush();
    await countsOf(app).delete({ kind: 'created' });
    await create(app, 2, 'SHORT');
    expect((await statistics(app)).active).toEqual({});
    await app.get(DailyCounts).recount();
    expect((await statistics(app)).active).toEqual({ LONG: 3, SHORT: 2 });
  });

  // Two applications cannot share an embedded database in memory.
  if (!databaseName.startsWith('sql')) {
    test('sessions that exist when counting is turned on are counted once', async () => {
      const without = await started({});
      await create(without, 5);
      const counting = [await started({ dailyCounts: true }), await started({ dailyCounts: true })];
      expect(await statistics(counting[0])).toEqual({ active: { LONG: 5 }, days: [] });
      await Promise.all(counting.map((app) => create(app, 3, 'SHORT')));
      await Promise.all(counting.map((app) => app.get(DailyCounts).flush()));
      expect((await statistics(counting[1])).active).toEqual({ LONG: 5, SHORT: 6 });
      // This process does not count.
      await without.get(SessionAdministration).endAll();
      await firstPassOf(without);
      await create(without, 1);
      expect((await statistics(counting[0])).active).toEqual({ LONG: 5, SHORT: 6 });
      await counting[0].get(DailyCounts).recount();
      expect((await statistics(counting[1])).active).toEqual({ LONG: 1, SHORT: 0 });
      expect((await statistics(counting[1])).days).toEqual([{ day: today(), logins: { SHORT: 6 }, endings: {} }]);
    });
  }

  test('counts are kept until they can be written, and written at shutdown', async () => {
    const app = await started({ dailyCounts: true });
    const rename = (from: string, to: string) => app.get(DataSource).query(`ALTER TABLE ${from} RENAME TO ${to}`);
    await create(app, 2);
    await rename('session_daily_count', 'away');
    await app.get(DailyCounts).flush();
    await create(app, 1);
    await rename('away', 'session_daily_count');
    await app.get(DailyCounts).flush();
    expect((await statistics(app)).active).toEqual({ LONG: 3 });
    if (databaseName.startsWith('sql')) return;
    await create(app, 4);
    await apps.pop()?.close();
    expect((await statistics(await started({ dailyCounts: true }))).active).toEqual({ LONG: 7 });
  });

  test('an application without the option counts nothing', async () => {
    const app = await started({});
    await create(app, 1);
    await app.get(DailyCounts).flush();
    expect(await countsOf(app).count()).toBe(0);
  });
});

onEachAdapter((databaseName, adapter) => {
  test('the guard and the report in the documentation work', async () => {
    const folder = folderForBlocks();
    try {
      const block = (file: string) => importBlock(folder, 'docs/administration.md', file);
      const { AdministratorGuard } = (await block('administrator.guard.ts')) as {
        AdministratorGuard: Type<CanActivate>;
      };
      const { SessionsReport } = (await block('sessions.report.ts')) as { SessionsReport: Type<Report> };
      const options = { admin: { guard: [JwtAuthGuard, AdministratorGuard] } };
      const app = await startApp({ databaseName, adapter, options, providers: [SessionsReport] });
      try {
        const create = (role: string) => app.get(SessionService).create(role, { type: 'LONG', claims: { role } });
        const statuses = [];
        for (const role of ['administrator', 'user']) {
          const { access } = await create(role);
          statuses.push(
            (await app.request('GET', '/api/session/admin/statistics', { headers: bearer(access) })).status,
          );
        }
        expect(statuses).toEqual([200, 403]);
        const report = app.get(SessionsReport);
        const listed: string[] = [];
        for await (const { userId } of report.all('user')) listed.push(String(userId));
        expect(listed).toEqual(['user']);
        expect(await report.lockOut('user', 'administrator')).toBe(1);
        await app.get(DailyCounts).flush();
        expect(await report.active()).toEqual({ LONG: 1 });
      } finally {
        await app.close();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('the routes are off without the option admin', async () => {
    const app = await startApp({ databaseName, adapter });
    try {
      const { access } = await app.login();
      const answer = await app.request('GET', '/api/session/admin/sessions', { headers: bearer(access) });
      expect(answer.status).toBe(404);
    } finally {
      await app.close();
    }
  });

  test.each([{}, { guard: [] }, { guard: undefined }, { guard: ['admin'] }])(
    'the option admin is refused at start if it is %j',
    async (admin) => {
      const options = { admin } as unknown as TestAppOptions['options'];
      await expect(startApp({ databaseName, adapter, options })).rejects.toThrow(
        /admin\.guard(\[0\])?: (is missing|must be a guard class)/,
      );
    },
  );

  test('a class of the application can replace the controller', async () => {
    class OurAdmin extends AdminSessionsController {}
    const options = { admin: { guard: OnlyAlice, controller: OurAdmin } };
    const app = await startApp({ databaseName, adapter, options });
    try {
      expect((await app.request('GET', '/api/session/admin/statistics')).status).toBe(403);
    } finally {
      await app.close();
    }
  });
});
