import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import {
  type DurableEvent,
  JwtAuthGuard,
  OnSessionEvent,
  SessionHistory,
  SessionService,
  type UserId,
} from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { SessionEventEntity } from '../../lib/outbox/session-event.entity.js';
import { bearer, startApp, type TestApp, type TestAppOptions, TestUsers } from '../helpers/app.js';
import { type Inbox, startInbox, until } from '../helpers/event-inbox.js';
import { onEachDatabase, onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const HANDLED: DurableEvent[] = [];

@Injectable()
class Audit {
  @OnSessionEvent('session.created', 'session.ended', 'user.revoked')
  record(event: DurableEvent): void {
    HANDLED.push(event);
  }
}

@Injectable()
class OnlyAlice implements CanActivate {
  canActivate(context: ExecutionContext) {
    return context.switchToHttp().getRequest<{ user?: { userId: string } }>().user?.userId === 'alice';
  }
}

/** Identifies callers without a session of this library. */
@Injectable()
class OtherTokens implements CanActivate {
  canActivate(context: ExecutionContext) {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string>; user?: unknown }>();
    request.user = { userId: 'mallory', sessionId: 'none' };
    return request.headers['x-admin'] === 'yes';
  }
}

@Injectable()
class NamedUsers extends TestUsers {
  readonly described: (readonly UserId[])[] = [];
  override describeUsers(userIds: readonly UserId[]) {
    this.described.push(userIds);
    return Promise.resolve(new Map(userIds.filter((id) => id === 'alice').map((id) => [id, `Name of ${id}`])));
  }
}

const SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
const CONFIRMED = { confirm: 'END ALL SESSIONS' };

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let inbox: Inbox;
  let alice: { access: string; session_id: string };

  beforeAll(async () => {
    inbox = await startInbox();
    const webhook = { name: 'audit', url: inbox.url, secrets: SECRET, allowPrivateNetwork: true };
    const options: TestAppOptions['options'] = {
      authenticator: { useClass: NamedUsers },
      admin: { guard: [JwtAuthGuard, OnlyAlice] },
      events: { webhooks: [webhook] },
    };
    app = await startApp({ databaseName, adapter, providers: [Audit], options });
  });
  afterAll(async () => {
    await app?.close();
    await inbox.close();
  });
  beforeEach(async () => {
    alice = await app.login();
  });

  const make = async (userId = 'bob') => (await app.get(SessionService).create(userId, { type: 'LONG' })).session.id;
  const ask = (method: string, route: string, body?: unknown, access = alice.access) =>
    app.request(method, `/api/session/${route}`, { body, headers: bearer(access) });
  const ending = async (sessionId: string): Promise<DurableEvent> => {
    const find = () => HANDLED.find((event) => event.sessionId === sessionId && event.name === 'session.ended');
    await until(() => find() !== undefined);
    return find()!;
  };

  describe('an event names the administrator', () => {
    test('who has ended one session, and so does the webhook', async () => {
      const id = await make();
      expect((await ask('DELETE', `admin/sessions/${id}`)).status).toBe(204);
      expect(await ending(id)).toMatchObject({
        reason: 'admin',
        initiator: 'admin',
        initiatorId: 'alice',
        details: {},
      });
      const posted = () =>
        inbox.received.find(({ body }) => body.type === 'session.ended' && body.data.session_id === id);
      await until(() => posted() !== undefined);
      expect(posted()?.body.data).toMatchObject({ initiator: 'admin', initiator_id: 'alice' });
    });

    test('who has ended all sessions of a user', async () => {
      const ids = [await make('carol'), await make('carol')];
      expect((await ask('DELETE', 'admin/users/carol/sessions')).body).toEqual({ ended: 2 });
      for (const id of ids) expect(await ending(id)).toMatchObject({ initiatorId: 'alice' });
      await until(() => HANDLED.some(({ name, userId }) => name === 'user.revoked' && userId === 'carol'));
      expect(HANDLED.find(({ name, userId }) => name === 'user.revoked' && userId === 'carol')).toMatchObject({
        ...{ initiator: 'admin', initiatorId: 'alice' },
        details: { types: null, kept_session_id: null },
      });
    });

    test("who has ended everybody's sessions", async () => {
      const ids = [await make(), await make('carol')];
      expect((await ask('POST', 'admin/sessions/end-all', CONFIRMED)).status).toBe(200);
      for (const id of [...ids, alice.session_id]) expect(await ending(id)).toMatchObject({ initiatorId: 'alice' });
    });

    test('whom the code of the application names', async () => {
      const [one, ...others] = [await make(), await make('carol'), await make('carol')];
      await app.get(SessionService).destroy(one, { reason: 'admin', by: 'dave' });
      await app.get(SessionService).destroyAll('carol', { reason: 'admin', by: 'dave' });
      for (const id of [one, ...others]) expect(await ending(id)).toMatchObject({ initiatorId: 'dave' });
    });
  });

  test('an event names nobody if a user logs out, or the code of the application does not say who it was', async () => {
    const [one, other] = [await make(), await make()];
    await app.get(SessionService).destroy(one, { reason: 'admin' });
    await app.get(SessionService).destroy(other);
    expect(await ending(one)).toMatchObject({ initiator: 'admin', initiatorId: null });
    expect(await ending(other)).toMatchObject({ initiator: 'user', initiatorId: null });
    await ask('DELETE', `sessions/${alice.session_id}`);
    expect(await ending(alice.session_id)).toMatchObject({ initiator: 'user', initiatorId: null });
  });

  describe('the history', () => {
    const historyOfBob = async () => (await ask('GET', 'admin/users/bob/history')).body.events;

    test('tells administrators who it was, by id and by name', async () => {
      const [id, by] = [await make(), await make()];
      await ask('DELETE', `admin/sessions/${id}`);
      await app.get(SessionService).destroy(by, { reason: 'admin', by: 'unknown' });
      const users = app.users as NamedUsers;
      users.described.length = 0;
      const events = (await historyOfBob()) as { session_id: string; event: string }[];
      const of = (sessionId: string) => events.filter((event) => event.session_id === sessionId);
      expect(of(id)).toEqual([
        expect.objectContaining({ by: 'admin', by_user_id: 'alice', by_user_name: 'Name of alice' }),
        expect.objectContaining({ by: 'user', by_user_id: null, by_user_name: null }),
      ]);
      expect(of(by)[0]).toMatchObject({ by: 'admin', by_user_id: 'unknown', by_user_name: null });
      expect(users.described).toHaveLength(1);
      expect(new Set(users.described[0]).size).toBe(users.described[0].length);
    });

    test('does not tell the user', async () => {
      const id = await make();
      await ask('DELETE', `admin/sessions/${id}`);
      const own = await app.login({ username: 'bob', password: 'bob-password' });
      const { status, body } = await ask('GET', 'history', undefined, own.access);
      expect(status).toBe(200);
      expect(body.events).toContainEqual(expect.objectContaining({ session_id: id, reason: 'admin', by: 'admin' }));
      expect(JSON.stringify(body)).not.toContain('alice');
      for (const event of body.events) expect(Object.keys(event)).not.toContain('by_user_id');
    });

    test('shows nobody in events of earlier versions', async () => {
      const id = await make();
      await ask('DELETE', `admin/sessions/${id}`);
      const { manager } = app.get(DataSource);
      const where = { sessionId: id, name: 'session.ended' };
      const { data } = await manager.findOneByOrFail(SessionEventEntity, where);
      const { client, details } = JSON.parse(data);
      await manager.update(SessionEventEntity, where, { data: JSON.stringify({ client, details }) });
      expect((await historyOfBob())[0]).toMatchObject({ session_id: id, by: 'admin', by_user_id: null });
    });

    test('keeps the id of an administrator whose own events are erased', async () => {
      const id = await make();
      await ask('DELETE', `admin/sessions/${id}`);
      expect(await app.get(SessionHistory).erase('alice')).toBeGreaterThan(0);
      expect((await historyOfBob())[0]).toMatchObject({ session_id: id, by_user_id: 'alice' });
    });
  });
});

onEachDatabase((databaseName) => {
  let app: TestApp | undefined;
  afterEach(() => app?.close());

  test('an event names nobody if a guard of the application has identified the administrator', async () => {
    app = await startApp({ databaseName, options: { admin: { guard: OtherTokens }, events: true } });
    const { session } = await app.get(SessionService).create('bob', { type: 'LONG' });
    const headers = { 'x-admin': 'yes' };
    expect((await app.request('DELETE', `/api/session/admin/sessions/${session.id}`, { headers })).status).toBe(204);
    const { body } = await app.request('GET', '/api/session/admin/users/bob/history', { headers });
    expect(body.events[0]).toMatchObject({ session_id: session.id, by: 'admin', by_user_id: null });
  });

  test('an event names the administrator by a number if users have numbers', async () => {
    app = await startApp({ databaseName, options: { userIdType: 'number', events: true } });
    const { session } = await app.get(SessionService).create(5, { type: 'LONG' });
    await app.get(SessionService).destroy(session.id, { reason: 'admin', by: 7 });
    const page = await app.get(SessionHistory).list(5);
    expect(page?.events[0]).toMatchObject({ userId: 5, initiatorId: 7 });
  });
});
