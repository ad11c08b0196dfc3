import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { MultiSessionError } from '../../lib/errors.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import type { IssuedSession } from '../../lib/session/new-session.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { Tally } from '../helpers/tally.js';
import { type Lab, type LabProcess, openLab } from './lab.js';
import { ROUNDS } from './race.js';

const LIMIT = 3;
const POLICIES = {
  FREE: { refreshTokenLifetime: '1d' },
  EVICT: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT },
  REFUSE: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT, whenFull: 'refuse' },
  BRIEF: { refreshTokenLifetime: '1s', accessTokenLifetime: '1s', reuseGrace: 0 },
} as const;
const TYPES = Object.keys(POLICIES);
const USERS = Array.from({ length: 8 }, (_, at) => `hot-${at}`);
const PROCESSES = 3;
/** Operations on the users' sessions, not counting those beside them. */
const OPERATIONS = 8 * ROUNDS;

/** A session that was issued, and when its login began, as a number in the order of all operations. */
interface Known {
  readonly user: string;
  readonly type: string;
  readonly begun: number;
  readonly refresh: string;
}

/** A session that was just issued, and when its login began. */
interface Opened {
  readonly issued: IssuedSession;
  readonly begun: number;
}

/** An ending that has returned. */
interface Ending {
  /** When it was called, as a number in the order of all operations. */
  readonly called: number;
  readonly type?: string;
  readonly kept?: string;
}

onEachDatabase((databaseName) => {
  let lab: Lab;
  const lines: string[] = [];
  const known = new Map<string, Known>();
  const endings = new Map<string, Ending[]>(USERS.map((user) => [user, []]));
  const tally = new Tally();
  let clock = 0;

  const anyOf = <T>(all: readonly T[]): T => all[Math.floor(Math.random() * all.length)];
  /** Mostly short, so that operations meet, and sometimes long, so that one overtakes another. */
  const pause = (longest: number) => sleep(Math.random() < 0.1 ? Math.random() * longest : Math.random() * 2);

  beforeAll(async () => {
    lab = await openLab(databaseName, { policies: POLICIES }, PROCESSES, () => ({
      statement: () => ({ pass: () => pause(10) }),
      authenticate: () => pause(60),
    }));
  });
  afterAll(async () => {
    console.log(lines.join('\n'));
    await lab?.close();
  });

  const rowsOf = async (user: string) =>
    (await lab.observer.manager.findBy(SessionEntity, { userId: user })).filter(({ expiresAt }) => +expiresAt > 0);

  /** Checks what must hold at any time: no limit is exceeded, and no session outlives an ending that came after its login. */
  async function check(user: string): Promise<void> {
    const returned = [...(endings.get(user) as Ending[])];
    const rows = await rowsOf(user);
    const isLive = ({ expiresAt }: SessionEntity) => +expiresAt > Date.now();
    for (const type of ['EVICT', 'REFUSE'])
      expect(rows.filter((row) => row.type === type && isLive(row)).length).toBeLessThanOrEqual(LIMIT);
    // An ending leaves expired sessions to the cleanup.
    for (const { id, type } of rows.filter(isLive)) {
      const begun = known.get(id)?.begun ?? Infinity;
      const survived = returned.filter(
        (ending) => ending.called > begun && ending.kept !== id && (ending.type ?? type) === type,
      );
      expect({ id, type, begun, survived }).toEqual({ id, type, begun, survived: [] });
    }
  }

  /** Counts a refusal, and passes on anything that is not one. */
  async function counted<T>(name: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      const result = await work();
      tally.add(`${name}: ok`);
      return result;
    } catch (error) {
      if (!(error instanceof MultiSessionError)) throw error;
      tally.add(`${name}: ${error.code}`);
      return undefined;
    }
  }

  async function open(process: LabProcess, user: string): Promise<void> {
    const type = anyOf([...TYPES, 'REFUSE', 'REFUSE']);
    const isPrepared = Math.random() < 0.3 && databaseName !== 'sqlite' && databaseName !== 'sqljs';
    const opened = await (isPrepared
      ? counted('prepare', () => prepared(process, user, type))
      : counted('login', () => loggedIn(process, user, type)));
    if (!opened) return;
    const { issued, begun } = opened;
    known.set(issued.session.id, { user, type, begun, refresh: issued.refresh });
  }

  async function loggedIn({ engine }: LabProcess, user: string, type: string): Promise<Opened> {
    const begun = clock++;
    return { begun, issued: await engine.sessions.login({ username: user, password: '' }, { type }) };
  }

  async function prepared({ dataSource, engine }: LabProcess, user: string, type: string): Promise<Opened> {
    let begun = 0;
    const session = await dataSource.transaction((manager) => {
      begun = clock++;
      return engine.sessions.prepare(user, { type }, manager);
    });
    await pause(20);
    const listed = await engine.sessions.list(user);
    expect(JSON.stringify(listed)).not.toContain(session.id);
    return { begun, issued: await session.issue() };
  }

  async function end({ engine: { sessions } }: LabProcess, user: string): Promise<void> {
    const called = clock++;
    const kept = Math.random() < 0.3 ? anyOf((await rowsOf(user)).filter(({ id }) => known.has(id)))?.id : undefined;
    if (kept) {
      const done = await counted('destroyOthers', () => sessions.destroyOthers(user, kept));
      if (done !== undefined) endings.get(user)?.push({ called, kept });
      return;
    }
    const type = Math.random() < 0.3 ? anyOf(TYPES) : undefined;
    await counted('destroyAll', () => sessions.destroyAll(user, { type }));
    endings.get(user)?.push({ called, type });
  }

  test('8 hot users: logins, endings, refreshes and the cleanup at once', async () => {
    let [done, isOver] = [0, false];
    const work = async (operation: (process: LabProcess, user: string) => Promise<void>) => {
      while (done++ < OPERATIONS) {
        const user = anyOf(USERS);
        await operation(anyOf(lab.processes), user);
        await check(user);
        await pause(4);
      }
    };
    const beside = async (operation: (process: LabProcess) => Promise<unknown>, rest: number) => {
      while (!isOver) {
        await operation(anyOf(lab.processes));
        await sleep(Math.random() * rest);
      }
    };
    const refresh = async ({ engine: { sessions } }: LabProcess) => {
      const [id, session] = anyOf([...known]) ?? [];
      if (!id || !session) return;
      const refreshed = await counted('refresh', () => sessions.refresh(session.refresh));
      if (refreshed?.refresh) known.set(id, { ...session, refresh: refreshed.refresh });
    };
    const others = [
      beside(refresh, 6),
      beside(refresh, 6),
      beside(({ engine }) => counted('cleanup', () => engine.cleanup.run()), 10),
      beside(({ engine }) => engine.poller.poll(), 200),
    ];
    const workers = [...Array.from({ length: 12 }, () => work(open)), ...Array.from({ length: 3 }, () => work(end))];
    await Promise.all(workers).finally(() => (isOver = true));
    await Promise.all(others);
    lines.push(`${databaseName}: ${OPERATIONS} operations: ${String(tally)}`);

    for (const user of USERS) await check(user);
    const alive: string[] = [];
    for (const user of USERS) alive.push(...(await rowsOf(user)).map(({ id }) => id));
    const entries = await lab.observer.manager.findBy(BlacklistEntity, { kind: 'session' });
    const ended = [...known.keys()].filter((id) => !alive.includes(id)).sort();
    expect(alive.filter((id) => !known.has(id))).toEqual([]);
    const isBrief = (id: string) => known.get(id)?.type === 'BRIEF';
    // The cleanup writes no entry for a session whose last access token has expired too, and deletes the entries of others.
    expect(entries.flatMap(({ sessionId }) => (isBrief(sessionId) ? [] : [sessionId])).sort()).toEqual(
      ended.filter((id) => !isBrief(id)),
    );
    expect(lab.takeEnded().sort()).toEqual(ended);
    tally.expect({
      'login: ok': true,
      'login: unavailable': true,
      'login: session_limit_reached': true,
      'prepare: ok': databaseName === 'postgres' || databaseName === 'mariadb',
      'prepare: unavailable': false,
      'prepare: session_limit_reached': false,
      'prepare: session_not_found': false,
      'destroyAll: ok': true,
      'destroyOthers: ok': true,
      'destroyOthers: token_not_valid': false,
      'refresh: ok': true,
      'refresh: session_not_found': true,
      'refresh: token_not_valid': false,
      'cleanup: ok': true,
    });
  });
});
