import type { Sql } from '../database/sql.js';
import { SessionEntity } from './session.entity.js';

/*
 * The statements that read all sessions. Each reads one page in the order of the primary key, because a statement has a time
 * limit and the table has none.
 */

/** The rows of one page: few enough to take some ten milliseconds. */
export const SCAN_PAGE = 10_000;

interface PageValues {
  /** The last id of the page before; empty for the first page. */
  readonly after: string;
  readonly limit: number;
}

const lastId = { property: 'lastId', read: (value: unknown) => value };

/** What a page tells about a key. */
export interface KeyPage {
  /** Null if there are no more rows. */
  readonly lastId: string | null;
  readonly isUsed: boolean;
}

/** Looks on the next page for a session that has not expired and whose refresh token this key has signed. */
export const FIND_KEY_USE: Sql<PageValues & { kid: string }, KeyPage> = {
  entities: [SessionEntity],
  columns: 'last_id, is_used',
  computed: { last_id: lastId, is_used: { property: 'isUsed', read: (value: unknown) => Number(value) === 1 } },
  text: ({ now }) => `
    SELECT MAX(id) AS last_id, MAX(CASE WHEN refresh_kid = :kid AND expires_at > ${now} THEN 1 ELSE 0 END) AS is_used
    FROM (SELECT id, refresh_kid, expires_at FROM user_session WHERE id > :after ORDER BY id LIMIT :limit) AS page`,
};

/** The sessions of one type on a page. */
export interface TypePage {
  readonly type: string;
  readonly amount: number;
  /** The last id among them. */
  readonly lastId: string;
}

/** Counts the sessions on the next page by their types. */
export const COUNT_TYPES: Sql<PageValues, TypePage> = {
  entities: [SessionEntity],
  columns: 'type, amount, last_id',
  computed: { amount: { property: 'amount', read: Number }, last_id: lastId },
  text: `
    SELECT type, COUNT(*) AS amount, MAX(id) AS last_id
    FROM (SELECT id, type FROM user_session WHERE id > :after ORDER BY id LIMIT :limit) AS page
    GROUP BY type`,
};
