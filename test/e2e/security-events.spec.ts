import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { decodeProtectedHeader } from 'jose';
import { type ProviderLogin, SessionService, type SubjectIdentifier } from 'nestjs-multisession';
import { bearer, startApp, type TestApp, TestUsers } from '../helpers/app.js';
import { until } from '../helpers/event-inbox.js';
import { CAEP, type IdentityProvider, RISC, startIdentityProvider } from '../helpers/identity-provider.js';
import { onEachAdapter } from '../helpers/matrix.js';

const AUDIENCE = 'https://app.example/stream';
const AUTHORIZATION = 'Bearer of-the-stream';
const TOKEN = 'a-token-for-revocation-of-43-characters-000';
const OLD_TOKEN = 'the-token-before-that-one-of-43-characters-0';

/** Finds users by their address, and by the opaque id `opaque-bob`. */
class FindingUsers extends TestUsers {
  readonly searched: unknown[] = [];

  override findBySubject(subject: SubjectIdentifier, issuer: string) {
    this.searched.push([subject, issuer]);
    if (subject.format === 'email') return Promise.resolve(subject.email.split('@')[0] === 'bob' ? 'bob' : null);
    return Promise.resolve(subject.format === 'opaque' && subject.id === 'opaque-bob' ? 'bob' : null);
  }
}

onEachAdapter((databaseName, adapter) => {
  let provider: IdentityProvider;
  let other: IdentityProvider;
  let app: TestApp;
  let sessions: SessionService;
  let count = 0;
  let login: ProviderLogin;

  beforeAll(async () => {
    [provider, other] = [await startIdentityProvider(), await startIdentityProvider()];
    const { issuer, jwksUri } = provider;
    app = await startApp({
      databaseName,
      adapter,
      options: {
        authenticator: { useClass: FindingUsers },
        signals: true,
        identityProviders: [
          {
            ...{ issuer, jwksUri, securityEvents: { audience: AUDIENCE, authorization: AUTHORIZATION } },
            globalTokenRevocation: { tokens: [TOKEN, OLD_TOKEN] },
          },
          {
            issuer: 'https://silent.example',
            globalTokenRevocation: { tokens: 'a-token-of-the-other-provider-00000000' },
          },
        ],
      },
    });
    sessions = app.get(SessionService);
  });
  afterAll(async () => {
    await app.close();
    await Promise.all([provider.close(), other.close()]);
  });
  beforeEach(() => {
    login = { issuer: provider.issuer, subject: `subject-${++count}`, sid: `sid-${count}` };
  });

  const create = (where: ProviderLogin | undefined, userId: string) =>
    sessions.create(userId, { type: 'LONG', provider: where });
  const isAlive = async ({ access }: { access: string }) => {
    const { status } = await app.request('GET', '/api/session/sessions', { headers: bearer(access) });
    return status === 200;
  };
  const issSub = (sub = login.subject) => ({ format: 'iss_sub', iss: provider.issuer, sub });

  describe('a security event', () => {
    const signed = (name: string, subject: unknown, event: object = {}, more: object = {}, typ = 'secevent+jwt') =>
      provider.sign({ aud: [AUDIENCE], sub_id: subject, events: { [name]: event }, ...more }, { typ });
    const push = async (token: string | Promise<string>, headers: Record<string, string> = {}) =>
      app.request('POST', '/api/session/signals/events', {
        body: await token,
        headers: { 'content-type': 'application/secevent+jwt', authorization: AUTHORIZATION, ...headers },
      });

    test('session-revoked ends the session that it names', async () => {
      const one = await create(login, 'alice');
      const other = await create({ ...login, sid: 'another' }, 'alice');
      const subject = { format: 'complex', session: { format: 'opaque', id: login.sid }, user: issSub() };
      const { status, body, headers } = await push(signed(`${CAEP}/session-revoked`, subject));
      expect([status, body, headers.get('cache-control')]).toEqual([202, '', 'no-store']);
      expect(await Promise.all([one, other].map(isAlive))).toEqual([false, true]);
    });

    test('session-revoked may name the session alone', async () => {
      const one = await create(login, 'alice');
      expect((await push(signed(`${CAEP}/session-revoked`, { format: 'opaque', id: login.sid }))).status).toBe(202);
      expect(await isAlive(one)).toBe(false);
    });

    test.each([
      [`${CAEP}/session-revoked`, {}],
      [`${CAEP}/credential-change`, { credential_type: 'password', change_type: 'update' }],
      [`${RISC}/account-disabled`, { reason: 'hijacking' }],
    ])('%s ends all sessions of a user, wherever they logged in', async (name, event) => {
      const user = `user-${count}`;
      const all = [await create(login, user), await create(undefined, user)];
      const other = await create(undefined, 'alice');
      expect((await push(signed(name, issSub(), event))).status).toBe(202);
      expect(await Promise.all([...all, other].map(isAlive))).toEqual([false, false, true]);
    });

    test('finds the user by what the application knows', async () => {
      const bob = await create(undefined, 'bob');
      expect(
        (await push(signed(`${CAEP}/session-revoked`, { format: 'email', email: 'bob@app.example' }))).status,
      ).toBe(202);
      expect(await isAlive(bob)).toBe(false);
      const again = await create(undefined, 'bob');
      await push(signed(`${RISC}/account-disabled`, { format: 'opaque', id: 'opaque-bob' }));
      expect(await isAlive(again)).toBe(false);
      expect((app.users as FindingUsers).searched.at(-1)).toEqual([
        { format: 'opaque', id: 'opaque-bob' },
        provider.issuer,
      ]);
    });

    test.each([
      ['a new credential', `${CAEP}/credential-change`, { credential_type: 'fido2-roaming', change_type: 'create' }],
      ['a verification', 'https://schemas.openid.net/secevent/ssf/event-type/verification', { state: 'x' }],
      ['an unknown event', 'https://id.example/event', {}],
    ])('%s is accepted and ends nothing', async (_, name, event) => {
      const one = await create(login, 'alice');
      expect((await push(signed(name, issSub(), event))).status).toBe(202);
      expect(await isAlive(one)).toBe(true);
    });

    test('an event that comes again is accepted and does nothing', async () => {
      const token = await signed(`${CAEP}/session-revoked`, issSub());
      const one = await create(login, 'user');
      expect((await push(token)).status).toBe(202);
      // The first tries may still count as earlier than the event.
      let later = one;
      const again = async () => (later = await create({ ...login, sid: 'later' }, 'user'));
      await until(() => again().then(isAlive, () => false));
      expect((await push(token)).status).toBe(202);
      expect(await Promise.all([one, later].map(isAlive))).toEqual([false, true]);
    });

    test('a user of another issuer is not one of ours', async () => {
      const one = await create(login, 'alice');
      const subject = { format: 'iss_sub', iss: 'https://silent.example', sub: login.subject };
      expect((await push(signed(`${CAEP}/session-revoked`, subject))).status).toBe(202);
      expect(await isAlive(one)).toBe(true);
    });

    test.each([
      ['another audience', 'invalid_audience', { aud: 'x' }, undefined],
      ['another issuer', 'invalid_issuer', { iss: 'https://silent.example' }, undefined],
      ['another type', 'invalid_request', {}, 'logout+jwt'],
      ['two events', 'invalid_request', { events: { [`${CAEP}/session-revoked`]: {}, x: {} } }, undefined],
      ['no subject', 'invalid_request', { sub_id: undefined }, undefined],
      ['an unknown subject', 'invalid_request', { sub_id: { format: 'phone_number', phone_number: '1' } }, undefined],
      ['a time long ago', 'invalid_request', { iat: Math.floor(Date.now() / 1000) - 8 * 86_400 }, undefined],
    ])('with %s is refused', async (_, err, more, typ) => {
      const one = await create(login, 'alice');
      const { status, body } = await push(signed(`${CAEP}/session-revoked`, issSub(), {}, more, typ));
      expect([status, body]).toEqual([400, { err, description: expect.any(String) }]);
      expect(await isAlive(one)).toBe(true);
    });

    test('of somebody else is refused', async () => {
      const { kid } = decodeProtectedHeader(await signed('x', {}));
      const claims = {
        iss: provider.issuer,
        aud: AUDIENCE,
        sub_id: issSub(),
        events: { [`${CAEP}/session-revoked`]: {} },
      };
      const forged = await other.sign(claims, { typ: 'secevent+jwt', kid });
      expect((await push(forged)).body).toMatchObject({ err: 'invalid_key' });
      const token = await signed(`${CAEP}/session-revoked`, issSub());
      expect((await push(token, { authorization: 'Bearer other' })).body).toMatchObject({
        err: 'authentication_failed',
      });
      for (const nonsense of ['', 'x', '{}']) expect((await push(nonsense)).status).toBe(400);
    });
  });

  describe('Global Token Revocation', () => {
    const revoke = (subject: unknown, token: string | null = TOKEN, body: unknown = { sub_id: subject }) =>
      app.request('POST', '/api/session/signals/revoke', {
        body,
        headers: token === null ? {} : { authorization: `Bearer ${token}` },
      });

    test('ends all sessions of a user', async () => {
      const user = `user-${count}`;
      const all = [await create(login, user), await create(undefined, user)];
      const other = await create(undefined, 'alice');
      const { status, body } = await revoke(issSub());
      expect([status, body]).toEqual([204, '']);
      expect(await Promise.all([...all, other].map(isAlive))).toEqual([false, false, true]);
    });

    test('finds the user by what the application knows, also if there is no session', async () => {
      const bob = await create(undefined, 'bob');
      expect((await revoke({ format: 'email', email: 'bob@app.example' }, OLD_TOKEN)).status).toBe(204);
      expect(await isAlive(bob)).toBe(false);
      expect((await revoke({ format: 'email', email: 'bob@app.example' })).status).toBe(204);
    });

    test('a login that began before is not completed', async () => {
      const startedAt = new Date();
      expect((await revoke(issSub())).status).toBe(404);
      await expect(sessions.create('alice', { type: 'LONG', provider: login, startedAt })).rejects.toMatchObject({
        code: 'unavailable',
      });
    });

    test.each([
      ['an unknown user', 404, 'nobody', TOKEN],
      ['an unknown address', 404, { format: 'email', email: 'eve@app.example' }, TOKEN],
      ['no subject', 400, undefined, TOKEN],
      ['a malformed subject', 400, { format: 'iss_sub', iss: 'x' }, TOKEN],
      ['a wrong token', 401, 'nobody', `${TOKEN}x`],
      ['no token', 401, 'nobody', null],
      ['the token of a stream', 401, 'nobody', 'of-the-stream'],
    ])('answers %s with %d', async (_, expected, subject, token) => {
      const { status, headers } = await revoke(subject === 'nobody' ? issSub('nobody') : subject, token);
      expect(status).toBe(expected);
      expect(headers.get('www-authenticate')).toBe(expected === 401 ? 'Bearer error="invalid_token"' : null);
    });

    test('a provider does not end sessions of another provider', async () => {
      const one = await create(login, 'alice');
      expect((await revoke(issSub(), 'a-token-of-the-other-provider-00000000')).status).toBe(404);
      expect(await isAlive(one)).toBe(true);
    });

    test('answers a body that is no object with 400', async () => {
      expect((await revoke(undefined, TOKEN, [])).status).toBe(400);
      expect((await revoke(undefined, TOKEN, 'x')).status).toBeGreaterThanOrEqual(400);
    });
  });
});
