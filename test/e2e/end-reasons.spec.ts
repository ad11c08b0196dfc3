import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { BlacklistEntity, SessionService } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

onEachDatabaseAndAdapter((databaseName, adapter) => {
  describe.each([true, false])('with the option events: %s', (events) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await startApp({ databaseName, adapter, options: { events } });
    });
    afterAll(() => app.close());

    const refresh = (token: string, headers?: Record<string, string>) =>
      app.post('refresh/', { refresh: token, session: 'LONG', secret_key: SECRET_KEY }, headers);
    const refused = (reason: string | undefined) => ({
      status: 401,
      body: {
        ...{ statusCode: 401, error: 'Unauthorized', message: 'No such session', code: 'session_not_found' },
        ...(reason !== undefined && { reason }),
      },
    });
    const answerTo = async (token: string) => {
      const { status, body } = await refresh(token);
      return { status, body };
    };

    test.each([
      ['logout', (login: Login) => app.post('logout/', { refresh: login.refresh, secret_key: SECRET_KEY })],
      ['destroyed', (login: Login) => app.get(SessionService).destroy(login.session_id)],
      ['admin', (login: Login) => app.get(SessionService).destroy(login.session_id, { reason: 'admin' })],
    ])('tells the holder of the refresh token: %s', async (reason, end) => {
      const login = await app.login();
      await end(login);
      expect(await answerTo(login.refresh)).toEqual(refused(reason));
    });

    test('tells of an eviction', async () => {
      const oldest = await app.login({ username: 'bob', password: 'bob-password', session: 'SHORT' });
      const token = { refresh: oldest.refresh, session: 'SHORT', secret_key: SECRET_KEY };
      let answer = await app.post('refresh/', token);
      for (let at = 0; at < 10 && answer.status === 200; at++) {
        await app.login({ username: 'bob', password: 'bob-password', session: 'SHORT' });
        answer = await app.post('refresh/', token);
      }
      expect(answer.body).toMatchObject({ code: 'session_not_found', reason: 'evicted' });
    });

    test('does not tell a thief that the reuse was noticed, but the owner; and logs both parties', async () => {
      const warnings: string[] = [];
      const warn = jest
        .spyOn(Logger.prototype, 'warn')
        .mockImplementation((text: unknown) => void warnings.push(String(text)));
      const { refresh: stolen, session_id } = await app.login();
      let owned = stolen;
      for (let at = 0; at < 2; at++) {
        owned = (await refresh(owned)).body.refresh as string;
        await app.get(DataSource).query(`UPDATE user_session SET rotated_at = 1 WHERE id = '${session_id}'`);
      }
      const { body } = await refresh(stolen, { 'user-agent': 'thief/1' });
      warn.mockRestore();
      expect(body).toMatchObject({ code: 'token_not_valid' });
      expect(body).not.toHaveProperty('reason');
      expect(await answerTo(owned)).toEqual(refused('reuse'));
      const [told] = warnings.filter((text) => text.includes(session_id));
      expect(told).toMatch(
        /of user "alice" was ended.*presented by 127\.0\.0\.1 \("thief\/1"\).*issued to 127\.0\.0\.1 \("node"\)/,
      );
      for (const token of [stolen, owned]) expect(told).not.toContain(token);
    });

    test('tells of an expired session', async () => {
      const { refresh: token, session_id } = await app.login();
      await app.get(DataSource).query(`UPDATE user_session SET expires_at = 1000 WHERE id = '${session_id}'`);
      expect((await refresh(token)).body).toMatchObject({ code: 'token_not_valid', reason: 'expired' });
    });

    test(`${events ? 'tells' : 'does not tell'} a reason after the revocation entry is gone`, async () => {
      const { refresh: token, session_id } = await app.login();
      await app.get(SessionService).destroy(session_id, { reason: 'admin' });
      await app.get(DataSource).manager.delete(BlacklistEntity, { sessionId: session_id });
      expect(await answerTo(token)).toEqual(refused(events ? 'admin' : undefined));
    });

    test('tells nothing to who has no refresh token of the session', async () => {
      const { access, session_id } = await app.login();
      await app.get(SessionService).destroy(session_id);
      const { body } = await app.request('GET', '/api/session/sessions', { headers: bearer(access) });
      expect(body).not.toHaveProperty('reason');
      for (const token of [session_id, access, 'nonsense'])
        expect((await refresh(token)).body).not.toHaveProperty('reason');
    });
  });
});

type Login = Awaited<ReturnType<TestApp['login']>>;
