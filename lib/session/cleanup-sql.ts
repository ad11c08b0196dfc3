import type { Sql, SqlValues } from '../database/sql.js';
import { MAX_LOGIN } from '../engine/timing.js';
import { SessionEntity } from './session.entity.js';

/* The statements by which the cleanup finds sessions. For the rules on statements, see `session-sql.ts`. */

const ENTITIES = [SessionEntity];

/** Selects sessions at which the cleanup is to look by `now`. They need not have expired: see `SessionEntity.cleanupAt`. */
export const FIND_DUE: Sql<{ now: number; limit: number }, Pick<SessionEntity, 'id'>> = {
  entities: ENTITIES,
  columns: 'id',
  text: 'SELECT id FROM user_session WHERE cleanup_at <= :now ORDER BY cleanup_at LIMIT :limit',
};

const postpones: Sql<SqlValues>[] = [];

/** Sets the time at which the cleanup looks at `count` sessions again: their expiry, or when a prepared session lapses. */
export const postpone = (count: number): Sql<SqlValues> =>
  (postpones[count] ??= {
    entities: ENTITIES,
    text: `
      UPDATE user_session
      SET cleanup_at = CASE WHEN prepared_at IS NULL THEN expires_at ELSE prepared_at + ${MAX_LOGIN} END
      WHERE id IN (${Array.from({ length: count }, (_, at) => `:id${at}`).join(', ')})`,
  });
