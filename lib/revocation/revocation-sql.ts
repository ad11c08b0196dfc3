import type { Sql } from '../database/sql.js';
import { BlacklistEntity } from './blacklist.entity.js';

const ROW = (at: number, now: string) =>
  `(:id${at}, :kind${at}, :sessionId${at}, :userId${at}, :reason${at}, ${now}, :expiresAt${at})`;

/** One statement for each number of rows. */
const inserts: Sql[] = [];

/**
 * Writes `count` entries, without those that exist. `createdAt` is the database's own time, so that a wrong clock of the writing
 * process cannot hide the entry from the polls. The values of row 0 are `id0`, `kind0` and so on.
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

/** The values of `insertEntries`. */
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
