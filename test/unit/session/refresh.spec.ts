import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SessionNotFoundError, TokenNotValidError, UnavailableError } from '../../../lib/errors.js';
import { UserAuthenticator } from '../../../lib/session/authenticator.js';
import type { IssuedSession } from '../../../lib/session/login.js';
import type { SessionPolicyOptions } from '../../../lib/session/options.js';
import { SessionEntity } from '../../../lib/session/session.entity.js';
import { startEngine, type TestEngine } from '../../helpers/engine.js';

const HOUR = 3_600_000;
const GRACE = 10_000;

const POLICIES = {
  ROTATING: { refreshTokenLifetime: '1h' },
  STRICT: { refreshTokenLifetime: '1h', reuseGrace: 0 },
  KEEPING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false },
  SILENT: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, updateLastLogin: false },
  EXTENDING: { refreshTokenLifetime: '1h', rotateRefreshTokens: false, extendSession: 'every-refresh' },
  BOTH: { refreshTokenLifetime: '1h', extendSession: 'every-refresh' },
  BOUNDED: { refreshTokenLifetime: '1h', extendSession: 'every-refresh', absoluteLifetime: '90m' },
} as const satisfies Record<string, SessionPolicyOptions>;
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
  running = await startEngine({ policies: POLICIES }, users);
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
    running.pass(1);
    expect(await rotate(successor)).not.toBe(successor);
    expect(await rowOf(issued)).toMatchObject({ generation: 2, confirmedGeneration: 1 });
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

  test('recovers the session after the grace if the successor was never used, and the lost one is dead', async () => {
    const issued = await login('ROTATING');
    const lost = await rotate(issued.refresh);
    running.pass(GRACE);
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
      running.pass(GRACE);
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
    running.pass(GRACE);
    await expect(refresh(issued.refresh)).rejects.toThrow(TokenNotValidError);
  });

  test('ends the session if it is older than the parent, even within the grace', async () => {
    const issued = await login('ROTATING');
    const second = await rotate(issued.refresh);
    running.pass(GRACE);
    await rotate(second);
    await expect(refresh(issued.refresh)).rejects.toThrow(TokenNotValidError);
    expect(events).toContainEqual(expect.objectContaining({ name: 'refresh.reused', reuse: 'stale' }));
    expect(await isLive(issued)).toBe(false);
  });

  test('ends the session if the database has lost the generation of the token', async () => {
    const issued = await login('STRICT');
    const before = await rowOf(issued);
    const successor = await rotate(issued.refresh);
    await rows().save(before);
    await expect(refresh(successor)).rejects.toThrow(TokenNotValidError);
    expect(events).toContainEqual(expect.objectContaining({ name: 'refresh.reused', reuse: 'ahead' }));
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
    const missed = jest.spyOn(running.engine.store, 'rotate').mockResolvedValue(undefined as never);
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
    running.pass(GRACE);
    await rotate(second);
    const { session } = await refresh(['nonsense', stale.refresh, good.refresh]);
    expect(session.id).toBe(good.session.id);
    expect(await isLive(stale)).toBe(true);
  });

  test('each is refused if none is good, with the error of the first', async () => {
    const stale = await login('ROTATING');
    const second = await rotate(stale.refresh);
    running.pass(GRACE);
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
    const { store } = running.engine;
    const find = jest.spyOn(store, 'find');
    if (reads) {
      // The statement that does not read the row misses once.
      const { rotate, touch } = { rotate: store.rotate.bind(store), touch: store.touch.bind(store) };
      jest
        .spyOn(store, 'rotate')
        .mockImplementation((token, next, now, how) =>
          how.unread ? Promise.resolve(undefined as never) : rotate(token, next, now, how),
        );
      jest
        .spyOn(store, 'touch')
        .mockImplementation(touch)
        .mockImplementationOnce(() => Promise.resolve(null as never));
    }
    running.pass(GRACE);
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
      running = await startEngine({ policies: POLICIES }, users);
      running.pass(start - running.now());
      running.engine.events.on('session.refreshed', (event) => events.push({ ...event, name: 'session.refreshed' }));
      expect(await outcomeOf(type, true)).toEqual(unread);
    },
  );
});
