import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Repository } from 'typeorm';
import { getRepositoryToken } from '@nestjs/typeorm';
import { BlacklistEntity, SessionEntity, type SessionPolicyOptions } from 'nestjs-multisession';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';

const POLICIES = {
  PLAIN: { refreshTokenLifetime: '1h', rotateRefreshTokens: false },
  SILENT: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, updateLastLogin: false },
  EXTENDING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, extendSession: 'every-refresh', reuseGrace: 0 },
  LATER: {
    refreshTokenLifetime: '1h',
    rotateRefreshTokens: false,
    extendSession: { whenRemainingBelow: '30m' },
    updateLastLogin: false,
  },
  ROTATING: { refreshTokenLifetime: '1h' },
  STRICT: { refreshTokenLifetime: '1h', reuseGrace: 0, blacklistAfterRotation: true },
  BRIEF: { refreshTokenLifetime: '1h', reuseGrace: 0.3 },
  BOTH: { refreshTokenLifetime: '1h', extendSession: 'every-refresh', absoluteLifetime: '90m', reuseGrace: 0 },
} as const satisfies Record<string, SessionPolicyOptions>;

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let entries: Repository<BlacklistEntity>;
  let events: RecordedEvent[];

  beforeAll(async () => {
    app = await startApp({ databaseName, adapter, options: { policies: POLICIES } });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    entries = app.get(getRepositoryToken(BlacklistEntity) as string);
    events = recordEvents(app);
  });
  beforeEach(() => void events.splice(0));
  afterAll(() => app?.close());

  const refresh = (token: string, session: string) =>
    app.post('refresh/', { refresh: token, secret_key: SECRET_KEY, session });
  const rowOf = (id: string) => rows.findOneByOrFail({ id });
  const isLive = async (access: string) => (await app.post('list/', { session: 'ALL' }, bearer(access))).status === 200;
  const eventsOf = (name: string) => events.filter((recorded) => recorded.name === name);

  describe('by policy', () => {
    test('without rotation and extension, returns only an access token and writes lastUpdate', async () => {
      const login = await app.login({ session: 'PLAIN' });
      const before = await rowOf(login.session_id);
      await sleep(5);
      const answer = await refresh(login.refresh, 'PLAIN');
      expect(answer).toMatchObject({ status: 200, body: { access: expect.any(String) } });
      expect(Object.keys(answer.body)).toEqual(['access']);
      const after = await rowOf(login.session_id);
      expect(after.lastUpdate.getTime()).toBeGreaterThan(before.lastUpdate.getTime());
      expect({ ...after, lastUpdate: 0 }).toEqual({ ...before, lastUpdate: 0 });
      expect((await refresh(login.refresh, 'plain ')).status).toBe(200);
    });

    test('does not write the row without updateLastLogin', async () => {
      const login = await app.login({ session: 'SILENT' });
      const before = await rowOf(login.session_id);
      expect(Object.keys((await refresh(login.refresh, 'SILENT')).body)).toEqual(['access']);
      expect(await rowOf(login.session_id)).toEqual(before);
    });

    test('extends without rotation: a new token, a later expiry, and the old token is refused', async () => {
      const login = await app.login({ session: 'EXTENDING' });
      await rows.update(login.session_id, { expiresAt: new Date(Date.now() + 60_000) });
      const [extended] = [await refresh(login.refresh, 'EXTENDING')];
      expect(Object.keys(extended.body).sort()).toEqual(['access', 'refresh']);
      const row = await rowOf(login.session_id);
      expect(row.expiresAt.getTime() - Date.now()).toBeGreaterThan(3_590_000);
      const again = await refresh(extended.body.refresh, 'EXTENDING');
      expect(again.status).toBe(200);
      expect(await refresh(login.refresh, 'EXTENDING')).toMatchObject({
        status: 401,
        body: { code: 'token_not_valid' },
      });
    });

    test('extends once less than the threshold remains, with updateLastLogin off', async () => {
      const login = await app.login({ session: 'LATER' });
      expect(Object.keys((await refresh(login.refresh, 'LATER')).body)).toEqual(['access']);
      // The row decides: a minute remains, so an extension is due.
      const before = await rowOf(login.session_id);
      await rows.update(login.session_id, { expiresAt: new Date(Date.now() + 60_000) });
      const extended = await refresh(login.refresh, 'LATER');
      expect(Object.keys(extended.body).sort()).toEqual(['access', 'refresh']);
      const after = await rowOf(login.session_id);
      expect(after.expiresAt.getTime() - Date.now()).toBeGreaterThan(3_590_000);
      expect(after.lastUpdate).toEqual(before.lastUpdate);
    });

    test('rotates: the new token expires with the session', async () => {
      const login = await app.login({ session: 'ROTATING' });
      const before = await rowOf(login.session_id);
      const { body } = await refresh(login.refresh, 'ROTATING');
      expect(body.refresh).not.toBe(login.refresh);
      const claims = JSON.parse(Buffer.from(body.refresh.split('.')[1], 'base64url').toString());
      expect(claims).toMatchObject({
        gen: 1,
        sid: login.session_id,
        exp: before.expiresAt.getTime() / 1000,
        session_type: 'ROTATING',
      });
      expect((await rowOf(login.session_id)).expiresAt).toEqual(before.expiresAt);
    });

    test('rotates and extends up to the absolute expiry', async () => {
      const login = await app.login({ session: 'BOTH' });
      const bound = (await rowOf(login.session_id)).absoluteExpiresAt as Date;
      expect(bound.getTime() - Date.now()).toBeGreaterThan(5_390_000);
      const sooner = new Date(bound.getTime() - 5_000_000);
      await rows.update(login.session_id, {
        expiresAt: sooner,
        absoluteExpiresAt: new Date(bound.getTime() - 3_000_000),
      });
      const { body } = await refresh(login.refresh, 'BOTH');
      expect((await rowOf(login.session_id)).expiresAt.getTime()).toBe(bound.getTime() - 3_000_000);
      expect((await refresh(body.refresh, 'BOTH')).status).toBe(200);
      expect((await rowOf(login.session_id)).expiresAt.getTime()).toBe(bound.getTime() - 3_000_000);
    });
  });

  describe('rotation', () => {
    test('within the grace, the superseded and the current token both get the current token again, unchanged', async () => {
      const login = await app.login({ session: 'ROTATING' });
      const { body } = await refresh(login.refresh, 'ROTATING');
      expect((await refresh(login.refresh, 'ROTATING')).body.refresh).toBe(body.refresh);
      expect((await refresh(body.refresh, 'ROTATING')).body.refresh).toBe(body.refresh);
      expect(eventsOf('refresh.replayed')).toMatchObject([
        { event: { presentedGeneration: 0, currentGeneration: 1, session: { id: login.session_id } } },
      ]);
      expect((await rowOf(login.session_id)).generation).toBe(1);
    });

    test('twenty concurrent refreshes with one token all succeed with the same successor', async () => {
      const login = await app.login({ session: 'ROTATING' });
      const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(login.refresh, 'ROTATING')));
      expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200));
      expect(new Set(answers.map(({ body }) => body.refresh)).size).toBe(1);
      expect((await rowOf(login.session_id)).generation).toBe(1);
    });

    test('for as long again after the grace, the superseded token gets only an access token, and the current one itself', async () => {
      const login = await app.login({ session: 'ROTATING' });
      const { body } = await refresh(login.refresh, 'ROTATING');
      expect(await isLive(body.access)).toBe(true);
      await rows.update(login.session_id, { rotatedAt: new Date(Date.now() - 15_000) });
      const held = await refresh(login.refresh, 'ROTATING');
      expect([held.status, Object.keys(held.body)]).toEqual([200, ['access']]);
      // The time of issue is that of the changed row.
      const { jti } = decoded(body.refresh, 1);
      expect(decoded((await refresh(body.refresh, 'ROTATING')).body.refresh, 1)).toMatchObject({ jti, gen: 1 });
      expect(eventsOf('refresh.replayed')).toHaveLength(1);
      expect((await rowOf(login.session_id)).generation).toBe(1);
    });

    test('after the grace, recovers the session if the successor was never used, and the lost successor is refused', async () => {
      const login = await app.login({ session: 'BRIEF' });
      const lost = (await refresh(login.refresh, 'BRIEF')).body;
      await sleep(650);
      const recovered = await refresh(login.refresh, 'BRIEF');
      expect(recovered.status).toBe(200);
      expect(recovered.body.refresh).not.toBe(lost.refresh);
      expect(eventsOf('refresh.recovered')).toHaveLength(1);
      expect(await rowOf(login.session_id)).toMatchObject({ generation: 2, parentGeneration: 0 });
      await sleep(650);
      expect(await refresh(lost.refresh, 'BRIEF')).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
      expect(eventsOf('refresh.reused')).toMatchObject([
        { event: { reuse: 'fork', presentedGeneration: 1, currentGeneration: 2 } },
      ]);
      expect(await isLive(recovered.body.access)).toBe(false);
    });

    test('after the grace, a superseded token whose successor was used ends the session', async () => {
      const login = await app.login({ session: 'BRIEF' });
      const successor = (await refresh(login.refresh, 'BRIEF')).body;
      expect(await isLive(successor.access)).toBe(true);
      await sleep(650);
      expect((await refresh(login.refresh, 'BRIEF')).body.code).toBe('token_not_valid');
      expect(await isLive(successor.access)).toBe(false);
      expect(await refresh(successor.refresh, 'BRIEF')).toMatchObject({
        status: 401,
        body: { code: 'session_not_found' },
      });
      expect(eventsOf('session.ended')).toMatchObject([
        { event: { reason: 'reuse', session: { id: login.session_id } } },
      ]);
      expect(await entries.findOneByOrFail({ id: login.session_id })).toMatchObject({
        kind: 'session',
        reason: 'reuse',
        userId: 'alice',
      });
    });

    describe.each(['STRICT', 'BRIEF', 'ROTATING'] as const)('with the grace of %s', (type) => {
      test('a token older than the parent ends the session, even within the grace', async () => {
        const login = await app.login({ session: type });
        const second = (await refresh(login.refresh, type)).body;
        // Within a grace the current token is handed out again instead of rotated.
        await rows.update(login.session_id, { rotatedAt: new Date(Date.now() - 60_000) });
        const third = (await refresh(second.refresh, type)).body;
        expect(await rowOf(login.session_id)).toMatchObject({ generation: 2 });
        expect((await refresh(login.refresh, type)).status).toBe(401);
        expect(eventsOf('refresh.reused')).toMatchObject([{ event: { reuse: 'stale' } }]);
        expect(await isLive(third.access)).toBe(false);
      });
    });

    test('a token whose generation the database has lost is adopted, or refused without an effect', async () => {
      const login = await app.login({ session: 'STRICT' });
      const before = await rowOf(login.session_id);
      const second = (await refresh(login.refresh, 'STRICT')).body;
      const third = (await refresh(second.refresh, 'STRICT')).body;
      await rows.save(before);
      expect(await refresh(third.refresh, 'STRICT')).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
      expect(await rowOf(login.session_id)).toEqual(before);
      const fourth = await refresh(second.refresh, 'STRICT');
      expect(fourth.status).toBe(200);
      expect(await rowOf(login.session_id)).toMatchObject({ generation: 2, parentGeneration: 1 });
      expect(await isLive(fourth.body.access)).toBe(true);
      expect(eventsOf('refresh.reused')).toEqual([]);
    });

    test('blacklistAfterRotation stores the superseded token for other systems and refuses no access token', async () => {
      const login = await app.login({ session: 'STRICT' });
      const { jti, exp } = JSON.parse(Buffer.from(login.refresh.split('.')[1], 'base64url').toString());
      const { body } = await refresh(login.refresh, 'STRICT');
      expect(await entries.findOneByOrFail({ id: jti })).toMatchObject({
        kind: 'token',
        reason: 'rotated',
        sessionId: login.session_id,
        expiresAt: new Date(exp * 1000),
      });
      // The answer was lost, so the lost successor is stored too.
      const recovered = await refresh(login.refresh, 'STRICT');
      const lost = JSON.parse(Buffer.from(body.refresh.split('.')[1], 'base64url').toString());
      expect(await entries.countBy({ id: lost.jti, kind: 'token' })).toBe(1);
      expect(await isLive(recovered.body.access)).toBe(true);
    });
  });

  describe('refused', () => {
    test('the current token with the wrong type ends its session', async () => {
      const login = await app.login({ session: 'ROTATING' });
      expect(await refresh(login.refresh, 'PLAIN')).toMatchObject({ status: 401, body: { code: 'token_not_valid' } });
      expect(await refresh(login.refresh, 'ROTATING')).toMatchObject({
        status: 401,
        body: { code: 'session_not_found' },
      });
      expect(await isLive(login.access)).toBe(false);
      expect(eventsOf('session.ended')).toMatchObject([{ event: { reason: 'mismatch' } }]);
    });

    test('a superseded token with the wrong type changes nothing', async () => {
      const login = await app.login({ session: 'ROTATING' });
      const { body } = await refresh(login.refresh, 'ROTATING');
      expect((await refresh(login.refresh, 'PLAIN')).body.code).toBe('token_not_valid');
      expect(await isLive(body.access)).toBe(true);
    });

    test('without a type in the request, the type in the token counts, and no session ends', async () => {
      for (const session of ['ROTATING', 'PLAIN']) {
        const login = await app.login({ session });
        const answer = await app.post('refresh/', { refresh: login.refresh, secret_key: SECRET_KEY });
        expect(answer).toMatchObject({ status: 200, body: { access: expect.any(String) } });
        expect(await isLive(answer.body.access)).toBe(true);
      }
      expect(eventsOf('session.ended')).toEqual([]);
    });

    test('a token of an expired session, which ends', async () => {
      const login = await app.login({ session: 'ROTATING' });
      await rows.update(login.session_id, { expiresAt: new Date(Date.now() - 1000) });
      expect(await refresh(login.refresh, 'ROTATING')).toMatchObject({
        status: 401,
        body: { code: 'token_not_valid' },
      });
      expect(await rows.countBy({ id: login.session_id })).toBe(0);
      expect(eventsOf('session.ended')).toMatchObject([{ event: { reason: 'expired' } }]);
    });

    test('a token of an inactive user, whose session ends', async () => {
      const login = await app.login({ username: 'bob', password: 'bob-password', session: 'ROTATING' });
      const bob = app.users.users.get('bob');
      if (bob) bob.active = false;
      expect(await refresh(login.refresh, 'ROTATING')).toMatchObject({
        status: 401,
        body: { code: 'session_not_found' },
      });
      if (bob) bob.active = true;
      expect(await rows.countBy({ id: login.session_id })).toBe(0);
      expect(eventsOf('session.ended')).toMatchObject([{ event: { reason: 'user-inactive' } }]);
    });
  });

  test("the use of an access token's generation is written once, within a second", async () => {
    const login = await app.login({ session: 'ROTATING' });
    const { body } = await refresh(login.refresh, 'ROTATING');
    expect((await rowOf(login.session_id)).confirmedGeneration).toBe(0);
    await Promise.all(Array.from({ length: 5 }, () => isLive(body.access)));
    await sleep(1300);
    expect((await rowOf(login.session_id)).confirmedGeneration).toBe(1);
  });

  test('a logout by a superseded token ends the session', async () => {
    const login = await app.login({ session: 'ROTATING' });
    const { body } = await refresh(login.refresh, 'ROTATING');
    expect((await app.post('logout/', { refresh: login.refresh, secret_key: SECRET_KEY })).status).toBe(200);
    expect(await isLive(body.access)).toBe(false);
  });
});
