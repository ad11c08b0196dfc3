import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { Job } from '../database/job.js';
import type { Sql, SqlValues } from '../database/sql.js';
import type { AdminAction, ChangeWriter, SessionChange } from './change-log.js';
import { firstSessionIdOf, uuidV7 } from './id.js';
import { readUserId } from '../token/access-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import { randomId } from '../token/random-id.js';
import { SessionAdminActionEntity } from './session-admin-action.entity.js';

/** What an administrator did. */
export interface RecordedAdminAction {
  /** A UUID. Ids sort by time. */
  readonly id: string;
  /** When it happened, by the database's clock. */
  readonly at: Date;
  readonly action: AdminAction['action'];
  /** The administrator. Null if the caller is not known by the id of a user. */
  readonly by: UserId | null;
  /** The user whose sessions were ended. Null if they were everybody's, and for a replay of events. */
  readonly userId: UserId | null;
  /** The session that was ended. Null unless it was a single one. */
  readonly sessionId: string | null;
  /**
   * How many sessions were ended. Null for a replay of events, while the end of everybody's sessions is in progress, and if a user
   * had 1,000 or more.
   */
  readonly ended: number | null;
  /** What else there is to say: the type of the session, or what was to be replayed. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** The filter and page of `SessionAdministration.actions`. */
export interface AdminActionFilter {
  /** Only what this administrator did. Default: everything. */
  readonly by?: UserId | undefined;
  /** Only actions at this time or later. Default: all. */
  readonly since?: Date | undefined;
  /** Only actions before this time. Default: all. */
  readonly until?: Date | undefined;
  /** The `next` of the previous page. Default: the first page. */
  readonly after?: string | undefined;
  /** Page size. Default: 50. */
  readonly limit?: number | undefined;
}

/** A page of `SessionAdministration.actions`. */
export interface AdminActionPage {
  /** The latest first. */
  readonly actions: readonly RecordedAdminAction[];
  /** Pass it as `after` to get the next page. Null if this is the last page. */
  readonly next: string | null;
}

const ENTITIES = [SessionAdminActionEntity];
const COLUMNS = 'id, action, by_user_id, user_id, session_id, ended, details, created_at';
/** Sorts after every id. */
const AFTER_ALL = 'g';

const READ_TIME: Sql<SqlValues, Pick<SessionAdminActionEntity, 'createdAt'>> = {
  entities: ENTITIES,
  columns: 'created_at',
  text: ({ now }) => `SELECT ${now} AS created_at`,
};

const INSERT: Sql<SqlValues> = {
  entities: ENTITIES,
  text: `
    INSERT INTO session_admin_action (${COLUMNS})
    VALUES (:id, :action, :by, :userId, :sessionId, :ended, :details, :now)`,
};

const SET_ENDED: Sql<{ id: string; ended: number }> = {
  entities: ENTITIES,
  text: 'UPDATE session_admin_action SET ended = :ended WHERE id = :id',
};

const list = (isByOne: boolean): Sql<SqlValues, SessionAdminActionEntity> => ({
  entities: ENTITIES,
  columns: COLUMNS,
  text: ({ sameText }) => `
    SELECT ${COLUMNS} FROM session_admin_action
    WHERE id >= :from AND id < :before ${isByOne ? `AND ${sameText('by_user_id', ':by')}` : ''}
    ORDER BY id DESC LIMIT :limit`,
});
const LIST = list(false);
const LIST_BY = list(true);

const FIND_OLD: Sql<{ before: string; limit: number }, Pick<SessionAdminActionEntity, 'id'>> = {
  entities: ENTITIES,
  columns: 'id',
  text: 'SELECT id FROM session_admin_action WHERE id < :before ORDER BY id LIMIT :limit',
};

const DELETE_UP_TO: Sql<{ last: string }> = {
  entities: ENTITIES,
  text: 'DELETE FROM session_admin_action WHERE id <= :last',
};

/**
 * Records what administrators do: one row for each action, however many sessions it ends.
 *
 * Invariant: the row of an action that ends sessions is written in the transaction of the ending. That of any other action is
 * written before the action. If it cannot be written, the action fails.
 */
export class AdminActions implements ChangeWriter {
  readonly kinds = ['admin-action'] as const;

  /**
   * @param cleanup elects the process that cleans up
   * @param retention how long rows are kept, in milliseconds
   * @param now returns the database's time, in milliseconds since 1970
   */
  constructor(
    private readonly database: Database,
    private readonly cleanup: Pick<Job, 'run'>,
    private readonly retention: number,
    private readonly now: () => number,
    private readonly config: TokenConfig,
  ) {}

  async write(transaction: EntityManager, changes: readonly SessionChange[]): Promise<void> {
    for (const change of changes) if (change.kind === 'admin-action') await this.record(change, transaction);
  }

  /**
   * Records an action with the database's time.
   * @param transaction Default: a statement of its own
   * @returns the id of the record
   * @throws UnavailableError if the database fails
   */
  async record(done: AdminAction, transaction?: EntityManager): Promise<string> {
    const [{ createdAt }] = await this.database.query(READ_TIME, {}, transaction);
    const now = createdAt.getTime();
    const id = uuidV7(now, randomId());
    const { action, by = null, userId = null, sessionId = null, ended = null } = done;
    const details = JSON.stringify(done.details ?? {});
    await this.database.execute(INSERT, { id, action, by, userId, sessionId, ended, details, now }, transaction);
    return id;
  }

  /** Adds to a record how many sessions have ended. */
  async setEnded(id: string, ended: number, transaction: EntityManager): Promise<void> {
    await this.database.execute(SET_ENDED, { id, ended }, transaction);
  }

  /** See `SessionAdministration.actions`. */
  async list({ by, since, until, after = AFTER_ALL, limit = 50 }: AdminActionFilter): Promise<AdminActionPage> {
    const end = until ? firstSessionIdOf(until.getTime()) : AFTER_ALL;
    const page = {
      from: since ? firstSessionIdOf(since.getTime()) : '',
      before: after < end ? after : end,
      limit: limit + 1,
    };
    const rows = await (by === undefined
      ? this.database.query(LIST, page)
      : this.database.query(LIST_BY, { ...page, by: String(by) }));
    const shown = rows.slice(0, limit);
    return {
      actions: shown.map((row) => this.described(row)),
      next: (rows.length > limit && shown.at(-1)?.id) || null,
    };
  }

  /**
   * Deletes up to `limit` old records in one transaction.
   * @returns how many were deleted, or undefined if another process is doing it
   */
  async deleteOld(limit: number): Promise<number | undefined> {
    const { database } = this;
    return this.cleanup.run(async (manager) => {
      const before = firstSessionIdOf(this.now() - this.retention);
      const last = (await database.query(FIND_OLD, { before, limit }, manager)).at(-1);
      return last ? database.execute(DELETE_UP_TO, { last: last.id }, manager) : 0;
    });
  }

  private described(row: SessionAdminActionEntity): RecordedAdminAction {
    const userIdOf = (id: string | null) => (id === null ? null : (readUserId(this.config, id) ?? id));
    return {
      id: row.id,
      at: row.createdAt,
      action: row.action as AdminAction['action'],
      by: userIdOf(row.byUserId),
      userId: userIdOf(row.userId),
      sessionId: row.sessionId,
      ended: row.ended,
      details: JSON.parse(row.details) as RecordedAdminAction['details'],
    };
  }
}
