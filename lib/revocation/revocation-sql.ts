import { SessionEpochEntity } from '../database/epoch.entity.js';
import { wholeNumber } from '../database/instant.js';
import { isReadOnly } from '../database/server-state.js';
import type { Sql } from '../database/sql.js';
import { BlacklistEntity } from './blacklist.entity.js';
import type { PollWindow, WindowCounts } from './polled-entries.js';
import type { StoredRevocation } from './revoked-sessions.js';

const number = (property: string) => ({ property, read: wholeNumber.from });

/** What one statement reads for a poll. */
export interface PolledState extends WindowCounts {
  /** The epoch and the first one. Null if no process has created the epoch yet. */
  readonly epoch: string | null;
  readonly first: string | null;
  /** Whether the server is not the primary. */
  readonly isReadOnly: boolean;
  /** See `Dialect.serverIdentity`. */
  readonly identity: string;
}

const COUNT = (condition: string) =>
  `(SELECT COUNT(*) FROM session_blacklist WHERE kind = 'session' AND ${condition} AND expires_at > now)`;

/**
 * Reads the state of the server, its time, the epoch, and how many entries there are in the window of a poll. The time is that of
 * the statement's start, so that both counts leave out the same expired entries.
 */
export const READ_STATE: Sql<PollWindow, PolledState> = {
  entities: [SessionEpochEntity, BlacklistEntity],
  columns: 'epoch, first, now, read_only, identity, older, newer',
  computed: {
    now: number('now'),
    read_only: { property: 'isReadOnly', read: isReadOnly },
    identity: { property: 'identity', read: String },
    older: number('older'),
    newer: number('newer'),
  },
  text: ({ statementTime, readOnly, serverIdentity }) => `
    SELECT epoch, first, now, read_only, identity,
      ${COUNT('created_at >= :since AND created_at < :recent')} AS older, ${COUNT('created_at >= :recent')} AS newer
    FROM (SELECT ${statementTime} AS now, ${readOnly} AS read_only, ${serverIdentity} AS identity) server
    LEFT JOIN session_epoch ON name = 'current'`,
};

/** Reads the time alone. */
export const READ_TIME: Sql<object, Pick<PolledState, 'now'>> = {
  entities: [SessionEpochEntity],
  columns: 'now',
  computed: { now: number('now') },
  text: ({ statementTime }) => `SELECT ${statementTime} AS now`,
};

const readEntries = <V extends object>(condition: string): Sql<V & Limits, Required<StoredRevocation>> => ({
  entities: [BlacklistEntity],
  columns: 'session_id, user_id, reason, expiry, creation',
  // Plain numbers: dates would cost several times as much, and a full load may read a million entries.
  computed: {
    expiry: number('expiresAt'),
    creation: number('createdAt'),
  },
  text: `
    SELECT session_id, user_id, reason, expires_at AS expiry, created_at AS creation
    FROM session_blacklist WHERE kind = 'session' AND expires_at > :now AND ${condition} LIMIT :limit`,
});

/** Entries that have expired at `now` are left out. */
interface Limits {
  readonly now: number;
  readonly limit: number;
}

/**
 * Reads entries that were written at `from` or later. It is not ordered: with an ORDER BY, the planner might prefer another index
 * and walk through most of the table.
 */
export const READ_NEW = readEntries<{ from: number }>('created_at >= :from');
/**
 * Reads entries in the order of their ids, from `after` on. It repeats that of `after`, because a session may have several entries in
 * a partitioned table, and only the last expiry counts.
 */
export const READ_PAGE = readEntries<{ after: string }>('id >= :after ORDER BY id');

const ROW = (at: number, now: string) =>
  `(:id${at}, :kind${at}, :sessionId${at}, :userId${at}, :reason${at}, ${now}, :expiresAt${at})`;

/** The statements by number of rows. */
const inserts: Sql[] = [];

/**
 * Returns the statement that inserts `count` entries and skips those that already exist. `created_at` is the database's time: if
 * the writing process used its own clock and it was wrong, polls could miss the entry. The parameters of row 0 are `id0`,
 * `kind0` and so on.
 */
export function insertEntries(count: number): Sql {
  return (inserts[count] ??= {
    entities: [BlacklistEntity],
    text: ({ now, insertIfAbsent }) =>
      insertIfAbsent(`
        INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
        VALUES ${Array.from({ length: count }, (_, at) => ROW(at, now)).join(', ')}`),
  });
}

/** Returns the parameters of `insertEntries`. */
export function entryValues(
  kind: BlacklistEntity['kind'],
  entries: readonly Pick<BlacklistEntity, 'id' | 'sessionId' | 'userId' | 'reason' | 'expiresAt'>[],
): Record<string, string | number> {
  const values: Record<string, string | number> = {};
  entries.forEach(({ id, sessionId, userId, reason, expiresAt }, at) => {
    Object.assign(values, {
      [`id${at}`]: id,
      [`kind${at}`]: kind,
      [`sessionId${at}`]: sessionId,
      [`userId${at}`]: userId,
      [`reason${at}`]: reason,
      [`expiresAt${at}`]: expiresAt.getTime(),
    });
  });
  return values;
}
