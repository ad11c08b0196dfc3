import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { SessionEntity } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { recordEvents } from '../helpers/events.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { decoded, resigned, signedByHand } from '../helpers/tokens.js';

// docs/security.md says what an attacker can do with each secret or access. These tests prove it.

const POLICIES = {
  LONG: { refreshTokenLifetime: '1h' },
  STRICT: { refreshTokenLifetime: '1h', accessCheck: 'session' },
  BRIEF: { refreshTokenLifetime: '1h', reuseGrace: 0.3 },
} as const;

onEachDatabase((databaseName) => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ databaseName, options: { policies: POLICIES } });
  });
  afterAll(() => app?.close());

  const refresh = (token: string, session = 'LONG') =>
    app.post('refresh/', { refresh: token, session, secret_key: SECRET_KEY });
  const list = (access: string) => app.post('list/', { session: 'ALL' }, bearer(access));
  const asBob = { username: 'bob', password: 'bob-password' };

  /** Every value of every row of the library's tables. */
  async function stolenDatabase(): Promise<string[]> {
    const { manager } = app.get(DataSource);
    const tables = await Promise.all(
      ['user_session', 'session_blacklist', 'session_signing_key'].map((table) =>
        manager.query<object[]>(`SELECT * FROM ${table}`),
      ),
    );
    return tables.flat().flatMap((row) => Object.values(row).map(String));
  }

  test('who reads the database finds no token and no key that signs one', async () => {
    const [ended, login] = [await app.login(asBob), await app.login()];
    await app.post('logout/', { refresh: ended.refresh, secret_key: SECRET_KEY });
    const values = [...new Set(await stolenDatabase())];
    expect(values).toEqual(expect.arrayContaining([login.session_id, decoded(login.refresh, 1).jti, ended.session_id]));
    for (const value of values) {
      expect([value, (await refresh(value)).status]).toEqual([value, value.trim() ? 401 : 400]);
      const [forged, access] = [login.refresh, login.access].map((token) => resigned(token, {}, value));
      expect([value, (await refresh(forged)).body.code]).toEqual([value, 'session_not_found']);
      expect([value, (await list(access)).body.code]).toEqual([value, 'token_not_valid']);
    }
    expect((await refresh(login.refresh)).status).toBe(200);
  });

  test('who writes the database can take over another user and end any session', async () => {
    const [mallory, victim] = [await app.login(asBob), await app.login({ session: 'STRICT' })];
    const rows = app.get(DataSource).getRepository(SessionEntity);
    await rows.update(mallory.session_id, { userId: 'alice' });
    // The row decides whose session it is: the database is trusted.
    expect(decoded((await refresh(mallory.refresh)).body.access, 1).sub).toBe('alice');
    const forged = resigned(mallory.refresh, { claims: { sub: 'alice' } }, 'not the signing secret, but as long as it');
    expect((await refresh(forged)).status).toBe(401);
    await rows.delete(victim.session_id);
    expect((await list(victim.access)).status).toBe(401);
  });

  test('who has the signing key can make any access token but no refresh token', async () => {
    const victim = await app.login();
    const before = Math.floor(Date.now() / 1000);
    const claims = { ...decoded(victim.access, 1), sid: randomUUID(), sub: 'bob', iat: before, exp: before + 60 };
    const header = decoded(victim.access, 0);
    // Access tokens depend on the key alone. The remedy is to replace it.
    expect((await list(signedByHand(header, claims))).status).toBe(200);
    expect((await list(signedByHand(header, { ...claims, session_type: 'STRICT' }))).status).toBe(401);
    // A route that reads the row requires that it belongs to the user.
    const strict = decoded((await app.login({ session: 'STRICT' })).access, 1);
    expect((await list(signedByHand(header, strict))).status).toBe(200);
    expect((await list(signedByHand(header, { ...strict, sub: 'bob' }))).status).toBe(401);

    const forged = { jti: randomBytes(16).toString('hex') };
    const ofNoSession = resigned(victim.refresh, { claims: { ...forged, sid: randomUUID() } });
    expect((await refresh(ofNoSession)).body.code).toBe('session_not_found');
    // For a known session id, the session has never had this token: it is refused, and the session ends.
    const ofSession = await refresh(resigned(victim.refresh, { claims: forged }));
    expect([ofSession.status, ofSession.body.code, ofSession.body.access]).toEqual([401, 'token_not_valid', undefined]);
    expect((await refresh(victim.refresh)).body.code).toBe('session_not_found');
  });

  test('who has a refresh token also needs the secret key', async () => {
    const victim = await app.login();
    for (const secret_key of ['', 'a guess', 'the secret key of the test', `${SECRET_KEY} `]) {
      for (const route of ['refresh', 'logout']) {
        const { status, body } = await app.post(`${route}/`, { refresh: victim.refresh, session: 'LONG', secret_key });
        expect([status, Object.keys(body).includes('access')]).toEqual([secret_key ? 401 : 400, false]);
      }
    }
    expect((await list(victim.refresh)).status).toBe(401);
    expect((await refresh(victim.refresh)).status).toBe(200);
  });

  test("who always uses a stolen refresh token within the owner's grace causes events but is not stopped", async () => {
    const events = recordEvents(app);
    let token = (await app.login({ session: 'BRIEF' })).refresh;
    for (let round = 0; round < 3; round++) {
      const [owner, thief] = [await refresh(token, 'BRIEF'), await refresh(token, 'BRIEF')];
      expect([owner.status, thief.status, thief.body.refresh]).toEqual([200, 200, owner.body.refresh]);
      for (const { body } of [owner, thief]) expect((await list(body.access)).status).toBe(200);
      token = owner.body.refresh;
      await sleep(650);
    }
    const names = events.map(({ name }) => name);
    expect(names.filter((name) => name === 'refresh.replayed')).toHaveLength(3);
    expect(names).not.toContain('refresh.reused');
  });

  test('who has an access token can act until the session ends and cannot get another token with it', async () => {
    const [victim, sibling] = [await app.login(), await app.login()];
    expect((await list(victim.access)).status).toBe(200);
    expect((await app.post('destroy/', { session_id: sibling.session_id }, bearer(victim.access))).status).toBe(200);
    expect((await refresh(victim.access)).body.code).toBe('session_not_found');
    for (const token of [victim.access, sibling.refresh]) {
      const others = await app.post('destroyAllOther/', { session: 'ALL', refresh: token }, bearer(victim.access));
      expect([others.status, others.body.code]).toEqual([401, 'token_not_valid']);
    }
    await app.post('logout/', { refresh: victim.refresh, secret_key: SECRET_KEY });
    expect((await list(victim.access)).status).toBe(401);
  });

  test('who has the secret key can call the routes but is not logged in', async () => {
    const victim = await app.login();
    const alone = { secret_key: SECRET_KEY, session: 'LONG' };
    expect((await app.post('login/', { ...alone, username: 'alice', password: SECRET_KEY })).status).toBe(401);
    expect((await app.post('refresh/', { ...alone, refresh: victim.session_id })).status).toBe(401);
    expect((await app.post('logout/', { ...alone, refresh: victim.session_id })).status).toBe(401);
    for (const route of ['list', 'destroy', 'destroyAllOther']) {
      const body = { ...alone, session_id: victim.session_id, refresh: victim.refresh };
      expect((await app.post(`${route}/`, body)).status).toBe(401);
      expect((await app.post(`${route}/`, body, bearer(SECRET_KEY))).status).toBe(401);
    }
    const forged = resigned(victim.refresh, {}, SECRET_KEY);
    expect((await refresh(forged)).status).toBe(401);
    expect((await refresh(victim.refresh)).status).toBe(200);
  });

  test('a user can neither see nor end the session of another user', async () => {
    const [alice, bob] = [await app.login(), await app.login(asBob)];
    const seen = JSON.stringify((await list(bob.access)).body);
    expect([seen.includes(bob.session_id), seen.includes(alice.session_id)]).toEqual([true, false]);
    const destroyed = await app.post('destroy/', { session_id: alice.session_id }, bearer(bob.access));
    expect([destroyed.status, destroyed.body.code]).toEqual([404, 'session_not_found']);
    expect(
      (await app.post('destroyAllOther/', { session: 'ALL', refresh: alice.refresh }, bearer(bob.access))).status,
    ).toBe(401);
    await app.post('destroyAllOther/', { session: 'ALL', refresh: bob.refresh }, bearer(bob.access));
    expect((await refresh(alice.refresh)).status).toBe(200);
  });

  test('tokens are sent only in the body, which must not be cached', async () => {
    const body = { username: 'alice', password: 'alice-password', session: 'LONG', secret_key: SECRET_KEY };
    const login = await app.post('login/', body);
    for (const answer of [login, await refresh(login.body.refresh)]) {
      expect(Object.keys(answer.body)).toEqual(expect.arrayContaining(['refresh', 'access']));
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect([...answer.headers.values()].join('\n')).not.toMatch(/eyJ/);
    }
  });

  test('each session and each token has a random id of its own', async () => {
    const logins = await Promise.all(Array.from({ length: 50 }, () => app.login()));
    const jtis = logins.flatMap(({ access, refresh: token }) => [access, token].map((text) => decoded(text, 1).jti));
    expect(new Set(jtis).size).toBe(100);
    for (const jti of jtis) expect(jti).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(logins.map(({ session_id }) => session_id)).size).toBe(50);
  });
});
