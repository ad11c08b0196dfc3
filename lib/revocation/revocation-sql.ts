import type { Sql } from '../database/sql.js';
import { BlacklistEntity } from './blacklist.entity.js';

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
