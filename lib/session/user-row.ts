import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { Dialect } from '../database/dialect.js';
import type { Sql } from '../database/sql.js';
import { LOCK_WAIT, MAX_LOGIN, NODE_CLOCK_MARGIN } from '../engine/timing.js';
import { UnavailableError } from '../errors.js';
import { foldedType } from './policies.js';
import { SessionEntity } from './session.entity.js';
import { SessionUserEntity } from './session-user.entity.js';

/** The columns of a user's row. */
const USER = 'user_key, version, not_before, not_before_by_type, used_at';

/** A login, for the question whether it may still insert its session. */
export interface StartedLogin {
  /** A time that was not after its start, in milliseconds since 1970 by the database's clock. */
  readonly startedAt: number;
  /** The type of the session. */
  readonly type: string;
}

/**
 * Writes the row, which is the lock. The version wraps around, because an overflow would lock the user out.
 *
 * MariaDB reads the comment, which MySQL skips: it bounds the wait without a change to the pooled connection.
 * @param notBefore an expression for the new value of `not_before`. Default: the value stays
 */
export function writeUserRow({ kind, now, greatest }: Dialect, notBefore?: string): string {
  const first = `INTO session_user`;
  const values = `(user_key, version, not_before, used_at) VALUES (:userId, 1, ${notBefore ?? 0}, ${now})`;
  const old = kind === 'mysql' ? '' : 'existing.';
  const set = `version = (${old}version + 1) % 1000000000, used_at = ${now}${
    notBefore ? `, not_before = ${greatest(`${old}not_before`, notBefore)}` : ''
  }`;
  if (kind !== 'mysql') return `INSERT ${first} AS existing ${values} ON CONFLICT (user_key) DO UPDATE SET ${set}`;
  const wait = `/*M! SET STATEMENT innodb_lock_wait_timeout = ${LOCK_WAIT / 1000} FOR */`;
  return `${wait} INSERT ${first} ${values} ON DUPLICATE KEY UPDATE ${set}`;
}

const entities = [SessionUserEntity];

const LOCK: Sql<{ userId: string }, SessionUserEntity> = {
  entities,
  columns: USER,
  text: (dialect) => `${writeUserRow(dialect)} ${dialect.returning(USER)}`,
};

const LOCK_AND_END_LOGINS: Sql<{ userId: string; margin: number }, SessionUserEntity> = {
  entities,
  columns: USER,
  text: (dialect) => `${writeUserRow(dialect, `${dialect.now} + :margin`)} ${dialect.returning(USER)}`,
};

const READ: Sql<{ userId: string }, SessionUserEntity> = {
  entities,
  columns: USER,
  text: `SELECT ${USER} FROM session_user WHERE user_key = :userId`,
};

const WRITE_TYPES: Sql<{ userId: string; types: string }> = {
  entities,
  text: `UPDATE session_user SET not_before_by_type = :types WHERE user_key = :userId`,
};

const LIST_UNUSED: Sql<{ after: string; limit: number }, SessionUserEntity> = {
  entities,
  columns: USER,
  text: `SELECT ${USER} FROM session_user WHERE user_key > :after ORDER BY user_key LIMIT :limit`,
};

/** Checks both conditions again: a login may have written the row since it was listed. */
const DELETE_UNUSED: Sql<{ userId: string; before: number }> = {
  entities: [SessionUserEntity, SessionEntity],
  text: ({ sameText }) => `
    DELETE FROM session_user
    WHERE user_key = :userId AND used_at < :before
      AND NOT EXISTS (SELECT 1 FROM user_session WHERE ${sameText('user_id', ':userId')})`,
};

/**
 * The rows of users: one per user, and the only lock of a user.
 *
 * Invariants:
 * - Every transaction that inserts a session, or ends several sessions of a user, first writes the user's row. One server
 *   makes the second transaction wait. On a cluster with several writers, its commit fails and it is tried again.
 * - A login that started before an ending of all sessions inserts no session, whichever of the two comes first: either the
 *   ending finds the session, or the login finds the time of the ending.
 */
export class UserRows {
  private margin?: number;

  constructor(private readonly database: Database) {}

  /** Runs a transaction whose first statement is to be `lock` or `endLogins` of this user. */
  async asUser<T>(userId: string, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    return this.database.transaction(`user ${userId}`, work);
  }

  /** Locks the user until the end of the transaction. It must be the first statement of the transaction. */
  lock(transaction: EntityManager, userId: string): Promise<SessionUserEntity> {
    return this.write(LOCK, { userId }, transaction);
  }

  /**
   * Locks the user, and makes sure that no login which has already started inserts a session.
   * @param types only logins of these types. Default: all logins
   * @returns the time of the ending: a login that starts later may insert. In milliseconds since 1970
   */
  async endLogins(transaction: EntityManager, userId: string, types?: readonly string[]): Promise<number> {
    const margin = await this.readMargin(transaction);
    if (!types) {
      const row = await this.write(LOCK_AND_END_LOGINS, { userId, margin }, transaction);
      return row.notBefore.getTime();
    }
    const row = await this.lock(transaction, userId);
    const notBefore = row.usedAt.getTime() + margin;
    const byType = { ...row.notBeforeByType };
    for (const type of types.map(foldedType)) byType[type] = Math.max(byType[type] ?? 0, notBefore);
    await this.database.execute(WRITE_TYPES, { userId, types: JSON.stringify(byType) }, transaction);
    return notBefore;
  }

  /**
   * Deletes rows that have not been written for a day and whose users have no sessions. Looks only at the next rows after
   * `after`, so that each call takes a short time, however many users there are.
   * @param before the time of the last write, in milliseconds since 1970
   * @returns how many it deleted, and from where to continue; `last` is absent at the end of the table
   */
  async deleteUnused(
    transaction: EntityManager,
    before: number,
    after: string,
    limit: number,
  ): Promise<{ deleted: number; last?: string }> {
    const found = await this.database.query(LIST_UNUSED, { after, limit }, transaction);
    const unused = found.filter(({ usedAt }) => usedAt.getTime() < before);
    let deleted = 0;
    for (const { userKey } of unused)
      deleted += await this.database.execute(DELETE_UNUSED, { userId: userKey, before }, transaction);
    return { deleted, ...(found.length === limit && { last: found[limit - 1].userKey }) };
  }

  private async write<V extends { userId: string }>(
    sql: Sql<V, SessionUserEntity>,
    values: V,
    transaction: EntityManager,
  ): Promise<SessionUserEntity> {
    const [row] = await this.database.query(sql, values, transaction);
    if (row) return row;
    // An INSERT returns no row on MySQL.
    const [read] = await this.database.query(READ, values, transaction);
    return read;
  }

  /** Reads once whether several servers accept writes, as in a Galera cluster or in a group of MySQL. */
  private async readMargin(transaction: EntityManager): Promise<number> {
    if (this.margin !== undefined) return this.margin;
    if (this.database.kind !== 'mysql') return (this.margin = 0);
    const found = await transaction.query<unknown[]>(
      "SHOW VARIABLES WHERE Variable_name IN ('wsrep_on', 'group_replication_group_name') AND Value NOT IN ('', 'OFF')",
    );
    return (this.margin = found.length > 0 ? NODE_CLOCK_MARGIN : 0);
  }
}

/**
 * Checks that no ending has overtaken a login.
 * @throws UnavailableError if the sessions of the user were ended after the login started, or it took longer than
 * `MAX_LOGIN`. The client may log in again
 */
export function assertNotOvertaken(
  user: Pick<SessionUserEntity, 'notBefore' | 'notBeforeByType' | 'usedAt'>,
  { startedAt, type }: StartedLogin,
): void {
  const notBefore = Math.max(user.notBefore.getTime(), user.notBeforeByType?.[foldedType(type)] ?? 0);
  if (notBefore >= startedAt)
    throw new UnavailableError(new Error('the sessions of the user were ended while the login was in progress'));
  if (user.usedAt.getTime() - startedAt > MAX_LOGIN)
    throw new UnavailableError(new Error(`the login took more than ${MAX_LOGIN / 60_000} minutes`));
}
