import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { PERMANENT_DEVICE, SessionAdministration, SessionService, SHORT_AND_LONG } from 'nestjs-multisession';
import { ADAPTERS, bearer, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';

class AnyAdministrator {
  canActivate() {
    return true;
  }
}

// RFC 9562 section 4: a UUID is case-insensitive on input. iOS writes UUIDs in capitals.
describe.each(selectedDatabases())('session ids in capitals, on %s', (databaseName) => {
  describe.each(ADAPTERS)('on %s', (adapter) => {
    let app: TestApp;
    let sessions: SessionService;
    beforeAll(async () => {
      app = await startApp({
        databaseName,
        adapter,
        options: {
          policies: { ...SHORT_AND_LONG, DEVICE: { ...PERMANENT_DEVICE } },
          devices: true,
          admin: { guard: AnyAdministrator },
          cookies: true,
        },
      });
      sessions = app.get(SessionService);
    });
    afterAll(() => app.close());

    const create = async (type = 'LONG') => {
      const { session, access } = await sessions.create('alice', { type });
      return { id: session.id, capitals: session.id.toUpperCase(), access, headers: bearer(access), session };
    };
    const isActive = async (id: string) => (await sessions.get(id)) !== null;

    test('are found by each route that takes one', async () => {
      const own = await create();
      const [destroyed, deleted, listed, byAdmin, device] = [
        await create(),
        await create(),
        await create(),
        await create(),
        await create('DEVICE'),
      ];
      const { headers } = own;
      expect((await app.post('destroy/', { session_id: destroyed.capitals }, headers)).status).toBe(200);
      expect((await app.request('DELETE', `/api/session/sessions/${deleted.capitals}`, { headers })).status).toBe(204);
      const body = { ids: [listed.capitals, own.capitals] };
      expect((await app.post('sessions/delete-list', body, headers)).body).toEqual({ ended: 1 });
      expect((await app.request('DELETE', `/api/session/admin/sessions/${byAdmin.capitals}`)).status).toBe(204);
      expect((await app.request('DELETE', `/api/session/devices/${device.capitals}`, { headers })).status).toBe(204);
      for (const { id } of [destroyed, deleted, listed, byAdmin, device]) expect(await isActive(id)).toBe(false);
      expect(await isActive(own.id)).toBe(true);
    });

    test('clear the cookies of the own session', async () => {
      const cookies = async (send: (own: Awaited<ReturnType<typeof create>>) => ReturnType<TestApp['post']>) =>
        (await send(await create())).headers.getSetCookie();
      const transport = { 'x-session-transport': 'cookie' };
      for (const cleared of [
        await cookies(({ capitals, headers }) =>
          app.post('destroy/', { session_id: capitals }, { ...headers, ...transport }),
        ),
        await cookies(({ capitals, headers }) =>
          app.request('DELETE', `/api/session/sessions/${capitals}`, { headers: { ...headers, ...transport } }),
        ),
      ])
        expect(cleared.join()).toContain('Max-Age=0');
    });

    test('are found by each method that takes one', async () => {
      const [a, b, c, d] = [await create(), await create(), await create(), await create()];
      expect((await sessions.get(a.capitals))?.id).toBe(a.id);
      expect(await sessions.mergeData(a.capitals, { color: 'red' })).toEqual({ color: 'red' });
      expect(await sessions.getData(a.capitals)).toEqual({ color: 'red' });
      const current = { sessionId: a.capitals, generation: 0, expiresAt: 4e9 };
      expect((await sessions.regenerate(current, { role: 'editor' })).session.id).toBe(a.id);
      await sessions.destroy(b.capitals, { userId: 'alice' });
      expect(await sessions.destroyMany('alice', [c.capitals, d.capitals], { except: d.capitals })).toBe(1);
      const last = await create();
      expect(await sessions.destroyOthers('alice', last.capitals)).toBeGreaterThanOrEqual(2);
      expect(await isActive(last.id)).toBe(true);
      const credentials = { username: 'alice', password: 'alice-password' };
      const again = await sessions.reauthenticate(
        { sessionId: last.capitals, userId: 'alice', sessionType: 'LONG' },
        credentials,
      );
      expect(await isActive(again.session.id)).toBe(true);
      for (const { id } of [a, b, c, d, last]) expect(await isActive(id)).toBe(false);
    });

    test('keep the session that `destroyAll` is to keep', async () => {
      const [kept, other] = [await create(), await create()];
      await sessions.destroyAll('alice', { except: kept.capitals });
      expect([await isActive(kept.id), await isActive(other.id)]).toEqual([true, false]);
    });

    test('continue a list of the administrators', async () => {
      for (let at = 0; at < 3; at++) await create();
      const administration = app.get(SessionAdministration);
      const { next } = await administration.list({ limit: 2 });
      const after = String(next).toUpperCase();
      const expected = (await administration.list({ after: String(next) })).sessions.map(({ id }) => id);
      expect(expected.length).toBeGreaterThan(0);
      expect((await administration.list({ after })).sessions.map(({ id }) => id)).toEqual(expected);
      const answer = await app.request('GET', `/api/session/admin/sessions?after=${after}`);
      expect(answer.body.sessions.map(({ id }: { id: string }) => id)).toEqual(expected);
    });
  });
});
