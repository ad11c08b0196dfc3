import type { Sql, SqlValues } from '../database/sql.js';
import { MAX_LOGIN } from '../engine/timing.js';
import { SHOWN } from './session-sql.js';
import { SessionEntity } from './session.entity.js';
import type { ShownRow } from './session.js';

/* The statements by which the cleanup finds sessions. For the rules on statements, see `session-sql.ts`. */

const ENTITIES = [SessionEntity];

/** Selects sessions at which the cleanup is to look by `now`. They need not have expired: see `SessionEntity.cleanupAt`. */
export const FIND_DUE: Sql<{ now: number; limit: number }, Pick<SessionEntity, 'id'>> = {
  entities: ENTITIES,
  columns: 'id',
  text: 'SELECT id FROM user_session WHERE cleanup_at <= :now ORDER BY cleanup_at LIMIT :limit',
};

/** A session at which the cleanup looks. */
export type DueRow = ShownRow & Pick<SessionEntity, 'preparedAt'>;

const locks: Sql<SqlValues, DueRow>[] = [];
const postpones: Sql<SqlValues>[] = [];
const ids = (count: number) => Array.from({ length: count }, (_, at) => `:id${at}`).join(', ');

/** Reads and locks `count` sessions in the order of their ids, as all statements that lock several rows do. */
export const lockDue = (count: number): Sql<SqlValues, DueRow> =>
  (locks[count] ??= {
    entities: ENTITIES,
    columns: `${SHOWN}, prepared_at`,
    text: ({ forUpdate }) => `
      SELECT ${SHOWN}, prepared_at FROM user_session WHERE id IN (${ids(count)}) ORDER BY id ${forUpdate}`,
  });

/** Sets the time at which the cleanup looks at `count` sessions again: their expiry, or when a prepared session lapses. */
export const postpone = (count: number): Sql<SqlValues> =>
  (postpones[count] ??= {
    entities: ENTITIES,
    text: `
      UPDATE user_session
      SET cleanup_at = CASE WHEN prepared_at IS NULL THEN expires_at ELSE prepared_at + ${MAX_LOGIN} END
      WHERE id IN (${ids(count)})`,
  });
