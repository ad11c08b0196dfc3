import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { DeviceProofRequiredError, TokenNotValidError } from '../../../lib/errors.js';
import { demandOf, type SenderProof } from '../../../lib/session/binding.js';
import type { SessionPolicyOptions } from '../../../lib/session/options.js';
import { SessionPolicyService } from '../../../lib/session/policy.js';
import { SessionEntity } from '../../../lib/session/session.entity.js';
import { startEngine, type TestEngine } from '../../helpers/engine.js';

const POLICIES = {
  PREFER: { refreshTokenLifetime: '1h', binding: 'prefer', renewal: true },
  REQUIRE: { refreshTokenLifetime: '1h', binding: 'require' },
  KEEPING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, updateLastLogin: false, binding: 'prefer' },
  PERMANENT: { refreshTokenLifetime: '1h', permanent: true, binding: 'prefer' },
  OFF: { refreshTokenLifetime: '1h' },
} as const satisfies Record<string, SessionPolicyOptions>;
type TypeName = keyof typeof POLICIES;

const MINUTE = 60_000;
const KEY = { thumbprint: 'A'.repeat(43), jwk: { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' } };
const OTHER_KEY = { thumbprint: 'B'.repeat(43), jwk: { kty: 'EC', crv: 'P-256', x: 'v', y: 'w' } };
const PROOF: SenderProof = { kind: 'dbsc', thumbprint: KEY.thumbprint };
const OTHERS_PROOF: SenderProof = { kind: 'dbsc', thumbprint: OTHER_KEY.thumbprint };
const DPOP: SenderProof = { kind: 'dpop', thumbprint: KEY.thumbprint };

let running: TestEngine;
let events: { name: string; [member: string]: unknown }[];

const rowOf = (id: string) => running.dataSource.getRepository(SessionEntity).findOneBy({ id });
const login = (type: TypeName, proof?: SenderProof) =>
  running.engine.sessions.create('alice', { type, transport: proof ? 'body' : 'cookie', proof });
const refresh = (token: string, proof?: SenderProof | null) => running.engine.sessions.refresh(token, { proof });
const register = (id: string, key = KEY) => running.engine.deviceKeys.register(id, key);
/** Logs in, and binds the session with a first proof. Returns its id and its current refresh token. */
const bound = async (type: TypeName) => {
  const { session, refresh: first } = await login(type);
  expect(await register(session.id)).toBe(true);
  const { refresh: second = first } = await refresh(first, PROOF);
  return { id: session.id, token: second };
};
const namesOfEvents = () => events.map(({ name }) => name);

beforeEach(async () => {
  running = await startEngine({ policies: POLICIES, backendKeys: 'a backend key for the tests' });
  events = [];
  for (const name of ['device.bound', 'device.proof-failed', 'session.ended', 'refresh.reused'] as const)
    running.engine.events.on(name, (event) => events.push({ ...event, name }));
});
afterEach(async () => {
  await running.engine.seen.flush();
  await running.close();
});

/** Refreshes in every way that a bound session may be refreshed without its key. */
const WITHOUT_ITS_KEY = [undefined, null, OTHERS_PROOF, DPOP];

describe.each(['PREFER', 'KEEPING', 'PERMANENT'] as const)('a bound session of the type %s', (type) => {
  test('is refreshed only with a proof of its key, and anything else changes nothing', async () => {
    const { id, token } = await bound(type);
    const before = await rowOf(id);
    running.pass(MINUTE);
    for (const proof of WITHOUT_ITS_KEY) await expect(refresh(token, proof)).rejects.toThrow(DeviceProofRequiredError);
    expect(await rowOf(id)).toEqual(before);
    expect(await refresh(token, PROOF)).toMatchObject({ session: { id, bound: true } });
    expect(events.slice(1)).toMatchObject([
      { name: 'device.proof-failed', reason: 'missing', session: { id } },
      { name: 'device.proof-failed', reason: 'invalid' },
      { name: 'device.proof-failed', reason: 'other-key' },
      { name: 'device.proof-failed', reason: 'other-key' },
    ]);
  });
});

describe('a session that is bound by a browser', () => {
  test('is bound by the first proof of the registered key, which is reported once', async () => {
    const { session, refresh: token } = await login('PREFER');
    expect(session.bound).toBe(false);
    expect(await register(session.id)).toBe(true);
    expect(await running.engine.deviceKeys.keyOf(session.id)).toEqual({ isBound: false, ...KEY });
    const first = await refresh(token, PROOF);
    expect(first.session.bound).toBe(true);
    expect(await running.engine.deviceKeys.keyOf(session.id)).toEqual({ isBound: true, ...KEY });
    await refresh(String(first.refresh), PROOF);
    expect(namesOfEvents()).toEqual(['device.bound']);
  });

  test.each(['KEEPING', 'PERMANENT'] as const)('is bound even if the refresh would not write: %s', async (type) => {
    const { id } = await bound(type);
    expect(await rowOf(id)).toMatchObject({ binding: `dbsc:${KEY.thumbprint}` });
  });

  test('is bound by a replay and by a recovery too', async () => {
    const { session, refresh: token } = await login('PREFER');
    await register(session.id);
    // The answer is lost. The browser sends the same token again, with its first proof.
    await refresh(token);
    expect((await refresh(token, PROOF)).session.bound).toBe(true);

    const lost = await login('PREFER');
    await register(lost.session.id);
    await refresh(lost.refresh);
    running.pass(MINUTE);
    expect((await refresh(lost.refresh, PROOF)).session.bound).toBe(true);
  });

  test('goes on without a proof until the first one', async () => {
    const { session, refresh: token } = await login('PREFER');
    await register(session.id);
    running.pass(MINUTE);
    const { refresh: second } = await refresh(token);
    running.pass(10 * MINUTE);
    expect((await refresh(String(second), PROOF)).session.bound).toBe(true);
  });

  test('may be registered again with the same key, before and after the first proof', async () => {
    const { id } = await bound('PREFER');
    expect(await register(id)).toBe(true);
    expect(namesOfEvents()).toEqual(['device.bound']);
  });

  test.each([
    ['before', () => login('PREFER').then(async ({ session }) => (await register(session.id), session.id))],
    ['after', () => bound('PREFER').then(({ id }) => id)],
  ])('ends if a second key is registered %s the first proof', async (_, make) => {
    const id = await make();
    expect(await register(id, OTHER_KEY)).toBe(false);
    expect(await rowOf(id)).toBeNull();
    expect(events.at(-1)).toMatchObject({ name: 'session.ended', reason: 'binding-conflict' });
  });

  test('does not end because of a second key once the window has passed', async () => {
    const { id } = await bound('PREFER');
    running.pass(3 * MINUTE);
    expect(await register(id, OTHER_KEY)).toBe(false);
    expect(await rowOf(id)).toMatchObject({ binding: `dbsc:${KEY.thumbprint}` });
  });

  test('cannot be bound after the window, with `binding: off`, or if its tokens travel in the body', async () => {
    const late = await login('PREFER');
    running.pass(3 * MINUTE);
    const off = await login('OFF');
    const body = await running.engine.sessions.create('alice', { type: 'PREFER', transport: 'body' });
    for (const { session } of [late, off, body]) {
      expect(await register(session.id)).toBe(false);
      expect(await rowOf(session.id)).toMatchObject({ binding: null, pendingBinding: null, bindingKey: null });
    }
  });

  test('stays bound in a process whose policy says `off`', async () => {
    const { id, token } = await bound('PREFER');
    const row = await running.dataSource.getRepository(SessionEntity).findOneByOrFail({ id });
    const off = new SessionPolicyService('PREFER', {
      ...running.engine.policies.named('PREFER').config,
      binding: 'off',
    });
    expect(demandOf(row, off, undefined, running.now())).toBe('proof-required');
    const current = { sessionId: id, type: 'PREFER', jti: row.refreshJti, generation: row.generation, expiresAt: null };
    expect(await running.engine.refreshStore.touch(current, {}, off.values)).toBeNull();
    expect(await running.engine.refreshStore.touch(current, { proof: PROOF }, off.values)).toMatchObject({ id });
    await expect(refresh(token)).rejects.toThrow(DeviceProofRequiredError);
  });
});

describe('a thief without the key', () => {
  test('cannot end the session: not by reuse, not by another type, not by renewing', async () => {
    const { session, refresh: first } = await login('PREFER');
    await register(session.id);
    const { refresh: second } = await refresh(first, PROOF);
    running.pass(MINUTE);
    const { refresh: third } = await refresh(String(second), PROOF);
    running.pass(MINUTE);
    await running.engine.sessions.refresh(String(third), { proof: PROOF });
    running.pass(MINUTE);
    const { sessions } = running.engine;
    await expect(refresh(first)).rejects.toThrow(DeviceProofRequiredError);
    await expect(sessions.refresh(String(third), { type: 'OFF' })).rejects.toThrow(DeviceProofRequiredError);
    await expect(sessions.renew(String(third))).rejects.toThrow(DeviceProofRequiredError);
    expect(await rowOf(session.id)).not.toBeNull();
    expect(namesOfEvents()).not.toContain('session.ended');
  });

  test('does not keep the owner of another cookie from refreshing', async () => {
    const { token } = await bound('PREFER');
    const { session, refresh: own } = await login('PREFER');
    const refreshed = await running.engine.sessions.refresh([token, own]);
    expect(refreshed.session.id).toBe(session.id);
  });

  test('is not reported for a token that would be refused anyway', async () => {
    const { session, refresh: first } = await login('PREFER');
    await register(session.id);
    const { refresh: second } = await refresh(first, PROOF);
    running.pass(MINUTE);
    await refresh(String(second), PROOF);
    running.pass(MINUTE);
    await expect(refresh(first)).rejects.toThrow(DeviceProofRequiredError);
    expect(namesOfEvents()).toEqual(['device.bound']);
  });

  test('is still detected if the thief has the key too', async () => {
    const { session, refresh: first } = await login('PREFER');
    await register(session.id);
    const { refresh: second } = await refresh(first, PROOF);
    running.pass(MINUTE);
    const { refresh: third } = await refresh(String(second), PROOF);
    running.pass(MINUTE);
    await refresh(String(third), PROOF);
    await expect(refresh(first, PROOF)).rejects.toThrow(TokenNotValidError);
    expect(await rowOf(session.id)).toBeNull();
    expect(namesOfEvents()).toContain('refresh.reused');
  });
});

describe('`binding: require`', () => {
  test('lets an unbound session refresh within `bindWithin`, and keeps its row afterwards', async () => {
    const { session, refresh: first } = await login('REQUIRE');
    running.pass(MINUTE);
    const { refresh: second } = await refresh(first);
    running.pass(2 * MINUTE);
    await expect(refresh(String(second))).rejects.toThrow(TokenNotValidError);
    expect(await rowOf(session.id)).not.toBeNull();
  });

  test('accepts a first proof after `bindWithin`', async () => {
    const { session, refresh: first } = await login('REQUIRE');
    await register(session.id);
    running.pass(10 * MINUTE);
    await expect(refresh(first)).rejects.toThrow(TokenNotValidError);
    const { session: after, refresh: second } = await refresh(first, PROOF);
    expect(after.bound).toBe(true);
    running.pass(10 * MINUTE);
    await refresh(String(second), PROOF);
  });
});

describe('a session that is bound by DPoP at its login', () => {
  test('needs the proof at each refresh, and its access tokens name the key', async () => {
    const { session, access, refresh: first } = await login('PREFER', DPOP);
    expect(session.bound).toBe(true);
    await expect(refresh(first)).rejects.toThrow(DeviceProofRequiredError);
    await expect(refresh(first, { kind: 'dpop', thumbprint: OTHER_KEY.thumbprint })).rejects.toThrow();
    const refreshed = await refresh(first, DPOP);
    for (const token of [access, refreshed.access]) {
      const { cnf } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
      expect(cnf).toEqual({ jkt: KEY.thumbprint });
      // Without a proof of the request, the token is worthless.
      expect(() => running.engine.sessions.verify(token)).toThrow(DeviceProofRequiredError);
    }
  });

  test('an unbound session ignores a proof', async () => {
    const { refresh: first } = await running.engine.sessions.create('alice', { type: 'PREFER', transport: 'body' });
    const { session, refresh: second } = await refresh(first, DPOP);
    expect(session.bound).toBe(false);
    running.pass(MINUTE);
    await refresh(String(second));
  });
});
