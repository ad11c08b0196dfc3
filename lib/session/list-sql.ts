import type { Dialect } from '../database/dialect.js';
import type { Sql, SqlValues } from '../database/sql.js';
import { SHOWN } from './session-sql.js';
import { SessionEntity } from './session.entity.js';
import type { BriefRow, ShownRow } from './session.js';

/*
 * The statements of lists. They do not select by type: names of types compare in any letter case, and sessions of types that
 * this process does not know are listed too.
 */

const ENTITIES = [SessionEntity];

/**
 * Maximum number of sessions in a list, the latest created. The option `maxSessions` keeps a user below it, but sessions from
 * before that option may be more.
 */
export const MAX_LISTED = 1000;

/** Maximum length of `info` in a brief list, in characters. */
const MAX_LISTED_INFO = 1000;

/** The columns of `BriefRow`. */
const BRIEF =
  'id, user_id, type, created_at, last_update, rotated_at, expires_at, info, user_agent, ip_address, device_name, client_changed_at, binding';

/** `BRIEF` as expressions. */
const BRIEF_VALUES = BRIEF.replace('info', `SUBSTR(info, 1, ${MAX_LISTED_INFO}) AS info`);

const listOfUser =
  (values: string) =>
  ({ now, sameText }: Dialect) => `
    SELECT ${values} FROM user_session
    WHERE ${sameText('user_id', ':userId')} AND expires_at > ${now}
    ORDER BY created_at DESC, id DESC LIMIT ${MAX_LISTED}`;

/** Selects a user's sessions that have not expired, the latest created first. */
export const LIST: Sql<{ userId: string }, ShownRow> = {
  entities: ENTITIES,
  columns: SHOWN,
  text: listOfUser(SHOWN),
};

/** Does the same without the application's data and claims, and without the rest of a long `info`. */
export const LIST_BRIEF: Sql<{ userId: string }, BriefRow> = {
  entities: ENTITIES,
  columns: BRIEF,
  text: listOfUser(BRIEF_VALUES),
};

/** Selects the next of the names of types in the table, in their order. The index on the type leads to it. */
export const NEXT_TYPE: Sql<{ after: string }, Pick<SessionEntity, 'type'>> = {
  entities: ENTITIES,
  columns: 'type',
  text: 'SELECT type FROM user_session WHERE type > :after ORDER BY type LIMIT 1',
};

/** A page of the sessions of all users. */
export interface PageFilter {
  readonly userId?: string;
  /** A type, in exactly this spelling. */
  readonly type?: string;
  /** The lowest id. Give it together with `since`: it leads to the first row by the index. */
  readonly from?: string;
  /** The earliest time of creation, in milliseconds since 1970. */
  readonly since?: number;
  /** An id above all that are listed. */
  readonly before?: string;
}

const pages = new Map<string, Sql<SqlValues, BriefRow>>();

/** Selects sessions that have not expired, the latest first. Ids sort by the time at which the login began. */
export function page({ userId, type, from, since, before }: PageFilter): Sql<SqlValues, BriefRow> {
  const key = [userId, type, from, since, before].map((value) => value !== undefined).join();
  let sql = pages.get(key);
  if (!sql)
    pages.set(
      key,
      (sql = { entities: ENTITIES, columns: BRIEF, text: textOfPage({ userId, type, from, since, before }) }),
    );
  return sql;
}

const textOfPage =
  ({ userId, type, from, since, before }: PageFilter) =>
  ({ kind, now, sameText }: Dialect) => {
    // With two types, MySQL and MariaDB use the index on type and id. With one, they would read all sessions of the type.
    const ofType = kind === 'mysql' ? "type IN (:type, '')" : 'type = :type';
    const conditions = [
      `expires_at > ${now}`,
      ...(userId === undefined ? [] : [sameText('user_id', ':userId')]),
      ...(type === undefined ? [] : [ofType]),
      ...(from === undefined ? [] : ['id >= :from']),
      ...(since === undefined ? [] : ['created_at >= :since']),
      ...(before === undefined ? [] : ['id < :before']),
    ];
    const order = type !== undefined && kind === 'mysql' ? 'type DESC, id DESC' : 'id DESC';
    return `SELECT ${BRIEF_VALUES} FROM user_session WHERE ${conditions.join(' AND ')} ORDER BY ${order} LIMIT :limit`;
  };
