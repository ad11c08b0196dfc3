import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Injectable, Scope } from '@nestjs/common';
import {
  type DurableEvent,
  MultiSessionConfigurationError,
  OnSessionEvent,
  SessionEvents,
  SessionService,
} from 'nestjs-multisession';
import { DataSource, IsNull } from 'typeorm';
import { SessionDeliveryEntity } from '../../lib/outbox/session-delivery.entity.js';
import { SessionEventEntity } from '../../lib/outbox/session-event.entity.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { until } from '../helpers/event-inbox.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const HANDLED: DurableEvent[] = [];
let fault: ((event: DurableEvent) => void) | undefined;

@Injectable()
class Audit {
  @OnSessionEvent(
    'session.created',
    'session.ended',
    'user.revoked',
    'refresh.reused',
    'refresh.replayed',
    'refresh.recovered',
    'session.client-changed',
    'login.new-device',
    'login.failed',
  )
  record(event: DurableEvent): void {
    fault?.(event);
    HANDLED.push(event);
  }
}

const of = (sessionId: string) => HANDLED.filter((event) => event.sessionId === sessionId).map(({ name }) => name);
const eventOf = (sessionId: string, name: string) =>
  HANDLED.find((event) => event.sessionId === sessionId && event.name === name);

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;

  beforeAll(async () => {
    const options = { events: true, rememberDevices: '30d' } as const;
    app = await startApp({ databaseName, adapter, providers: [Audit], options });
  });
  afterAll(() => app.close());
  beforeEach(async () => {
    fault = undefined;
    const { manager } = app.get(DataSource);
    const isIdle = async () =>
      (await manager.countBy(SessionEventEntity, { deliveredAt: IsNull() })) +
        (await manager.count(SessionDeliveryEntity)) ===
      0;
    await until(isIdle);
    HANDLED.length = 0;
  });

  test('tells of a login and a logout, with the client', async () => {
    const { refresh, session_id } = await app.login({ info: 'a test' });
    await until(() => of(session_id).includes('session.created'));
    await app.post('logout/', { refresh, secret_key: SECRET_KEY });
    await until(() => of(session_id).includes('session.ended'));
    expect(of(session_id).filter((name) => name.startsWith('session.'))).toEqual(['session.created', 'session.ended']);
    expect(eventOf(session_id, 'session.ended')).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: 'session.ended',
      at: expect.any(Date),
      sessionId: session_id,
      userId: 'alice',
      sessionType: 'LONG',
      reason: 'logout',
      initiator: 'user',
      initiatorId: null,
      client: { user_agent: 'node', ip_address: '127.0.0.1', device_name: null },
      details: {},
    });
    expect(eventOf(session_id, 'session.created')?.details).toEqual({ amr: ['pwd'] });
  });

  test('tells of a login from a new device', async () => {
    const { session_id } = await app
      .post('login/', { ...LOGIN, username: 'bob', password: 'bob-password' })
      .then(({ body }) => body);
    await until(() => of(session_id).includes('login.new-device'));
    expect(eventOf(session_id, 'login.new-device')?.details).toEqual({ is_first: true });
  });

  test('tells of an eviction and of the login that caused it', async () => {
    const all = [await app.login({ session: 'SHORT' })];
    while (!HANDLED.some(({ reason }) => reason === 'evicted') && all.length < 20) {
      all.push(await app.login({ session: 'SHORT' }));
      const { session_id } = all.at(-1)!;
      await until(() => of(session_id).includes('session.created'));
    }
    const evicted = HANDLED.find(({ reason }) => reason === 'evicted');
    expect(evicted).toMatchObject({ initiator: 'policy', sessionType: 'SHORT' });
    await app.get(SessionService).destroyAll('alice');
  });

  test('tells of the end of all sessions of a user', async () => {
    const logins = [await app.login(), await app.login()];
    await until(() => logins.every(({ session_id }) => of(session_id).includes('session.created')));
    HANDLED.length = 0;
    await app.get(SessionService).destroyAll('alice', { reason: 'admin' });
    await until(() => HANDLED.some(({ name }) => name === 'user.revoked'));
    await until(() => logins.every(({ session_id }) => of(session_id).includes('session.ended')));
    expect(HANDLED.find(({ name }) => name === 'user.revoked')).toMatchObject({
      ...{ userId: 'alice', sessionId: null, reason: 'admin', initiator: 'admin' },
      details: { types: null, kept_session_id: null },
    });
  });

  test('tells of a reused token, with both parties', async () => {
    const { refresh, session_id } = await app.login();
    let latest = refresh;
    for (let at = 0; at < 3; at++) {
      const { body } = await app.post('refresh/', { refresh: latest, session: 'LONG', secret_key: SECRET_KEY });
      latest = body.refresh ?? latest;
      if (at < 2) await rotatedLongAgo(app, session_id);
    }
    const { status } = await app.post(
      'refresh/',
      { refresh, session: 'LONG', secret_key: SECRET_KEY },
      { 'user-agent': 'thief/1' },
    );
    expect(status).toBe(401);
    await until(() => of(session_id).includes('session.ended'));
    expect(of(session_id).slice(-2)).toEqual(['refresh.reused', 'session.ended']);
    expect(eventOf(session_id, 'refresh.reused')).toMatchObject({
      ...{ reason: null, client: { user_agent: 'thief/1' } },
      details: { presented_generation: 0, reuse: 'stale', other_client: { user_agent: 'node' } },
    });
    expect(eventOf(session_id, 'session.ended')).toMatchObject({ reason: 'reuse', initiator: 'policy' });
  });

  test('tells of a replay and of a recovery', async () => {
    const { refresh, session_id } = await app.login();
    await app.post('refresh/', { refresh, session: 'LONG', secret_key: SECRET_KEY });
    await app.post('refresh/', { refresh, session: 'LONG', secret_key: SECRET_KEY });
    await until(() => of(session_id).includes('refresh.replayed'));
    await rotatedLongAgo(app, session_id);
    expect((await app.post('refresh/', { refresh, session: 'LONG', secret_key: SECRET_KEY })).status).toBe(200);
    await until(() => of(session_id).includes('refresh.recovered'));
  });

  test('tells of a refresh by another client, and of none by the same', async () => {
    const { refresh, session_id } = await app.login();
    const by = async (token: string, agent: string) => {
      const body = { refresh: token, session: 'LONG', secret_key: SECRET_KEY };
      const answer = await app.post('refresh/', body, { 'user-agent': agent });
      expect(answer.status).toBe(200);
      return answer.body.refresh as string;
    };
    const next = await by(refresh, 'node');
    // Within the grace: the row is read first, and the token is handed out again.
    await by(refresh, 'other/1');
    await rotatedLongAgo(app, session_id);
    await by(await by(next, 'other/2'), 'other/2');
    await until(() => of(session_id).filter((name) => name === 'session.client-changed').length === 2);
    const changes = HANDLED.filter(
      ({ name, sessionId }) => sessionId === session_id && name === 'session.client-changed',
    );
    const node = { user_agent: 'node', ip_address: '127.0.0.1', device_name: null };
    expect(changes.map(({ client, details }) => ({ client, details }))).toEqual([
      { client: { ...node, user_agent: 'other/1' }, details: { previous: node } },
      { client: { ...node, user_agent: 'other/2' }, details: { previous: node } },
    ]);
  });

  test('tells of failed logins, without the user name', async () => {
    await app.post('login/', { ...LOGIN, password: 'wrong' });
    await until(() => HANDLED.length > 0);
    expect(HANDLED[0]).toMatchObject({
      ...{ name: 'login.failed', reason: 'invalid_credentials', userId: null, sessionId: null },
      details: { suppressed: 0 },
    });
    expect(JSON.stringify(HANDLED[0])).not.toContain('alice');
  });

  test('writes only some of very many failed logins, and says how many it left out', async () => {
    const failure = { reason: 'invalid_credentials', type: 'LONG', client: {} } as const;
    for (let at = 0; at < 300; at++) app.get(SessionEvents).emit('login.failed', failure);
    await until(() => HANDLED.length >= 90, 40_000);
    await until(() => {
      app.get(SessionEvents).emit('login.failed', failure);
      return HANDLED.some(({ details }) => Number(details.suppressed) >= 190);
    });
    expect(HANDLED.length).toBeLessThan(130);
  }, 60_000);

  test('calls a handler again that has failed, with the same id and before later events of the session', async () => {
    const tries: string[] = [];
    fault = (event) => {
      tries.push(event.id);
      if (tries.length === 1) throw new RangeError('not now');
    };
    const { refresh, session_id } = await app.login();
    await until(() => tries.length === 1);
    await app.post('logout/', { refresh, secret_key: SECRET_KEY });
    const { manager } = app.get(DataSource);
    const waiting = () => manager.findBy(SessionDeliveryEntity, { queue: session_id });
    await until(async () => (await waiting()).some(({ attempts, error }) => attempts === 1 && error === 'RangeError'));
    await until(async () => (await waiting()).length >= 2);
    expect(of(session_id)).toEqual([]);
    await manager.update(SessionDeliveryEntity, { queue: session_id, attempts: 1 }, { nextAt: new Date(0) });
    await until(async () => (await waiting()).length === 0);
    expect(of(session_id).filter((name) => name.startsWith('session.'))).toEqual(['session.created', 'session.ended']);
    expect(eventOf(session_id, 'session.created')?.id).toBe(tries[0]);
  });

  test('makes a dead letter of an event after ten tries, and goes on with the session', async () => {
    let tries = 0;
    const { refresh, session_id } = await app.login();
    await until(() => of(session_id).length > 0);
    fault = ({ name }) => {
      if (name === 'session.ended' && ++tries <= 10) throw new RangeError('never');
    };
    await app.post('logout/', { refresh, secret_key: SECRET_KEY });
    const { manager } = app.get(DataSource);
    const delays: number[] = [];
    const find = () => manager.findOneBy(SessionDeliveryEntity, { queue: session_id });
    for (let at = 1; at <= 10; at++) {
      await until(async () => (await find())?.attempts === at);
      const row = await find();
      if (!row?.failedAt) delays.push(row!.nextAt.getTime() - Date.now());
      await manager.update(SessionDeliveryEntity, { queue: session_id }, { nextAt: new Date(0) });
    }
    expect((await find())?.failedAt).toBeInstanceOf(Date);
    const hours = [5 / 3600, 1 / 12, 0.5, 2, 5, 10, 14, 20, 24];
    expect(delays).toHaveLength(9);
    delays.forEach((delay, at) => {
      expect(delay).toBeLessThanOrEqual(hours[at] * 3_600_000 * 1.2 + 2000);
      expect(delay).toBeGreaterThan(hours[at] * 3_600_000 - 5000);
    });
    await manager.delete(SessionDeliveryEntity, { queue: session_id });
  });

  test('tells nothing of a login that is rolled back', async () => {
    const { manager } = app.get(DataSource);
    const count = () => manager.countBy(SessionEventEntity, { userId: 'alice' });
    const before = await count();
    const dataSource = app.get(DataSource);
    const rolledBack = dataSource.transaction(async (transaction) => {
      await app.get(SessionService).prepare('alice', { type: 'LONG' }, transaction);
      throw new RangeError('roll back');
    });
    await expect(rolledBack).rejects.toThrow('roll back');
    expect(await count()).toBe(before);
    const prepared = await dataSource.transaction((transaction) =>
      app.get(SessionService).prepare('alice', { type: 'LONG' }, transaction),
    );
    expect(await count()).toBe(before);
    await prepared.issue();
    expect(await count()).toBe(before + 1);
    await app.get(SessionService).destroy(prepared.id);
  });

  test('tells of a reauthentication', async () => {
    const { access, session_id } = await app.login();
    const { body } = await app.post(
      'reauthenticate/',
      { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY },
      bearer(access),
    );
    await until(() => of(session_id).includes('session.ended') && of(body.session_id).includes('session.created'));
    expect(eventOf(session_id, 'session.ended')).toMatchObject({ reason: 'reauthenticated', initiator: 'user' });
  });
});

describe('at start', () => {
  let app: TestApp | undefined;
  afterEach(async () => app?.close());

  test('refuses handlers without the option', async () => {
    const starting = startApp({ providers: [Audit] });
    await expect(starting).rejects.toThrow(MultiSessionConfigurationError);
    await expect(startApp({ providers: [Audit] })).rejects.toThrow('events: Audit.record handles events');
  });

  test('refuses a handler whose provider has a scope', async () => {
    const scoped = { provide: Audit, useClass: Audit, scope: Scope.TRANSIENT };
    await expect(startApp({ providers: [scoped], options: { events: true } })).rejects.toThrow('use the default scope');
  });

  test('writes no events without the option', async () => {
    app = await startApp();
    await app.post('logout/', { refresh: (await app.login()).refresh, secret_key: SECRET_KEY });
    expect(await app.get(DataSource).manager.count(SessionEventEntity)).toBe(0);
  });
});

const LOGIN = {
  username: 'alice',
  password: 'alice-password',
  secret_key: SECRET_KEY,
  session: 'LONG',
  info: 'a test',
};

/** Moves the last rotation into the past, beyond the grace. */
async function rotatedLongAgo(app: TestApp, id: string): Promise<void> {
  const dataSource = app.get(DataSource);
  const past = Date.now() - 3_600_000;
  await dataSource.query(`UPDATE user_session SET rotated_at = ${past} WHERE id = '${id}'`);
}
