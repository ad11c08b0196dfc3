import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  beforeAll(async () => void (app = await startApp({ databaseName, adapter })));
  afterAll(() => app?.close());

  describe('the six routes', () => {
    test('log in, refresh, list, destroy one, destroy the others and log out', async () => {
      const first = await app.login();
      expect(Object.keys(first).sort()).toEqual(['access', 'refresh', 'session_id']);

      const refreshed = await app.post('refresh/', { refresh: first.refresh, secret_key: SECRET_KEY, session: 'LONG' });
      expect(refreshed).toMatchObject({ status: 200, body: { access: expect.any(String) } });
      expect(refreshed.headers.get('cache-control')).toBe('no-store');

      const second = await app.login({ info: 'Safari 15.6.1, iOS 15.6.1, iPhone' });
      const list = await app.post('list/', { session: 'ALL' }, bearer(first.access));
      expect(list.body).toMatchObject({
        Short: { 'Available Sessions': '2', Sessions: [] },
        Long: {
          'Available Sessions': '3',
          Sessions: [{ session_id: first.session_id }, { session_id: second.session_id }],
        },
      });

      expect(await app.post('destroy/', { session_id: second.session_id }, bearer(first.access))).toMatchObject({
        status: 200,
        body: {},
      });
      expect((await app.post('list/', { session: 'ALL' }, bearer(second.access))).body.code).toBe('token_not_valid');

      const third = await app.login();
      expect(
        await app.post('destroyAllOther/', { session: 'ALL', refresh: first.refresh }, bearer(first.access)),
      ).toMatchObject({ status: 200 });
      expect((await app.post('list', { session: 'LONG' }, bearer(third.access))).status).toBe(401);

      expect(await app.post('logout/', { secret_key: SECRET_KEY, refresh: first.refresh })).toMatchObject({
        status: 200,
        body: {},
      });
      expect((await app.post('logout/', { secret_key: SECRET_KEY, refresh: first.refresh })).body.code).toBe(
        'session_not_found',
      );
      expect((await app.post('list/', { session: 'ALL' }, bearer(first.access))).status).toBe(401);
    });
  });
});
