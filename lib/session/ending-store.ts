import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { EndedSession, SessionChange } from './change-log.js';
import type { EndReason } from './events.js';
import { isSessionId } from './id.js';
import { DELETE_PREPARED, LIST_ALL } from './login-sql.js';
import type { EndCondition, EndingNotes, RowEndings } from './row-endings.js';
import { SessionEntity } from './session.entity.js';
import type { SessionRows } from './session-rows.js';
import type { ShownRow } from './session.js';
import { foldedType } from './policies.js';
import type { UserRows } from './user-row.js';

/** Which sessions of a user `endOfUser` ends. */
export interface EndingOfUser {
  /** Only sessions of these types. Default: all sessions, whatever their type. */
  readonly types?: readonly string[];
  /** The id of a session to keep. */
  readonly except?: string;
  /** Throws if `except` is not an active session. Nothing is then changed. */
  readonly assertKept?: (kept: ShownRow | undefined) => void;
  readonly reason: EndReason;
  /** The user who ends them, such as an administrator. Default: not known. */
  readonly by?: string | undefined;
}

/** What one transaction of `endOfUser` has done. */
interface EndedBatch {
  readonly ended: EndedSession[];
  /** When the logins ended, in milliseconds since 1970. */
  readonly notBefore: number;
  readonly isLast: boolean;
}

/** Maximum number of sessions that one transaction ends. */
const MAX_ENDED = 1000;

/**
 * Ends sessions: one, some or all of a user, or those in a range of ids.
 *
 * Invariants:
 * - One transaction deletes the row of a session and writes its revocation entry (see `RowEndings`).
 * - `endSome` and `endOfUser` run under the lock of the user (see `UserRows`).
 */
export class EndingStore {
  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    private readonly database: Database,
    private readonly users: UserRows,
    private readonly rows: SessionRows,
    private readonly endings: RowEndings,
    private readonly now: () => number,
  ) {}

  /**
   * Ends one session: deletes its row and writes its revocation entry, or does neither.
   * @param condition must still hold for the row
   * @param notes are written in the same transaction, if this call ends the session
   * @returns undefined if the session had already ended, or the condition does not hold
   */
  async end(
    row: ShownRow,
    reason: EndReason,
    condition: EndCondition = {},
    notes: EndingNotes = {},
  ): Promise<EndedSession | undefined> {
    return this.endings.endOne(row, reason, condition, notes);
  }

  /**
   * Ends the sessions that `choose` picks from a user's active sessions, under the lock of the user. If it throws, nothing
   * is changed.
   * @throws whatever `choose` throws
   */
  async endSome(
    userId: string,
    reason: EndReason,
    choose: (active: ShownRow[]) => ShownRow[],
  ): Promise<EndedSession[]> {
    return this.users.asUser(userId, async (manager) => {
      await this.users.lock(manager, userId);
      return this.endings.end(manager, choose(await this.rows.active(manager, userId)), reason);
    });
  }

  /**
   * Ends all sessions of a user, or all of some types, and makes sure that no login which has already started inserts one.
   * Ends up to 1,000 sessions in one transaction. Only a user from before `maxSessions` can have more, which then end in
   * further transactions. Prepared sessions are deleted too.
   * @param publish is called after each transaction with the sessions that it ended
   * @returns when the logins ended, in milliseconds since 1970: a login that starts later may insert
   * @throws whatever `assertKept` throws
   */
  async endOfUser(
    userId: string,
    ending: EndingOfUser,
    publish: (ended: readonly EndedSession[]) => void,
  ): Promise<number> {
    let notBefore: number | undefined;
    for (let after: string | undefined = ''; after !== undefined;) {
      const batch: EndedBatch & { last?: string } = await this.endBatchOfUser(userId, ending, after, notBefore);
      notBefore ??= batch.notBefore;
      publish(batch.ended);
      after = batch.isLast ? undefined : batch.last;
    }
    return notBefore as number;
  }

  private endBatchOfUser(
    userId: string,
    { types, except, assertKept, reason, by }: EndingOfUser,
    after: string,
    knownNotBefore: number | undefined,
  ): Promise<EndedBatch & { last?: string }> {
    return this.users.asUser(userId, async (manager) => {
      const notBefore = knownNotBefore ?? (await this.users.endLogins(manager, userId, types));
      if (knownNotBefore !== undefined) await this.users.lock(manager, userId);
      const found = await this.database.query(LIST_ALL, { userId, now: this.now(), after, limit: MAX_ENDED }, manager);
      const keys = types?.map(foldedType);
      const chosen = found.filter(({ type }) => !keys || keys.includes(foldedType(type))).map(({ id }) => id);
      if (except !== undefined && isSessionId(except)) chosen.push(except);
      const locked = (await this.rows.lock(manager, chosen)).filter((row) => row.userId === userId);
      if (after === '') assertKept?.(locked.find((row) => row.id === except && this.rows.isLive(row)));
      for (const { id, preparedAt } of locked)
        if (preparedAt && id !== except) await this.database.execute(DELETE_PREPARED, { id }, manager);
      const live = locked.filter((row) => row.id !== except && this.rows.isLive(row));
      const revoked: SessionChange = {
        ...{ kind: 'user-revoked', userId, reason, by },
        ...(types && { types }),
        ...(except !== undefined && { except }),
      };
      const isLast = found.length < MAX_ENDED;
      const action: SessionChange = {
        ...{ kind: 'admin-action', action: 'end-user', by, userId },
        ended: isLast ? live.length : undefined,
        details: { types: types ?? null, kept_session_id: except ?? null },
      };
      const also = knownNotBefore === undefined ? [revoked, ...(reason === 'admin' ? [action] : [])] : [];
      const ended = await this.endings.endLocked(manager, live, reason, { also, by });
      return { ended, notBefore, isLast, last: found.at(-1)?.id };
    });
  }

  /**
   * Ends up to `limit` sessions in the order of their ids, those after `after` and before `until`.
   * @param by the user who ends them, such as an administrator. Default: not known
   * @returns the sessions that it ended, and in `last` the id from which to continue; absent if no more sessions are left
   */
  async endBetween(
    manager: EntityManager,
    after: string,
    until: string,
    reason: EndReason,
    limit: number,
    by?: string,
  ): Promise<{ ended: EndedSession[]; last?: string }> {
    const query = manager.createQueryBuilder(SessionEntity, 'session').select('session.id', 'id');
    query.where('session.id > :after AND session.id < :until', { after, until }).orderBy('session.id').limit(limit);
    const ids = (await query.getRawMany<{ id: string }>()).map(({ id }) => id);
    const ended = await this.endings.endLocked(manager, await this.rows.lock(manager, ids), reason, { by });
    return { ended, ...(ids.length === limit && { last: ids[limit - 1] }) };
  }
}
