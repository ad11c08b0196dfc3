import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import {
  EventAdministration,
  JwtAuthGuard,
  SessionAdministration,
  SessionCleanup,
  SessionService,
  type UserId,
} from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { SessionAdminActionEntity } from '../../lib/session/session-admin-action.entity.js';
import { SessionDeliveryEntity } from '../../lib/outbox/session-delivery.entity.js';
import { firstSessionIdOf, uuidV7 } from '../../lib/session/id.js';
import { randomId } from '../../lib/token/random-id.js';
import { bearer, startApp, type TestApp, type TestAppOptions, TestUsers } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { startInbox, type Inbox, until } from '../helpers/event-inbox.js';
import { onEachDatabase, onEachDatabaseAndAdapter } from '../helpers/matrix.js';

@Injectable()
class NotBob implements CanActivate {
  canActivate(context: ExecutionContext) {
    return context.switchToHttp().getRequest<{ user?: { userId: string } }>().user?.userId !== 'bob';
  }
}

/** Identifies callers without a session of this library. */
@Injectable()
class OtherTokens implements CanActivate {
  canActivate(context: ExecutionContext) {
    return context.switchToHttp().getRequest<{ headers: Record<string, string> }>().headers['x-admin'] === 'yes';
  }
}

@Injectable()
class NamedUsers extends TestUsers {
  readonly described: (readonly UserId[])[] = [];
  override describeUsers(userIds: readonly UserId[]) {
    this.described.push(userIds);
    return Promise.resolve(new Map(userIds.filter((id) => id !== 'unnamed').map((id) => [id, `Name of ${id}`])));
  }
}

const CONFIRMED = { confirm: 'END ALL SESSIONS' };
const HOOK = 'webhook:audit';
const DAY = 86_400_000;
const RECORDS = 'session_admin_action';

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let inbox: Inbox;
  let alice: { access: string; session_id: string };

  beforeAll(async () => {
    inbox = await startInbox();
    const secrets = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
    const options: TestAppOptions['options'] = {
      authenticator: { useClass: NamedUsers },
      admin: { guard: [JwtAuthGuard, NotBob] },
      events: { webhooks: [{ name: 'audit', url: inbox.url, secrets, allowPrivateNetwork: true }] },
      cleanup: { interval: '1d', batchSize: 10 },
    };
    app = await startApp({ databaseName, adapter, options });
  });
  afterAll(async () => {
    await app?.close();
    await inbox?.close();
  });
  beforeEach(async () => {
    await manager().clear(SessionAdminActionEntity);
    alice = await app.login();
  });

  const manager = () => app.get(DataSource).manager;
  const sessions = () => app.get(SessionService);
  const make = async (userId = 'bob') => (await sessions().create(userId, { type: 'LONG' })).session.id;
  const ask = (method: string, route: string, body?: unknown, access = alice.access) =>
    app.request(method, `/api/session/${route}`, { body, headers: bearer(access) });
  const recorded = async (query = '') => (await ask('GET', `admin/actions${query}`)).body.actions as unknown[];
  /** Runs work while a table is missing. */
  const without = async (table: string, work: () => Promise<unknown>) => {
    await app.get(DataSource).query(`ALTER TABLE ${table} RENAME TO away`);
    await work().finally(() => app.get(DataSource).query(`ALTER TABLE away RENAME TO ${table}`));
  };
  /** Checks that these are the records, in any order: those of one millisecond have none. */
  const expectRecords = async (...records: object[]) => {
    const found = await recorded();
    expect(found).toEqual(expect.arrayContaining(records));
    expect(found).toHaveLength(records.length);
  };
  const told = (more: object) => ({
    ...{ id: expect.any(String), at: expect.any(String) },
    ...{ by_user_id: 'alice', by_user_name: 'Name of alice' },
    ...{ user_id: null, user_name: null, session_id: null, ended: null, details: {} },
    ...more,
  });

  describe('exactly one record tells', () => {
    test('who ended one session', async () => {
      const id = await make();
      expect((await ask('DELETE', `admin/sessions/${id}`)).status).toBe(204);
      expect((await ask('DELETE', `admin/sessions/${id}`)).status).toBe(404);
      expect(await recorded()).toEqual([
        told({
          ...{ action: 'end-session', user_id: 'bob', user_name: 'Name of bob', session_id: id, ended: 1 },
          details: { session_type: 'LONG' },
        }),
      ]);
      const [{ id: record, createdAt }] = await manager().find(SessionAdminActionEntity);
      expect(record.startsWith(firstSessionIdOf(createdAt.getTime()))).toBe(true);
    });

    test('who ended all sessions of a user, also if there were none', async () => {
      await Promise.all([make('unnamed'), make('unnamed'), make()]);
      expect((await ask('DELETE', 'admin/users/unnamed/sessions')).body).toEqual({ ended: 2 });
      expect((await ask('DELETE', 'admin/users/carol/sessions')).body).toEqual({ ended: 0 });
      const details = { types: null, kept_session_id: null };
      await expectRecords(
        told({ action: 'end-user', user_id: 'carol', user_name: 'Name of carol', ended: 0, details }),
        told({ action: 'end-user', user_id: 'unnamed', ended: 2, details }),
      );
    });

    test("who started to end everybody's sessions", async () => {
      for (let at = 0; at < 5; at++) await make(`user ${at}`);
      expect((await ask('POST', 'admin/sessions/end-all', CONFIRMED)).status).toBe(200);
      const progress = () => app.get(SessionAdministration).endAllProgress();
      while ((await progress())?.status === 'running') await new Promise((resolve) => setTimeout(resolve, 10));
      alice = await app.login();
      expect(await recorded()).toEqual([told({ action: 'end-all' })]);
    });

    test('who replayed which events', async () => {
      const since = new Date(Date.now() + DAY).toISOString();
      const replay = (body: object) => ask('POST', 'admin/events/replay', { destination: HOOK, ...body });
      expect((await replay({ since })).body).toEqual({ replayed: 0 });
      expect((await replay({ event_id: alice.session_id })).body).toEqual({ replayed: 0 });
      expect((await replay({ destination: 'webhook:other', since })).status).toBe(400);
      await expectRecords(
        told({ action: 'replay-events', details: { destination: HOOK, event_id: alice.session_id } }),
        told({ action: 'replay-events', details: { destination: HOOK, since, until: null } }),
      );
    });

    test('what the code of the application did, and for whom if it says so', async () => {
      const [one, other] = [await make('erin'), await make('erin')];
      await sessions().destroy(one, { reason: 'admin', by: 'dave' });
      await sessions().destroy(other, { reason: 'admin' });
      await sessions().destroyAll('erin', { type: 'LONG', except: one, reason: 'admin', by: 'dave' });
      await app.get(EventAdministration).replay(HOOK, { eventId: one }, { by: 'dave' });
      await app.get(SessionAdministration).endAll({ by: 'dave' });
      alice = await app.login();
      const byDave = (more: object) =>
        expect.objectContaining({ by_user_id: 'dave', by_user_name: 'Name of dave', ...more });
      await expectRecords(
        byDave({ action: 'end-session', session_id: one }),
        expect.objectContaining({ session_id: other, by_user_id: null, by_user_name: null }),
        byDave({ action: 'end-user', ended: 0, details: { types: ['LONG'], kept_session_id: one } }),
        byDave({ action: 'replay-events' }),
        byDave({ action: 'end-all' }),
      );
    });
  });

  test('endings by users and by policy are not recorded', async () => {
    const bob = await app.login({ username: 'bob', password: 'bob-password' });
    await ask('DELETE', `sessions/${bob.session_id}`, undefined, bob.access);
    await sessions().destroy(await make());
    await make();
    await sessions().destroyAll('bob');
    expect(await recorded()).toEqual([]);
  });

  describe('a record and its action exist together', () => {
    test('if the record fails, nothing happens', async () => {
      const since = new Date(Date.now() - 3_600_000).toISOString();
      const id = await make();
      const isIdle = async () => {
        const { undistributed, destinations } = await app.get(EventAdministration).status();
        return undistributed === 0 && destinations[0].waiting === 0;
      };
      await until(isIdle);
      inbox.received.length = 0;
      await without(RECORDS, async () => {
        expect((await ask('DELETE', `admin/sessions/${id}`)).status).toBeGreaterThanOrEqual(500);
        expect((await ask('DELETE', 'admin/users/bob/sessions')).status).toBeGreaterThanOrEqual(500);
        expect((await ask('POST', 'admin/sessions/end-all', CONFIRMED)).status).toBeGreaterThanOrEqual(500);
        const replay = { destination: HOOK, since };
        expect((await ask('POST', 'admin/events/replay', replay)).status).toBeGreaterThanOrEqual(500);
      });
      expect(await sessions().get(id)).not.toBeNull();
      expect([await manager().count(SessionDeliveryEntity), inbox.received]).toEqual([0, []]);
    });

    test('if the action is rolled back, there is no record', async () => {
      const id = await make();
      // The event is written after the record.
      await without('session_event', async () => {
        expect((await ask('DELETE', `admin/sessions/${id}`)).status).toBeGreaterThanOrEqual(500);
        expect((await ask('DELETE', 'admin/users/bob/sessions')).status).toBeGreaterThanOrEqual(500);
      });
      expect(await sessions().get(id)).not.toBeNull();
      expect(await recorded()).toEqual([]);
    });
  });

  describe('the list', () => {
    /** Inserts records of these days, each by `alice` or `carol` in turns. */
    const insert = async (days: readonly number[]) => {
      const rows = days.map((day, at) => {
        const createdAt = new Date(Date.UTC(2026, 0, day));
        const id = uuidV7(createdAt.getTime(), randomId());
        const target = { userId: `user ${day}`, sessionId: null, ended: 1, details: '{}' };
        return { id, createdAt, action: 'end-user', byUserId: at % 2 ? 'carol' : 'alice', ...target };
      });
      await manager().insert(SessionAdminActionEntity, rows);
    };
    const daysOf = (actions: unknown[]) => actions.map((action) => Number((action as { at: string }).at.slice(8, 10)));

    test('is paged, the latest first, and filters by administrator and time', async () => {
      await insert([1, 2, 3, 4, 5, 6, 7]);
      const days: number[] = [];
      let pages = 0;
      for (let after = ''; ; pages++) {
        const { body } = await ask('GET', `admin/actions?limit=3${after}`);
        days.push(...daysOf(body.actions));
        if (body.next === null) break;
        after = `&after=${body.next}`;
      }
      expect([days, pages]).toEqual([[7, 6, 5, 4, 3, 2, 1], 2]);
      expect(daysOf(await recorded('?by=carol'))).toEqual([6, 4, 2]);
      expect(daysOf(await recorded('?since=2026-01-03&until=2026-01-06'))).toEqual([5, 4, 3]);
      const page = (await ask('GET', 'admin/actions?by=alice&until=2026-01-07&limit=2')).body;
      expect([daysOf(page.actions), page.next]).toEqual([[5, 3], page.actions[1].id]);
      expect(daysOf(await recorded(`?by=alice&until=2026-01-07&after=${page.next}`))).toEqual([1]);
      expect(await recorded('?by=Alice')).toEqual([]);
    });

    test('asks for the names of a page once', async () => {
      await insert([1, 2, 3, 4]);
      const users = app.users as NamedUsers;
      users.described.length = 0;
      await recorded();
      expect(users.described.map((ids) => [...ids].sort())).toEqual([
        ['alice', 'carol', 'user 1', 'user 2', 'user 3', 'user 4'],
      ]);
    });

    test.each(['by=', 'since=yesterday', 'until=1', 'after=1', 'limit=201', 'user=bob'])(
      'refuses %s',
      async (query) => {
        expect((await ask('GET', `admin/actions?${query}`)).status).toBe(400);
      },
    );

    test('is only for administrators', async () => {
      const bob = await app.login({ username: 'bob', password: 'bob-password' });
      expect((await ask('GET', 'admin/actions', undefined, bob.access)).status).toBe(403);
      expect((await app.request('GET', '/api/session/admin/actions')).status).toBe(401);
    });

    test('forgets actions after the retention, in batches', async () => {
      const at = (age: number) => ({ createdAt: new Date(Date.now() - age), id: uuidV7(Date.now() - age, randomId()) });
      const row = { action: 'end-all', byUserId: null, userId: null, sessionId: null, ended: null, details: '{}' };
      const old = Array.from({ length: 25 }, (_, day) => ({ ...row, ...at((401 + day) * DAY) }));
      const young = { ...row, ...at(399 * DAY) };
      await manager().insert(SessionAdminActionEntity, [...old, young]);
      const job = app.get(SessionCleanup) as unknown as { oldAdminActions: { deleteOld(limit: number): unknown } };
      expect(await job.oldAdminActions.deleteOld(10)).toBe(10);
      const left = await manager().find(SessionAdminActionEntity, { order: { id: 'ASC' } });
      expect(left.map(({ id }) => id)).toEqual([
        ...old
          .slice(0, 15)
          .map(({ id }) => id)
          .reverse(),
        young.id,
      ]);
      expect(await app.get(SessionCleanup).run()).toMatchObject({ adminActions: 15 });
      expect((await manager().find(SessionAdminActionEntity)).map(({ id }) => id)).toEqual([young.id]);
    });
  });
});

onEachDatabase((databaseName) => {
  let database: TestDatabase;
  const apps: TestApp[] = [];
  beforeEach(async () => {
    database = await createDatabase(databaseName);
  });
  afterEach(async () => {
    for (const app of apps.splice(0)) await app.close();
    await database.drop();
  });
  const start = async (options: TestAppOptions['options']) => {
    const app = await startApp({ database, options });
    apps.push(app);
    return app;
  };

  test('of administrators who end the same session at once, one is recorded: the one who did', async () => {
    const first = await start({});
    const others = databaseName.startsWith('sql') ? first : await start({});
    for (let round = 0; round < 10; round++) {
      const { session } = await first.get(SessionService).create('bob', { type: 'LONG' });
      const names = ['alice', 'carol', 'dave', 'erin'];
      const results = await Promise.allSettled(
        names.map((by, at) =>
          (at % 2 ? others : first).get(SessionService).destroy(session.id, { reason: 'admin', by }),
        ),
      );
      const winners = names.filter((_, at) => results[at].status === 'fulfilled');
      expect(winners).toHaveLength(1);
      const { actions } = await first.get(SessionAdministration).actions();
      expect(actions.filter(({ sessionId }) => sessionId === session.id).map(({ by }) => by)).toEqual(winners);
    }
  });

  test('names the administrator by a number if users have numbers', async () => {
    const app = await start({ userIdType: 'number' });
    await app.get(SessionService).destroyAll(5, { reason: 'admin', by: 7 });
    const { actions } = await app.get(SessionAdministration).actions({ by: 7 });
    expect(actions).toMatchObject([{ action: 'end-user', by: 7, userId: 5 }]);
  });

  test('names nobody if a guard of the application has let the caller pass', async () => {
    const app = await start({ admin: { guard: OtherTokens }, adminActionRetention: '1h' });
    const headers = { 'x-admin': 'yes' };
    await app.request('DELETE', '/api/session/admin/users/bob/sessions', { headers });
    const { body } = await app.request('GET', '/api/session/admin/actions', { headers });
    expect(body).toMatchObject({ actions: [{ action: 'end-user', by_user_id: null, user_id: 'bob' }], next: null });
  });
});
