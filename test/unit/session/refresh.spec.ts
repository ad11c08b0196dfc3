import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  DeviceProofRequiredError,
  RenewalNotAllowedError,
  SessionNotFoundError,
  TokenNotValidError,
  UnavailableError,
} from '../../../lib/errors.js';
import { UserAuthenticator } from '../../../lib/session/authenticator.js';
import type { IssuedSession } from '../../../lib/session/new-session.js';
import type { SessionPolicyOptions } from '../../../lib/session/options.js';
import { SessionEntity } from '../../../lib/session/session.entity.js';
import { startEngine, type TestEngine } from '../../helpers/engine.js';
import { decoded } from '../../helpers/tokens.js';

const HOUR = 3_600_000;
const GRACE = 10_000;
/** A session may rotate again so long after a rotation. */
const SETTLED = 2 * GRACE;

const POLICIES = {
  ROTATING: { refreshTokenLifetime: '1h' },
  STRICT: { refreshTokenLifetime: '1h', reuseGrace: 0 },
  RENEWED: { refreshTokenLifetime: '1h', renewal: { within: '1h' } },
  KEEPING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false },
  SILENT: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, updateLastLogin: false },
  EXTENDING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, extendSession: 'every-refresh' },
  BOTH: { refreshTokenLifetime: '1h', extendSession: 'every-refresh' },
  BOUNDED: { refreshTokenLifetime: '1h', extendSession: 'every-refresh', absoluteLifetime: '90m' },
} as const satisfies Record<string, SessionPolicyOptions>;
const OPTIONS = { policies: POLICIES, backendKeys: 'a backend key of more than thirty-two bytes' };
type TypeName = keyof typeof POLICIES;

class Users extends UserAuthenticator {
  readonly inactive = new Set<string | number>();
  authenticate() {
    return Promise.resolve(null);
  }
  override findActive(id: string | number) {
    return Promise.resolve(this.inactive.has(id) ? null : { id });
  }
}

let users: Users;
let running: TestEngine;
let events: { name: string; [member: string]: unknown }[];

const rows = () => running.dataSource.getRepository(SessionEntity);
const rowOf = ({ session }: IssuedSession) => rows().findOneByOrFail({ id: session.id });
const isLive = async ({ session }: IssuedSession) => (await rows().countBy({ id: session.id })) === 1;
const login = (type: TypeName, userId = 'alice') => running.engine.sessions.create(userId, { type });
const refresh = (token: string | readonly string[], options = {}) => running.engine.sessions.refresh(token, options);
/** Refreshes and returns the new refresh token. */
const rotate = async (token: string) => (await refresh(token)).refresh as string;
const namesOfEvents = () => events.map(({ name }) => name);
/** What the guard does when an access token of the session's current generation is used. */
const use = async (issued: IssuedSession) =>
  running.engine.seen.note(issued.session.id, (await rowOf(issued)).generation);

beforeEach(async () => {
  users = new Users();
  running = await startEngine(OPTIONS, users);
  events = [];
  for (const name of [
    'session.refreshed',
    'session.ended',
    'refresh.reused',
    'refresh.replayed',
    'refresh.recovered',
  ] as const)
    running.engine.events.on(name, (event) => events.push({ ...event, name }));
});
afterEach(async () => {
  await running.engine.seen.flush();
  await running.close();
});

describe('a current token', () => {
  test('is replaced if the policy rotates', async () => {
    const issued = await login('ROTATING');
    const before = await rowOf(issued);
    running.pass(1000);
    const { refresh: successor } = await refresh(issued.refresh);
    expect(successor).not.toBe(issued.refresh);
    const after = await rowOf(issued);
    expect(after).toMatchObject({ generation: 1, parentGeneration: 0, parentJti: before.refreshJti });
    expect(after.lastUpdate.getTime()).toBe(running.now());
    expect(after.expiresAt).toEqual(before.expiresAt);
    expect(events).toMatchObject([{ name: 'session.refreshed', rotated: true }]);
  });

  test('is kept if the policy does not rotate, and the use is written', async () => {
    const issued = await login('KEEPING');
    const before = await rowOf(issued);
    running.pass(1000);
    expect(await refresh(issued.refresh)).not.toHaveProperty('refresh');
    expect(await rowOf(issued)).toEqual({ ...before, lastUpdate: new Date(running.now()) });
    expect(events).toMatchObject([{ name: 'session.refreshed', rotated: false }]);
  });

  test('is kept and leaves the row alone with updateLastLogin off', async () => {
    const issued = await login('SILENT');
    const before = await rowOf(issued);
    running.pass(1000);
    expect(await refresh(issued.refresh)).not.toHaveProperty('refresh');
    expect(await rowOf(issued)).toEqual(before);
  });

  test('is replaced by an extension, up to the absolute expiry', async () => {
    const issued = await login('BOUNDED');
    const expiryAt = async (offset: number) => (await rowOf(issued)).expiresAt.getTime() - offset;
    const created = await expiryAt(HOUR);
    running.pass(0.4 * HOUR);
    const second = await rotate(issued.refresh);
    const extended = await expiryAt(created);
    expect(extended).toBeGreaterThan(1.39 * HOUR);
    running.pass(0.4 * HOUR);
    await rotate(second);
    expect(await expiryAt(created)).toBe(1.5 * HOUR);
  });

  test('is handed out again within the grace, so that two tabs get the same one', async () => {
    const issued = await login('ROTATING');
    const successor = await rotate(issued.refresh);
    running.pass(GRACE - 1);
    expect(await rotate(successor)).toBe(successor);
    running.pass(GRACE);
    expect(await rotate(successor)).toBe(successor);
    running.pass(1);
    expect(await rotate(successor)).not.toBe(successor);
    expect(await rowOf(issued)).toMatchObject({ generation: 2, confirmedGeneration: 1 });
  });

  test('does not travel in a cookie soon after the grace, because it might arrive after the next rotation', async () => {
    const inCookie = { transport: 'cookie', withRefreshToken: true } as const;
    const { refresh: first, session } = await running.engine.sessions.create('alice', {
      type: 'ROTATING',
      transport: 'cookie',
    });
    const { refresh: successor = '' } = await refresh(first, inCookie);
    running.pass(GRACE - 1);
    expect(await refresh(successor, inCookie)).toMatchObject({ refresh: successor });
    running.pass(1);
    const held = await refresh(successor, inCookie);
    expect(Object.keys(held).sort()).toEqual(['access', 'session']);
    expect(running.engine.seen.highest(session.id)).toBe(1);
    running.pass(GRACE);
    expect((await refresh(successor, inCookie)).refresh).not.toBe(successor);
  });

  test('is refused after the session has expired, and the session ends', async () => {
    const issued = await login('ROTATING');
    running.pass(HOUR);
    await expect(refresh(issued.refresh)).rejects.toThrow(TokenNotValidError);
    expect(await isLive(issued)).toBe(false);
    expect(events).toMatchObject([{ name: 'session.ended', reason: 'expired' }]);
  });
});

describe('a superseded token', () => {
  test('gets the same successor within the grace', async () => {
    const issued = await login('ROTATING');
    const successor = await rotate(issued.refresh);
    running.pass(GRACE - 1);
    expect(await rotate(issued.refresh)).toBe(successor);
    expect(events).toMatchObject([
      { name: 'session.refreshed', rotated: true },
      { name: 'refresh.replayed', presentedGeneration: 0, currentGeneration: 1, age: GRACE - 1 },
      { name: 'session.refreshed', rotated: false },
    ]);
  });

  test.each(['used', 'not used'])(
    'gets only an access token of its own soon after the grace: successor %s',
    async (what) => {
      const issued = await login('ROTATING');
      await rotate(issued.refresh);
      if (what === 'used') await use(issued);
      running.pass(GRACE);
      const before = await rowOf(issued);
      for (const instant of [0, GRACE - 1]) {
        running.pass(instant);
        events.splice(0);
        const held = await refresh(issued.refresh);
        expect(Object.keys(held).sort()).toEqual(['access', 'session']);
        // It must not confirm a successor that may be lost.
        expect(decoded(held.access, 1)).toMatchObject({ gen: 0, sid: issued.session.id });
        expect(events).toMatchObject([
          { name: 'refresh.replayed', presentedGeneration: 0, currentGeneration: 1, age: GRACE + instant },
          { name: 'session.refreshed', rotated: false },
        ]);
      }
      expect(await rowOf(issued)).toEqual(before);
    },
  );

  test('recovers the session after the grace if the successor was never used, and the lost one is dead', async () => {
    const issued = await login('ROTATING');
    const lost = await rotate(issued.refresh);
    running.pass(SETTLED);
    const recovered = await rotate(issued.refresh);
    expect(recovered).not.toBe(lost);
    expect(await rowOf(issued)).toMatchObject({ generation: 2, parentGeneration: 0 });
    expect(namesOfEvents()).toEqual(['session.refreshed', 'refresh.recovered', 'session.refreshed']);
    await expect(refresh(lost)).rejects.toThrow(TokenNotValidError);
    expect(events).toContainEqual(expect.objectContaining({ name: 'refresh.reused', reuse: 'fork' }));
    expect(await isLive(issued)).toBe(false);
  });

  test.each(['STRICT', 'ROTATING'] as const)(
    'ends the session after the grace of %s if the successor was used',
    async (type) => {
      const issued = await login(type);
      const successor = await rotate(issued.refresh);
      await use(issued);
      running.pass(SETTLED);
      await expect(refresh(issued.refresh)).rejects.toThrow(TokenNotValidError);
      expect(await isLive(issued)).toBe(false);
      expect(events.slice(1)).toMatchObject([
        { name: 'session.ended', reason: 'reuse' },
        { name: 'refresh.reused', reuse: 'fork', presentedGeneration: 0, currentGeneration: 1 },
      ]);
      await expect(refresh(successor)).rejects.toThrow(SessionNotFoundError);
    },
  );

  test('counts a use of the successor that is not yet written', async () => {
    const issued = await login('ROTATING');
    await rotate(issued.refresh);
    await use(issued);
    expect(await rowOf(issued)).toMatchObject({ confirmedGeneration: 0 });
    running.pass(SETTLED);
    await expect(refresh(issued.refresh)).rejects.toThrow(TokenNotValidError);
  });

  test('ends the session if it is older than the parent, even within the grace', async () => {
    const issued = await login('ROTATING');
    const second = await rotate(issued.refresh);
    running.pass(SETTLED);
    await rotate(second);
    await expect(refresh(issued.refresh)).rejects.toThrow(TokenNotValidError);
    expect(events).toContainEqual(expect.objectContaining({ name: 'refresh.reused', reuse: 'stale' }));
    expect(await isLive(issued)).toBe(false);
  });
});

describe('a token whose generation the database has lost', () => {
  beforeEach(() => void jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined));
  afterEach(() => void jest.restoreAllMocks());

  test.each(['STRICT', 'ROTATING'] as const)(
    'is adopted if it follows the one in the row, and refreshes: %s',
    async (type) => {
      const issued = await login(type);
      const before = await rowOf(issued);
      const successor = await rotate(issued.refresh);
      await rows().save(before);
      events.splice(0);
      const next = await rotate(successor);
      const row = await rowOf(issued);
      if (type === 'ROTATING') {
        // Within the grace, the answer has the same token again.
        expect(next).toBe(successor);
        expect(row).toMatchObject({ generation: 1, parentGeneration: 0, parentJti: before.refreshJti });
      } else {
        expect(decoded(next, 1)).toMatchObject({ gen: 2 });
        expect(row).toMatchObject({ generation: 2, parentGeneration: 1, parentJti: decoded(successor, 1).jti });
      }
      expect(row.confirmedGeneration).toBe(1);
      expect(namesOfEvents()).toEqual(['session.refreshed']);
      running.pass(SETTLED);
      expect(await rotate(next)).not.toBe(next);
    },
  );

  test('is adopted after a lost recovery, unless the row shows that its current token was used', async () => {
    for (const isUsed of [false, true]) {
      const issued = await login('ROTATING');
      await rotate(issued.refresh);
      running.pass(SETTLED);
      const before = await rowOf(issued);
      const recovered = await rotate(issued.refresh);
      await rows().save({ ...before, confirmedGeneration: isUsed ? 1 : 0 });
      const adopted = refresh(recovered);
      if (isUsed) await expect(adopted).rejects.toThrow(TokenNotValidError);
      else expect((await adopted).refresh).toBe(recovered);
      expect(await rowOf(issued)).toMatchObject({ generation: isUsed ? 1 : 2 });
    }
  });

  test('is refused if more was lost than its parent, and nothing changes', async () => {
    const issued = await login('STRICT');
    const before = await rowOf(issued);
    const third = await rotate(await rotate(issued.refresh));
    await rows().save(before);
    events.splice(0);
    await expect(refresh(third)).rejects.toThrow(TokenNotValidError);
    expect(await rowOf(issued)).toEqual(before);
    expect(events).toEqual([]);
    // Whoever has the token in the row goes on.
    expect(decoded(await rotate(issued.refresh), 1)).toMatchObject({ gen: 1 });
  });

  test('is refused if it states no parent, as a token of an earlier version does', async () => {
    const issued = await login('STRICT');
    const before = await rowOf(issued);
    const successor = await rotate(issued.refresh);
    await rows().save(before);
    const { prt, ...claims } = decoded(successor, 1);
    expect(prt).toMatch(/^[\w-]{22}$/);
    const old = running.engine.keyring.sign(claims, 'JWT');
    await expect(refresh(old)).rejects.toThrow(TokenNotValidError);
    expect(await rowOf(issued)).toEqual(before);
    expect(decoded(await rotate(successor), 1)).toMatchObject({ gen: 2 });
  });

  test('is refused if its key did not sign at its time', async () => {
    const issued = await login('STRICT');
    const before = await rowOf(issued);
    const successor = await rotate(issued.refresh);
    await rows().save(before);
    const { keyring } = running.engine;
    const iat = Number(decoded(successor, 1).iat) * 1000;
    keyring.use([], undefined, new Map([[keyring.current.kid, { from: 0, until: iat }]]));
    await expect(refresh(successor)).rejects.toThrow(TokenNotValidError);
    expect(await rowOf(issued)).toEqual(before);
    keyring.use([], undefined, new Map([[keyring.current.kid, { from: iat, until: iat + 1 }]]));
    expect(decoded(await rotate(successor), 1)).toMatchObject({ gen: 2 });
  });

  test('is adopted only with the proof that its session is bound to', async () => {
    const issued = await login('STRICT');
    await rows().update(issued.session.id, { binding: 'dpop:key' });
    const before = await rowOf(issued);
    const proof = { kind: 'dpop', thumbprint: 'key' };
    const successor = (await refresh(issued.refresh, { proof })).refresh as string;
    await rows().save(before);
    await expect(refresh(successor)).rejects.toThrow(DeviceProofRequiredError);
    expect(await rowOf(issued)).toEqual(before);
    expect((await refresh(successor, { proof })).refresh).toBeDefined();
    expect(await rowOf(issued)).toMatchObject({ generation: 2 });
  });

  test('of several tokens, is chosen only if it can be adopted', async () => {
    const issued = await login('STRICT');
    const before = await rowOf(issued);
    const second = await rotate(issued.refresh);
    const third = await rotate(second);
    await rows().save(before);
    expect(decoded((await refresh([third, second])).refresh as string, 1)).toMatchObject({ gen: 2 });
  });

  test('cannot be renewed before a refresh has adopted it', async () => {
    const issued = await login('RENEWED');
    const before = await rowOf(issued);
    const successor = await rotate(issued.refresh);
    await rows().save(before);
    await expect(running.engine.sessions.renew(successor)).rejects.toThrow(RenewalNotAllowedError);
    expect(await rowOf(issued)).toEqual(before);
    await refresh(successor);
    expect((await running.engine.sessions.renew(successor)).session.id).toBe(issued.session.id);
  });
});

describe('refused', () => {
  test('a token that we did not sign', async () => {
    await expect(refresh('nonsense')).rejects.toThrow(SessionNotFoundError);
    const issued = await login('ROTATING');
    await expect(refresh(`${issued.refresh}x`)).rejects.toThrow(SessionNotFoundError);
    await expect(refresh(issued.access)).rejects.toThrow(SessionNotFoundError);
    expect(await isLive(issued)).toBe(true);
  });

  test('the current token for another type: the session ends', async () => {
    const issued = await login('ROTATING');
    await expect(refresh(issued.refresh, { type: 'KEEPING' })).rejects.toThrow(TokenNotValidError);
    expect(await isLive(issued)).toBe(false);
    expect(events).toMatchObject([{ name: 'session.ended', reason: 'mismatch' }]);
  });

  test('a superseded token for another type: the session goes on', async () => {
    const issued = await login('ROTATING');
    await rotate(issued.refresh);
    await expect(refresh(issued.refresh, { type: 'KEEPING' })).rejects.toThrow(TokenNotValidError);
    expect(await isLive(issued)).toBe(true);
  });

  test('any token but a permanent one if only those are accepted: the session goes on', async () => {
    const issued = await login('ROTATING');
    await expect(refresh(issued.refresh, { permanent: true })).rejects.toThrow(TokenNotValidError);
    expect(await isLive(issued)).toBe(true);
  });

  test('the token of an inactive user: the session ends', async () => {
    const issued = await login('ROTATING', 'bob');
    users.inactive.add('bob');
    await expect(refresh(issued.refresh)).rejects.toThrow(SessionNotFoundError);
    expect(await isLive(issued)).toBe(false);
    expect(events).toMatchObject([{ name: 'session.ended', reason: 'user-inactive' }]);
  });

  test('a token whose type or generation is not that of the row, as only a holder of the signing key could write', async () => {
    const issued = await login('ROTATING');
    await rows().update(issued.session.id, { type: 'STRICT' });
    await expect(refresh(issued.refresh)).rejects.toThrow(SessionNotFoundError);
    await rows().update(issued.session.id, { type: 'ROTATING', generation: 5 });
    await expect(refresh(issued.refresh)).rejects.toThrow(SessionNotFoundError);
    expect(await isLive(issued)).toBe(true);
  });

  test('with 503 if other requests changed the row during each of five attempts', async () => {
    const issued = await login('ROTATING');
    const missed = jest.spyOn(running.engine.refreshStore, 'rotate').mockResolvedValue(undefined as never);
    await expect(refresh(issued.refresh)).rejects.toThrow(UnavailableError);
    // One attempt without reading the row, and five that read it.
    expect(missed).toHaveBeenCalledTimes(6);
    expect(await isLive(issued)).toBe(true);
  });
});

describe('several tokens', () => {
  test('the first good one is refreshed, and the others end nothing', async () => {
    const [stale, good] = [await login('ROTATING'), await login('ROTATING', 'bob')];
    const second = await rotate(stale.refresh);
    running.pass(SETTLED);
    await rotate(second);
    const { session } = await refresh(['nonsense', stale.refresh, good.refresh]);
    expect(session.id).toBe(good.session.id);
    expect(await isLive(stale)).toBe(true);
  });

  test('each is refused if none is good, with the error of the first', async () => {
    const stale = await login('ROTATING');
    const second = await rotate(stale.refresh);
    running.pass(SETTLED);
    await rotate(second);
    await expect(refresh([stale.refresh, 'nonsense'])).rejects.toThrow(TokenNotValidError);
    expect(await isLive(stale)).toBe(false);
    await expect(refresh([])).rejects.toThrow(SessionNotFoundError);
  });
});

describe('a refresh that reads the row', () => {
  type Outcome = { row: object; events: string[]; answer: string[] };

  /** What the second refresh does, and leaves in the row, apart from random ids. */
  async function outcomeOf(type: TypeName, reads: boolean): Promise<Outcome> {
    const issued = await login(type);
    const { refreshStore } = running.engine;
    const find = jest.spyOn(refreshStore, 'findToJudge');
    if (reads) {
      // The statement that does not read the row misses once.
      const rotate = refreshStore.rotate.bind(refreshStore);
      const touch = refreshStore.touch.bind(refreshStore);
      jest
        .spyOn(refreshStore, 'rotate')
        .mockImplementation(rotate)
        .mockImplementationOnce(() => Promise.resolve(null));
      jest
        .spyOn(refreshStore, 'touch')
        .mockImplementation(touch)
        .mockImplementationOnce(() => Promise.resolve(null));
    }
    running.pass(SETTLED);
    events.splice(0);
    const answer = await refresh(issued.refresh);
    expect(find.mock.calls.length > 0).toBe(reads);
    const { id, refreshJti, parentJti, createdAt, ...row } = await rowOf(issued);
    expect([id, parentJti ?? refreshJti, createdAt.getTime()]).toHaveLength(3);
    jest.restoreAllMocks();
    return { row, events: namesOfEvents(), answer: Object.keys(answer).sort() };
  }

  test.each(['ROTATING', 'STRICT', 'KEEPING', 'EXTENDING', 'BOTH'] as const)(
    'has the same outcome as one that does not: %s',
    async (type) => {
      const start = running.now();
      const unread = await outcomeOf(type, false);
      await running.close();
      running = await startEngine(OPTIONS, users);
      running.pass(start - running.now());
      running.engine.events.on('session.refreshed', (event) => events.push({ ...event, name: 'session.refreshed' }));
      expect(await outcomeOf(type, true)).toEqual(unread);
    },
  );
});
