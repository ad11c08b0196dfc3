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

const deletions: Sql<{ now: number }, ShownRow>[] = [];
const locks: Sql<SqlValues, DueRow>[] = [];
const postpones: Sql<SqlValues>[] = [];
const ids = (count: number) => Array.from({ length: count }, (_, at) => `:id${at}`).join(', ');

/**
 * Finds up to `limit` sessions at which the cleanup is to look, locks them in the order of their ids, and deletes those that have
 * expired. While it waits for a lock, a refresh may extend a session, so the conditions are checked on the locked row.
 *
 * Only for PostgreSQL, which needs the limit in the text: otherwise it expects so many rows that it reads the whole table.
 */
export const deleteExpired = (limit: number): Sql<{ now: number }, ShownRow> =>
  (deletions[limit] ??= {
    entities: ENTITIES,
    columns: SHOWN,
    text: `
      WITH due AS MATERIALIZED (SELECT id FROM user_session WHERE cleanup_at <= :now ORDER BY cleanup_at LIMIT ${limit}),
        locked AS MATERIALIZED (
          SELECT id FROM user_session WHERE id IN (SELECT id FROM due) ORDER BY id FOR UPDATE)
      DELETE FROM user_session
      WHERE id IN (SELECT id FROM locked) AND expires_at <= :now AND prepared_at IS NULL
      RETURNING ${SHOWN}`,
  });

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
