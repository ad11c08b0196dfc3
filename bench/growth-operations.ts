import type { SessionClaims, SessionSummary } from 'nestjs-multisession';
import type { FilledSession, FilledSessions } from '../test/helpers/fill.js';
import type { BenchEngine } from './engine.js';
import type { FilledTokens, GrowthApp } from './growth-app.js';

/**
 * Checks the result of an operation.
 * @throws Error if it is wrong
 */
type Check = () => Promise<void> | void;

/** One call of an operation, with randomly chosen sessions. */
export interface Use {
  /** The part that is timed. */
  run(): Promise<Check>;
  /** The user whose sessions must be restored afterwards. */
  readonly changes?: number;
}

/** Everything that the operations work with. */
export interface Subjects {
  readonly app: GrowthApp;
  readonly filled: FilledSessions;
  readonly tokens: FilledTokens;
  readonly polling: BenchEngine;
}

const PAGE = 50;
const CLIENT = {
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
  ipAddress: '203.0.113.7',
};

/** Returns the operations by name. Each call of an operation chooses its session or user from the whole table. */
export function operationsOn(subjects: Subjects): Map<string, () => Use> {
  return new Map([...begun(subjects), ...asked(subjects), ...ended(subjects), ...inBackground(subjects)]);
}

type Operations = [name: string, draw: () => Use][];

function begun({ app: { sessions }, filled, tokens }: Subjects): Operations {
  const login = (
    type: string,
    user: number,
    expected: (list: readonly SessionSummary[], id: string) => boolean,
  ): Use => ({
    changes: user,
    run: async () => {
      const userId = filled.userId(user);
      const { session } = await sessions.create(userId, { type, info: 'Firefox on Linux', client: CLIENT });
      return async () => {
        const [{ sessions: list }] = await sessions.list(userId, { type });
        assert(session.userId === userId && expected(list, session.id), `login, ${type}`);
      };
    },
  });
  return [
    [
      'login, no limit',
      () => {
        const user = anyUser(filled);
        const before = sessionsOf(filled, user).filter(({ type }) => type === 'LONG').length;
        return login('LONG', user, (list) => list.length === before + 1);
      },
    ],
    [
      'login at a limit of 5',
      () => login('SHORT', userOfTen(filled), (list, id) => list.length === 5 && list.some((each) => each.id === id)),
    ],
    [
      'refresh that rotates',
      () => {
        const user = anyUser(filled);
        const row = anyOf(sessionsOf(filled, user));
        const presented = tokens.refresh(row);
        return {
          changes: user,
          run: async () => {
            const { session, refresh } = await sessions.refresh(presented, { client: CLIENT });
            return () => assert(session.id === row.id && refresh !== undefined && refresh !== presented, 'refresh');
          },
        };
      },
    ],
  ];
}

function asked({ app: { sessions, administration }, filled, tokens }: Subjects): Operations {
  return [
    [
      'get',
      () => {
        const row = anyRow(filled);
        return { run: async () => isOf(row, await sessions.get(row.id)) };
      },
    ],
    [
      "verify with the check 'session'",
      () => {
        const row = anyRow(filled);
        const access = tokens.access(row);
        return {
          run: async () => {
            const { sessionId, userId } = await sessions.verify(access);
            return () => assert(sessionId === row.id && userId === row.userId, 'verify');
          },
        };
      },
    ],
    [
      'introspect',
      () => {
        const row = anyRow(filled);
        const token = tokens.refresh(row);
        return { run: async () => isOf(row, (await sessions.introspect(token))?.session) };
      },
    ],
    [
      'list of a user',
      () => {
        const user = anyUser(filled);
        const ids = sessionsOf(filled, user).map(({ id }) => id);
        return {
          run: async () => {
            const lists = await sessions.list(filled.userId(user));
            return () =>
              assertSame(
                lists.flatMap((list) => list.sessions),
                ids,
                'list',
              );
          },
        };
      },
    ],
    [
      'page of all sessions',
      () => {
        const number = PAGE + Math.floor(Math.random() * (filled.filling.rows - PAGE));
        const ids = Array.from({ length: PAGE }, (_, at) => filled.session(number - 1 - at).id);
        return {
          run: async () => {
            const page = await administration.list({ after: filled.session(number).id, limit: PAGE });
            return () => assertSame(page.sessions, ids, 'page');
          },
        };
      },
    ],
    [
      'page of one type',
      () => {
        const number = 2 * PAGE + Math.floor(Math.random() * (filled.filling.rows - 2 * PAGE));
        return {
          run: async () => {
            const page = await administration.list({ type: 'SHORT', after: filled.session(number).id, limit: PAGE });
            const isRight = ({ type, id }: SessionSummary) => type === 'SHORT' && id < filled.session(number).id;
            return () => assert(page.sessions.length >= PAGE / 2 && page.sessions.every(isRight), 'page of a type');
          },
        };
      },
    ],
    [
      'page of one user',
      () => {
        const user = anyUser(filled);
        const ids = sessionsOf(filled, user).map(({ id }) => id);
        return {
          run: async () => {
            const page = await administration.list({ userId: filled.userId(user) });
            return () => assertSame(page.sessions, ids, 'page of a user');
          },
        };
      },
    ],
    [
      'mergeData',
      () => {
        const user = anyUser(filled);
        const { id } = anyOf(sessionsOf(filled, user));
        return {
          changes: user,
          run: async () => {
            const data = await sessions.mergeData(id, { theme: 'dark' });
            return () => assert(data.theme === 'dark', 'mergeData');
          },
        };
      },
    ],
  ];
}

function ended({ app: { sessions }, filled, tokens }: Subjects): Operations {
  const isGone =
    (id: string): Check =>
    async () =>
      assert((await sessions.get(id)) === null, 'an ended session still exists');
  return [
    [
      'logout',
      () => {
        const user = anyUser(filled);
        const row = anyOf(sessionsOf(filled, user));
        const refresh = tokens.refresh(row);
        return { changes: user, run: () => sessions.logout(refresh).then(() => isGone(row.id)) };
      },
    ],
    [
      'destroy',
      () => {
        const user = anyUser(filled);
        const { id } = anyOf(sessionsOf(filled, user));
        return {
          changes: user,
          run: () => sessions.destroy(id, { userId: filled.userId(user) }).then(() => isGone(id)),
        };
      },
    ],
    [
      'destroyAllOther, of 10',
      () => {
        const user = userOfTen(filled);
        const row = anyOf(sessionsOf(filled, user));
        const [current, refresh] = [currentOf(row), tokens.refresh(row)];
        return {
          changes: user,
          run: async () => {
            const count = await sessions.destroyOthersByToken(current, refresh);
            return () => assert(count === 9, 'destroyAllOther');
          },
        };
      },
    ],
  ];
}

function inBackground({ app: { cleanup }, polling }: Subjects): Operations {
  return [
    [
      'cleanup with nothing to do',
      () => ({
        run: async () => {
          const result = await cleanup.run();
          return () => assert(result.sessions + result.blacklistEntries === 0, 'cleanup');
        },
      }),
    ],
    [
      'poll of the blacklist',
      () => ({ run: () => polling.poller.poll().then(() => () => assert(polling.revoked.size > 0, 'poll')) }),
    ],
  ];
}

// ─── Choosing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const anyOf = <T>(choice: readonly T[]): T => choice[Math.floor(Math.random() * choice.length)];
const anyRow = (filled: FilledSessions) => filled.session(Math.floor(Math.random() * filled.filling.rows));
const anyUser = (filled: FilledSessions) => Math.floor(Math.random() * filled.users);
const sessionsOf = (filled: FilledSessions, user: number) => filled.numbersOf(user).map((at) => filled.session(at));

/** Chooses a user with five sessions of each type. */
function userOfTen(filled: FilledSessions): number {
  for (;;) {
    const user = anyUser(filled);
    if (filled.numbersOf(user).length === 10) return user;
  }
}

function currentOf({ id, userId, type, generation, expiresAt }: FilledSession): SessionClaims {
  const seconds = { issuedAt: Math.floor(Date.now() / 1000), expiresAt: expiresAt / 1000 };
  return { sessionId: id, userId, sessionType: type, generation, tokenId: '', ...seconds, amr: [], claims: {} };
}

// ─── Checking ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function assert(isRight: boolean, what: string): void {
  if (!isRight) throw new Error(`wrong result: ${what}`);
}

const isOf =
  ({ id, userId }: FilledSession, session: SessionSummary | null | undefined): Check =>
  () =>
    assert(session?.id === id && session.userId === userId, 'another session was returned');

/** Asserts that the sessions have exactly these ids, in any order. */
function assertSame(sessions: readonly SessionSummary[], ids: readonly string[], what: string): void {
  const found = sessions.map(({ id }) => id).sort();
  assert(found.join() === [...ids].sort().join(), what);
}
