import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { EventAdministration, SessionCleanup, SessionHistory, SessionService } from 'nestjs-multisession';
import { DataSource, IsNull } from 'typeorm';
import { SessionDeliveryEntity } from '../../lib/outbox/session-delivery.entity.js';
import { SessionEventEntity } from '../../lib/outbox/session-event.entity.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { type Inbox, startInbox, until } from '../helpers/event-inbox.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

@Injectable()
class AdministratorGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    return headers['x-admin'] === 'yes';
  }
}

const ADMIN = { 'x-admin': 'yes' };
const SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
const HOOK = 'webhook:audit';

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let inbox: Inbox;

  beforeAll(async () => {
    inbox = await startInbox();
    const webhook = { name: 'audit', url: inbox.url, secrets: SECRET, allowPrivateNetwork: true };
    const events = { retention: '30d' as const, webhooks: [webhook] };
    const options = { admin: { guard: AdministratorGuard }, events };
    app = await startApp({ databaseName, adapter, options });
  });
  afterAll(async () => {
    await app.close();
    await inbox.close();
  });
  const manager = () => app.get(DataSource).manager;
  const isIdle = async () =>
    (await manager().countBy(SessionEventEntity, { deliveredAt: IsNull() })) +
      (await manager().countBy(SessionDeliveryEntity, { failedAt: IsNull() })) ===
    0;
  beforeEach(async () => {
    Object.assign(inbox, { status: 204, answer: undefined });
    await until(isIdle);
    await manager().clear(SessionEventEntity);
    await manager().clear(SessionDeliveryEntity);
    inbox.received.length = 0;
  });

  const get = (path: string, headers: Record<string, string> = ADMIN) =>
    app.request('GET', `/api/session/${path}`, { headers });
  const replay = (body: object) => app.request('POST', '/api/session/admin/events/replay', { headers: ADMIN, body });
  const loginAndOut = async () => {
    const login = await app.login();
    await app.post('logout/', { refresh: login.refresh, secret_key: SECRET_KEY });
    return login.session_id;
  };

  describe('administrators', () => {
    test('see what waits, and for how long', async () => {
      expect((await get('admin/events', {})).status).toBe(403);
      inbox.answer = () => 400;
      await loginAndOut();
      await until(async () => (await manager().countBy(SessionDeliveryEntity, { attempts: 1 })) === 1);
      const { status, body } = await get('admin/events');
      expect(status).toBe(200);
      expect(body).toEqual({
        undistributed: 0,
        lag_ms: body.destinations[0].lag_ms,
        destinations: [
          { name: HOOK, waiting: 2, dead_letters: 0, lag_ms: expect.any(Number), paused_until: null, gone_at: null },
        ],
      });
      expect(body.lag_ms).toBeGreaterThan(0);
      expect(body.lag_ms).toBeLessThan(10_000);
      await manager().clear(SessionDeliveryEntity);
    });

    test('list dead letters page by page, and replay one of them', async () => {
      const sessionId = await loginAndOut();
      await until(isIdle);
      await manager().clear(SessionDeliveryEntity);
      const events = await manager().find(SessionEventEntity, { where: { sessionId }, order: { position: 'ASC' } });
      for (const { id, name } of events)
        await manager().insert(SessionDeliveryEntity, {
          ...{
            destination: HOOK,
            ordinal: `${name === 'session.created' ? 1 : 2}.0.${id}`,
            eventId: id,
            queue: sessionId,
          },
          ...{ attempts: 10, nextAt: new Date(0), failedAt: new Date(), error: 'answered 500' },
        });
      inbox.received.length = 0;
      const first = await get(`admin/events/dead-letters?destination=${HOOK}&limit=1`);
      expect(first.body).toEqual([
        {
          ...{ event_id: events[0].id, event: 'session.created', error: 'answered 500' },
          ...{ at: events[0].createdAt.toISOString(), failed_at: expect.any(String) },
        },
      ]);
      const second = await get(`admin/events/dead-letters?destination=${HOOK}&after=${events[0].id}`);
      expect(second.body.map(({ event }: { event: string }) => event)).toEqual(['session.ended']);
      expect((await get('admin/events/dead-letters')).status).toBe(400);
      await manager().delete(SessionDeliveryEntity, { destination: HOOK });

      expect((await replay({ destination: HOOK, event_id: events[1].id })).body).toEqual({ replayed: 1 });
      await until(() => inbox.received.length === 1);
      expect(inbox.received[0].headers['webhook-id']).toBe(events[1].id);
    });

    test('replay the events of a time in order, and switch the destination on', async () => {
      const before = new Date(Date.now() - 5000);
      inbox.answer = () => 410;
      await loginAndOut();
      await until(async () => (await get('admin/events')).body.destinations[0].gone_at !== null);
      inbox.answer = undefined;
      inbox.received.length = 0;
      await until(async () => (await manager().countBy(SessionEventEntity, { deliveredAt: IsNull() })) === 0);
      const { body } = await replay({ destination: HOOK, since: before.toISOString() });
      expect(body).toEqual({ replayed: 2 });
      await until(() => inbox.received.length === 2);
      expect(inbox.received.map(({ body: sent }) => sent.type)).toEqual(['session.created', 'session.ended']);
      expect((await get('admin/events')).body.destinations[0]).toMatchObject({ gone_at: null, dead_letters: 0 });
      const later = await replay({ destination: HOOK, since: new Date(Date.now() + 60_000).toISOString() });
      expect(later.body).toEqual({ replayed: 0 });
    });

    test.each([
      [{ destination: 'webhook:other', since: '2026-11-24' }, ['destination']],
      [{ destination: HOOK }, ['since']],
      [{ destination: HOOK, since: 'yesterday' }, ['since']],
      [{ destination: HOOK, since: '2026-11-24', until: 'now' }, ['until']],
    ])('get 400 for %j', async (body, fields) => {
      const answer = await replay(body);
      expect(answer.status).toBe(400);
      expect(Object.keys(answer.body.errors)).toEqual(fields);
    });
  });

  describe('a user', () => {
    test('sees the own history page by page, and nobody else', async () => {
      const sessionId = await loginAndOut();
      await app.login({ username: 'bob', password: 'bob-password' });
      const { access, session_id } = await app.login();
      await app.get(SessionService).destroy(session_id, { reason: 'admin' });
      const { access: own, session_id: current } = await app.login();
      const pages: any[] = [];
      for (let next: string | null = ''; next !== null;) {
        const path: string = next ? `history?limit=2&before=${next}` : 'history?limit=2';
        const { status, body } = await get(path, bearer(own));
        expect(status).toBe(200);
        pages.push(body.events);
        next = body.next;
      }
      expect(pages.map(({ length }) => length)).toEqual([2, 2, 1]);
      const told = pages.flat().map(({ event, session_id: id, reason, by }) => [event, id, reason, by]);
      expect(told).toEqual([
        ['session.created', current, null, 'user'],
        ['session.ended', session_id, 'admin', 'admin'],
        ['session.created', session_id, null, 'user'],
        ['session.ended', sessionId, 'logout', 'user'],
        ['session.created', sessionId, null, 'user'],
      ]);
      expect(pages[0][0]).toMatchObject({ session_type: 'LONG', ip_address: '127.0.0.1', device: null });
      expect((await get('history', bearer(access))).status).toBe(401);
      expect((await get('history?before=nonsense', bearer(own))).status).toBe(400);
      expect((await get('history?limit=1000', bearer(own))).status).toBe(400);
    });

    test('is shown to administrators with who ended which session and why', async () => {
      const { session_id } = await app.login();
      await app.get(SessionService).destroy(session_id, { reason: 'admin' });
      expect((await get('admin/users/alice/history', {})).status).toBe(403);
      const { status, body } = await get('admin/users/alice/history?limit=1');
      expect([status, body.events]).toEqual([
        200,
        [expect.objectContaining({ event: 'session.ended', session_id, reason: 'admin', by: 'admin' })],
      ]);
      const next = await get(`admin/users/alice/history?before=${body.next}`);
      expect(next.body).toMatchObject({ events: [{ event: 'session.created', session_id, by: 'user' }], next: null });
      expect((await get('admin/users/alice/history?before=nonsense')).body.code).toBe('validation_failed');
      expect((await get('admin/users/bob/history')).body).toEqual({ events: [], next: null });
    });

    test('can be erased', async () => {
      await loginAndOut();
      await app.login({ username: 'bob', password: 'bob-password' });
      await until(isIdle);
      expect(await app.get(SessionHistory).erase('alice')).toBe(2);
      const left = await manager().find(SessionEventEntity);
      expect(left.every(({ userId }) => userId === 'bob')).toBe(true);
      expect(left.length).toBeGreaterThan(0);
    });
  });

  test('the cleanup deletes events that are older than the retention, with their dead letters', async () => {
    const [old, recent] = [await loginAndOut(), await loginAndOut()];
    await until(isIdle);
    const past = new Date(Date.now() - 31 * 86_400_000);
    await manager().update(SessionEventEntity, { sessionId: old }, { deliveredAt: past });
    const [{ id }] = await manager().findBy(SessionEventEntity, { sessionId: old });
    await manager().insert(SessionDeliveryEntity, {
      ...{ destination: HOOK, ordinal: `1.1.${id}`, eventId: id, queue: old, attempts: 10 },
      ...{ nextAt: past, failedAt: past },
    });
    expect((await app.get(SessionCleanup).run()).events).toBe(2);
    const left = await manager().find(SessionEventEntity);
    expect(new Set(left.map(({ sessionId }) => sessionId))).toEqual(new Set([recent]));
    expect(await manager().count(SessionDeliveryEntity)).toBe(0);
    expect((await app.get(EventAdministration).status()).lag).toBe(0);
  });
});
