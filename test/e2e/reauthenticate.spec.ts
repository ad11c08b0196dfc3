import { rmSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { CanActivate, Type } from '@nestjs/common';
import { getRepositoryToken } from '@nestjs/typeorm';
import {
  SessionEntity,
  SessionLimitReachedError,
  type SessionPolicyOptions,
  SessionService,
} from 'nestjs-multisession';
import { type Challenge, solveChallenge } from 'altcha-lib';
import { deriveKey } from 'altcha-lib/algorithms/pbkdf2';
import type { Repository } from 'typeorm';
import type { Engine } from '../../lib/engine/engine.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { cookieAnswer } from '../helpers/cookies.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';

const POLICIES = {
  LONG: { refreshTokenLifetime: '30d' },
  ONE: { refreshTokenLifetime: '1d', maxActiveSessions: 1, whenFull: 'refuse' },
  TWO: { refreshTokenLifetime: '1d', maxActiveSessions: 2 },
} as const satisfies Record<string, SessionPolicyOptions>;

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  const events: RecordedEvent[] = [];

  beforeAll(async () => {
    app = await startApp({ databaseName, adapter, options: { policies: POLICIES, cookies: true } });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    recordEvents(app, events);
  });
  afterAll(() => app?.close());
  beforeEach(async () => {
    await rows.clear();
    events.splice(0);
  });

  const ALICE = { username: 'alice', password: 'alice-password' };
  const again = (access: string, credentials: object = ALICE, headers: Record<string, string> = {}) =>
    app.post('reauthenticate/', credentials, { ...bearer(access), ...headers });
  const refresh = (token: string, session: string) =>
    app.post('refresh/', { refresh: token, session, secret_key: SECRET_KEY });

  describe('reauthenticate/', () => {
    test('replaces the session with a new one of the same type and device', async () => {
      const {
        session,
        access,
        refresh: token,
      } = await app.get(SessionService).create('alice', {
        type: 'LONG',
        info: 'my phone',
        client: { deviceName: 'Pixel 9' },
        data: { cart: [1] },
        claims: { role: 'editor' },
      });
      const { status, body } = await again(access);
      expect(status).toBe(200);
      expect(body).toEqual({ refresh: expect.any(String), access: expect.any(String), session_id: expect.any(String) });
      expect(body.session_id).not.toBe(session.id);
      expect(decoded(body.access, 1)).toMatchObject({ sid: body.session_id, role: 'editor', sub: 'alice' });
      const [row] = await rows.find();
      expect(row).toMatchObject({
        id: body.session_id,
        type: 'LONG',
        info: 'my phone',
        deviceName: 'Pixel 9',
        data: { cart: [1] },
        generation: 0,
      });
      expect(await rows.count()).toBe(1);

      expect((await app.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(401);
      expect((await refresh(token, 'LONG')).body.code).toBe('session_not_found');
      expect((await refresh(body.refresh, 'LONG')).status).toBe(200);
      const endings = events.filter(({ name }) => name === 'session.ended' || name === 'session.revoked');
      expect(endings.map(({ event }) => (event as { reason: string }).reason)).toEqual([
        'reauthenticated',
        'reauthenticated',
      ]);
    });

    test('needs no place under a limit and evicts no session', async () => {
      const one = await app.login({ session: 'ONE' });
      expect((await again(one.access)).status).toBe(200);
      await app.login({ session: 'TWO' });
      const second = await app.login({ session: 'TWO' });
      expect((await again(second.access)).status).toBe(200);
      expect((await rows.find()).map(({ type }) => type).sort()).toEqual(['ONE', 'TWO', 'TWO']);
    });

    test.each([
      ['a wrong password', { username: 'alice', password: 'wrong' }],
      ["another user's credentials", { username: 'bob', password: 'bob-password' }],
    ])('refuses %s and keeps the session', async (_, credentials) => {
      const { access, refresh: token } = await app.login({ session: 'LONG' });
      const { status, body } = await again(access, credentials);
      expect([status, body.code]).toEqual([401, 'invalid_credentials']);
      expect((await refresh(token, 'LONG')).status).toBe(200);
      expect(events.filter(({ name }) => name === 'login.failed')).toMatchObject([
        { event: { reason: 'invalid_credentials', type: 'LONG', userId: 'alice' } },
      ]);
    });

    test('names missing fields, and requires an access token', async () => {
      const { access } = await app.login({ session: 'LONG' });
      const { status, body } = await again(access, {});
      expect([status, Object.keys(body.errors as object)]).toEqual([400, ['username', 'password']]);
      expect((await app.post('reauthenticate/', ALICE)).body.code).toBe('not_authenticated');
    });

    test('grants one of many parallel requests and leaves one session', async () => {
      const { access } = await app.login({ session: 'LONG' });
      const answers = await Promise.all(Array.from({ length: 8 }, () => again(access)));
      expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array<number>(7).fill(401)]);
      const codes = answers.filter(({ status }) => status === 401).map(({ body }) => body.code as string);
      expect(new Set(codes)).toEqual(new Set(['token_not_valid']));
      expect(await rows.count()).toBe(1);
    });

    test('in a race with a logout, either the new session or the logout wins', async () => {
      for (let round = 0; round < 10; round++) {
        const { access, refresh: token } = await app.login({ session: 'LONG' });
        const [renewed, left] = await Promise.all([
          again(access),
          app.post('logout/', { refresh: token, secret_key: SECRET_KEY }),
        ]);
        expect([renewed.status, left.status].sort()).toEqual([200, 401]);
        expect(await rows.count()).toBe(renewed.status === 200 ? 1 : 0);
        await rows.clear();
      }
    });

    test('keeps the old session if the new one cannot be created', async () => {
      const { access, session_id: id } = await app.login({ session: 'LONG' });
      const failing = app.get<Engine>(ENGINE).loginStore.replace({ id, userId: 'alice' }, 'reauthenticated', () => {
        throw new SessionLimitReachedError();
      });
      await expect(failing).rejects.toThrow(SessionLimitReachedError);
      expect((await app.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(200);
    });

    test('sets the new tokens as cookies in the cookie transport', async () => {
      const { access } = await app.login({ session: 'LONG' });
      const { body, headers } = await again(access, ALICE, { 'x-session-transport': 'cookie' });
      expect(body).toEqual(cookieAnswer(expect.any(String)));
      expect(headers.getSetCookie()).toHaveLength(3);
    });
  });

  describe('loginGuards, with the captcha from the documentation,', () => {
    let guarded: TestApp;
    let folder: string;

    beforeAll(async () => {
      folder = folderForBlocks();
      const { CaptchaGuard, CaptchaModule } = (await importBlock(folder, 'docs/custom-flows.md', 'captcha.ts')) as {
        CaptchaGuard: Type<CanActivate>;
        CaptchaModule: Type;
      };
      const options = { policies: POLICIES, imports: [CaptchaModule], loginGuards: [CaptchaGuard] };
      guarded = await startApp({ databaseName, adapter, options });
    });
    afterAll(async () => {
      await guarded?.close();
      rmSync(folder, { recursive: true, force: true });
    });

    const login = (more: object) =>
      guarded.post('login/', { ...ALICE, secret_key: SECRET_KEY, session: 'LONG', ...more });
    const solved = async () => {
      const { body } = await guarded.request('GET', '/captcha');
      const challenge = body as Challenge;
      const solution = await solveChallenge({ challenge, deriveKey });
      return Buffer.from(JSON.stringify({ challenge, solution })).toString('base64');
    };

    test('run before the password is checked, at login and at reauthenticate', async () => {
      const before = guarded.users.asked;
      const { status, body } = await login({});
      expect([status, body.errors]).toEqual([400, { altcha: ['Solve the captcha once more.'] }]);
      expect((await login({ altcha: 'nonsense' })).status).toBe(400);
      expect(guarded.users.asked).toBe(before);

      const altcha = await solved();
      const { access } = (await login({ altcha })).body as { access: string };
      expect((await login({ altcha })).status).toBe(400);
      expect((await guarded.post('reauthenticate/', ALICE, bearer(access))).status).toBe(400);
      const again = await guarded.post('reauthenticate/', { ...ALICE, altcha: await solved() }, bearer(access));
      expect(again.status).toBe(200);
    });

    test('run after the secret key is checked, and not on other routes', async () => {
      const altcha = await solved();
      expect((await login({ altcha, secret_key: 'wrong' })).body.code).toBe('secret_key_invalid');
      const { access } = (await login({ altcha })).body as { access: string };
      expect((await guarded.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(200);
    });
  });
});
