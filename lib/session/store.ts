import { Brackets, type EntityManager, In, LessThanOrEqual, MoreThan } from 'typeorm';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';
import type { Database, Transaction } from '../database/database.js';
import type { Sql } from '../database/sql.js';
import type { RevocationTable } from '../revocation/revocation-table.js';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import type { ChangeLog, EndedSession } from './change-log.js';
import type { ClientInfo } from './client-info.js';
import type { EndReason } from './events.js';
import { isSessionId } from './id.js';
import { type EndCondition, type EntryTimes, RowEndings } from './row-endings.js';
import type { SeenGeneration } from './seen-generations.js';
import { SessionEntity } from './session.entity.js';
import {
  activeValues,
  type CheckedRow,
  countActive,
  type CountedRow,
  FIND,
  FIND_CURRENT,
  FIND_FOR_CHECK,
  FIND_NEXT,
  INSERT,
  listActive,
  RECOVER,
  ROTATE,
  type RotationValues,
  sessionValues,
  SLIDE,
  TOUCH,
} from './session-sql.js';
import type { ShownRow } from './session.js';

export type { EndedSession } from './change-log.js';
export type { EndCondition } from './row-endings.js';
export type { CountedRow } from './session-sql.js';

/** The values that a new generation writes. */
export interface NextGeneration {
  readonly jti: string;
  readonly kid: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** Milliseconds since 1970. Absent to leave `lastUpdate` as it is. */
  readonly lastUpdate?: number;
  /**
   * The client that asked for it. Its address and user agent are written even if unknown. Absent to leave the columns as
   * they are.
   */
  readonly client?: ClientInfo;
}

/** Conditions under which `rotate` writes. */
export interface RotateCondition {
  /** The current token must be at least this old, in milliseconds. */
  readonly grace: number;
  /**
   * The row has not been read, so its expiry must equal the token's. Without this check, `rotate` could undo a change of the
   * row's expiry, or store an expiry that was forged with our key.
   */
  readonly unread?: boolean;
  /**
   * The session must have no absolute expiry. Set this to extend a session whose row has not been read: the token does not
   * contain the absolute expiry.
   */
  readonly withoutBound?: boolean;
  /** Also write the replaced token to the blacklist. */
  readonly blacklistParent?: boolean;
}

/** Chooses which of a user's active sessions a login ends. If it throws, nothing is changed. */
export type ChooseEvicted = (active: CountedRow[]) => CountedRow[];

/**
 * Runs all SQL on sessions. The statements that requests need are in `session-sql.ts`.
 *
 * Invariants:
 * - Sessions of one user are counted, evicted and inserted under the lock of that user.
 * - A generation has at most one successor, by compare-and-swap on `refreshJti`.
 * - One transaction deletes the row of a session and writes its revocation entry (see `RowEndings`).
 */
export class SessionStore {
  private readonly endings: RowEndings;

  /** @param changes writers that take part in the transaction of each change */
  constructor(
    private readonly database: Database,
    private readonly revocations: RevocationTable,
    changes: ChangeLog,
    private readonly times: EntryTimes,
  ) {
    this.endings = new RowEndings(database, revocations, changes, times);
  }

  // ─── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Finds a session, expired or not. Sends no query if the id is not a UUID in the form that we write. */
  async find(id: string): Promise<SessionEntity | null> {
    if (!isSessionId(id)) return null;
    const [row] = await this.database.query(FIND, { id });
    return row ?? null;
  }

  /** Finds a session, expired or not, and reads only the columns that `accessCheck: 'session'` needs. */
  async findForCheck(id: string): Promise<CheckedRow | null> {
    if (!isSessionId(id)) return null;
    const [row] = await this.database.query(FIND_FOR_CHECK, { id });
    return row ?? null;
  }

  /** Lists a user's sessions that have not expired, the earliest created first. */
  async listActive(userId: string, types: readonly string[]): Promise<ShownRow[]> {
    return this.active(undefined, userId, types);
  }

  /**
   * Lists sessions of any user that have not expired, the latest created first. Ids sort by the time of creation.
   * @param filter.from the lowest id
   * @param filter.before an id above all that are listed
   */
  async page(
    { userId, type, from, before }: { userId?: string; type?: string; from?: string; before?: string },
    limit: number,
  ): Promise<SessionEntity[]> {
    return this.database.run((manager) => {
      const query = manager.createQueryBuilder(SessionEntity, 'session');
      query.where('session.expiresAt > :now', { now: this.times.now() });
      if (userId !== undefined) query.andWhere(this.database.sameText('session.userId', 'userId'), { userId });
      // With two types, MySQL and MariaDB use the index on type and id. With one, they would read all sessions of the type.
      if (type !== undefined && this.database.kind === 'mysql')
        query.andWhere("session.type IN (:type, '')", { type }).orderBy('session.type', 'DESC');
      else if (type !== undefined) query.andWhere('session.type = :type', { type });
      if (from !== undefined) query.andWhere('session.id >= :from', { from });
      if (before !== undefined) query.andWhere('session.id < :before', { before });
      return query.addOrderBy('session.id', 'DESC').limit(limit).getMany();
    });
  }

  /** Whether a session that has not expired has a refresh token signed by this key. Scans every session. */
  async isKeyInUse(manager: EntityManager, refreshKid: string): Promise<boolean> {
    return manager.existsBy(SessionEntity, { refreshKid, expiresAt: MoreThan(new Date(this.times.now())) });
  }

  // ─── Creating and changing ────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Inserts a session. With `chooseEvicted`, it first ends the chosen sessions, in one transaction under the lock of the
   * user. Without it, no limit applies, and the login is one INSERT.
   * @param types the types of the sessions to choose from. Default: that of the new session
   * @returns the sessions that it ended
   * @throws whatever `chooseEvicted` throws
   */
  async create(
    row: SessionEntity,
    chooseEvicted?: ChooseEvicted,
    types: readonly string[] = [row.type],
  ): Promise<EndedSession[]> {
    if (!chooseEvicted) {
      await this.insert(undefined, row);
      return [];
    }
    return this.asUser(row.userId, async (manager) => {
      const { isOneStatement } = this.endings;
      const now = row.createdAt.getTime();
      // If the statement that ends a session also returns its row, the choice needs only a few columns.
      const active = isOneStatement
        ? await this.database.query(countActive(types.length), activeValues(row.userId, types, now), manager)
        : await this.active(manager, row.userId, types, now);
      const evicted = chooseEvicted(active) as ShownRow[];
      // Evict before the insert: every statement locks older rows before newer ones.
      const ended = await this.endings.end(manager, evicted, 'evicted', { successor: row });
      if (evicted.length === 0 || !isOneStatement) await this.insert(manager, row);
      return ended;
    });
  }

  /**
   * Ends an active session and inserts another one of the same user, under the lock of the user. Limits do not apply.
   * @param make returns the new session, given the old one, whose row is locked
   * @returns undefined if the old session was no longer active. The database is then unchanged
   */
  async replace(
    { id, userId }: Pick<SessionEntity, 'id' | 'userId'>,
    reason: EndReason,
    make: (old: SessionEntity) => SessionEntity,
  ): Promise<EndedSession | undefined> {
    return this.asUser(userId, async (manager) => {
      const [old] = await this.lockRows(manager, [id]);
      if (!old || old.userId !== userId || old.expiresAt.getTime() <= this.times.now()) return undefined;
      const [ended] = await this.endings.end(manager, [old], reason);
      if (!ended) return undefined;
      await this.insert(manager, make(old));
      return ended;
    });
  }

  /**
   * Changes the data or claims of an active session. Concurrent changes never overwrite each other.
   * @param change returns what to write, given the locked row; if it throws, nothing is changed
   * @returns the row after the change; null if the session is not active
   * @throws whatever `change` throws
   */
  async change(
    id: string,
    change: (row: SessionEntity) => Partial<Pick<SessionEntity, 'data' | 'claims'>>,
  ): Promise<SessionEntity | null> {
    if (!isSessionId(id)) return null;
    const changed = await this.database.transaction(undefined, async (manager) => {
      const [row] = await this.lockRows(manager, [id]);
      if (!row || row.expiresAt.getTime() <= this.times.now()) return null;
      const set = change(row);
      await manager.update(SessionEntity, { id }, set as QueryDeepPartialEntity<SessionEntity>);
      return Object.assign(row, set);
    });
    return changed ?? null;
  }

  // ─── Refresh ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Replaces the presented token with the next generation if it is the current one, by compare-and-swap.
   * @returns the updated row; null if the token is not current, the session has expired, or `condition` does not hold
   */
  async rotate(
    token: RefreshTokenClaims,
    next: NextGeneration,
    now: number,
    condition: RotateCondition,
  ): Promise<SessionEntity | null> {
    const values = rotationValues(token, next, now, condition);
    const update = (transaction: Transaction) => this.update(ROTATE, FIND_NEXT, values, transaction);
    return this.supersede(update, condition.blacklistParent ? token : undefined);
  }

  /**
   * Replaces a current token that was never used, and so was probably lost, with another successor of the same parent.
   * @returns the updated row; null if the row has changed since it was read, or the current token has been used
   */
  async recover(
    row: SessionEntity,
    next: NextGeneration,
    now: number,
    condition: { blacklistLost?: boolean } = {},
  ): Promise<SessionEntity | null> {
    const lost = { ...row, sessionId: row.id, jti: row.refreshJti, expiresAt: row.expiresAt.getTime() };
    const values = rotationValues(lost, next, now, { grace: 0 });
    const update = (transaction: Transaction) => this.update(RECOVER, FIND_NEXT, values, transaction);
    return this.supersede(update, condition.blacklistLost ? lost : undefined);
  }

  /**
   * Sets `lastUpdate`, and marks the token's generation as seen in use.
   * @param sliding the new expiry of a permanent session. It is not written if the last use was less than `touchInterval`
   * milliseconds ago
   * @returns the row; null if the token is not current, the session has expired, or the last use was too recent. In that last
   * case, MySQL returns the unchanged row
   */
  async touch(
    token: RefreshTokenClaims,
    now: number,
    sliding?: { expiresAt: number; touchInterval: number },
  ): Promise<SessionEntity | null> {
    const values = presentedValues(token, now);
    if (!sliding) return this.update(TOUCH, FIND_CURRENT, values, undefined);
    const { expiresAt, touchInterval } = sliding;
    const slide = { ...values, nextExpiresAt: expiresAt, touchedBefore: now - touchInterval };
    return this.update(SLIDE, FIND_CURRENT, slide, undefined);
  }

  /** Marks generations as seen in use, except those that have been superseded in the meantime. */
  async confirm(batch: readonly SeenGeneration[]): Promise<void> {
    await this.database.run((manager) =>
      manager
        .createQueryBuilder()
        .update(SessionEntity)
        .set({ confirmedGeneration: () => 'generation' })
        .where('confirmedGeneration < generation AND id IN (:...ids)', { ids: batch.map((entry) => entry.sessionId) })
        .andWhere(
          new Brackets((either) => {
            batch.forEach(({ sessionId, generation }, at) =>
              either.orWhere(`(id = :id${at} AND generation = :generation${at})`, {
                [`id${at}`]: sessionId,
                [`generation${at}`]: generation,
              }),
            );
          }),
        )
        .execute(),
    );
  }

  // ─── Ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Ends one session: deletes its row and writes its revocation entry, or does neither.
   * @param condition must still hold for the row
   * @returns undefined if the session had already ended, or the condition does not hold
   */
  async end(row: ShownRow, reason: EndReason, condition: EndCondition = {}): Promise<EndedSession | undefined> {
    return this.endings.endOne(row, reason, condition);
  }

  /**
   * Ends the sessions that `choose` picks from a user's active sessions, under the lock of the user. If it throws, nothing
   * is changed.
   * @throws whatever `choose` throws
   */
  async endOfUser(
    userId: string,
    types: readonly string[],
    reason: EndReason,
    choose: (active: ShownRow[]) => ShownRow[],
  ): Promise<EndedSession[]> {
    return this.asUser(userId, async (manager) =>
      this.endings.end(manager, choose(await this.active(manager, userId, types)), reason),
    );
  }

  /**
   * Ends up to `limit` sessions in the order of their ids, those after `after` and before `until`.
   * @returns the sessions that it ended, and in `last` the id from which to continue; absent if no more sessions are left
   */
  async endBetween(
    after: string,
    until: string,
    reason: EndReason,
    limit: number,
  ): Promise<{ ended: EndedSession[]; last?: string }> {
    const batch = await this.database.transaction(undefined, async (manager) => {
      const query = manager.createQueryBuilder(SessionEntity, 'session').select('session.id', 'id');
      query.where('session.id > :after AND session.id < :until', { after, until }).orderBy('session.id').limit(limit);
      const ids = (await query.getRawMany<{ id: string }>()).map(({ id }) => id);
      const ended = await this.endings.endLocked(manager, await this.lockRows(manager, ids), reason);
      return { ended, ...(ids.length === limit && { last: ids[limit - 1] }) };
    });
    return batch ?? { ended: [] };
  }

  /**
   * Ends up to `limit` sessions that have expired.
   * @returns undefined if another process is cleaning up
   */
  async endExpired(limit: number): Promise<EndedSession[] | undefined> {
    return this.cleanUp(async (manager) => {
      const expiresAt = new Date(this.times.now());
      const found = await manager.find(SessionEntity, {
        select: { id: true },
        where: { expiresAt: LessThanOrEqual(expiresAt) },
        order: { expiresAt: 'ASC' },
        take: limit,
      });
      const locked = await this.lockRows(
        manager,
        found.map(({ id }) => id),
      );
      // A refresh may have extended a session before it was locked.
      const expired = locked.filter((row) => row.expiresAt <= expiresAt);
      return this.endings.endLocked(manager, expired, 'expired', { haveExpired: true });
    });
  }

  /**
   * Ends up to `limit` sessions whose type is not in `types` and whose `lastUpdate` is not after `unusedSince`.
   * @returns undefined if another process is cleaning up
   */
  async endOfRemovedTypes(
    types: readonly string[],
    unusedSince: number,
    limit: number,
  ): Promise<EndedSession[] | undefined> {
    return this.cleanUp(async (manager) => {
      const query = manager.createQueryBuilder(SessionEntity, 'session').select('session.id', 'id').limit(limit);
      query.where('session.type NOT IN (:...types) AND session.lastUpdate <= :unusedSince', { types, unusedSince });
      const found = await query.getRawMany<{ id: string }>();
      const locked = await this.lockRows(
        manager,
        found.map(({ id }) => id),
      );
      // A session that was used in the meantime belongs to a process that knows its type.
      const unused = locked.filter((row) => row.lastUpdate.getTime() <= unusedSince);
      return this.endings.endLocked(manager, unused, 'expired');
    });
  }

  /**
   * Deletes up to `limit` revocation entries that have expired.
   * @returns how many it deleted; undefined if another process is cleaning up
   */
  async deleteExpiredEntries(limit: number): Promise<number | undefined> {
    // The polls of other processes may still look back for entries that expired a moment ago.
    const before = () => this.times.now() - this.times.overlap;
    return this.cleanUp((manager) => this.revocations.deleteExpired(manager, before(), limit));
  }

  // ─── Pieces ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  private async insert(transaction: Transaction, row: SessionEntity): Promise<void> {
    await this.database.execute(INSERT, sessionValues(row), transaction);
  }

  private active(
    transaction: Transaction,
    userId: string,
    types: readonly string[],
    now = this.times.now(),
  ): Promise<ShownRow[]> {
    return this.database.query(listActive(types.length), activeValues(userId, types, now), transaction);
  }

  /**
   * Updates one row and returns it.
   * @param find reads the row afterwards on MySQL, whose UPDATE returns no row
   */
  private async update<V extends object>(
    update: Sql<V, SessionEntity>,
    find: Sql<V, SessionEntity>,
    values: V,
    transaction: Transaction,
  ): Promise<SessionEntity | null> {
    let [row] = await this.database.query(update, values, transaction);
    // The affected row count is no use on MySQL: the driver's flags decide whether it counts an update that changes nothing.
    if (this.database.kind === 'mysql') [row] = await this.database.query(find, values, transaction);
    return row ?? null;
  }

  /** Runs the update. If a superseded token is given, writes it to the blacklist in the same transaction. */
  private async supersede(
    update: (transaction: Transaction) => Promise<SessionEntity | null>,
    superseded: Pick<RefreshTokenClaims, 'jti' | 'expiresAt'> | undefined,
  ): Promise<SessionEntity | null> {
    if (!superseded) return update(undefined);
    const row = await this.database.transaction(undefined, async (manager) => {
      const updated = await update(manager);
      if (updated) {
        const { id: sessionId, userId } = updated;
        const expiresAt = superseded.expiresAt === null ? updated.expiresAt : new Date(superseded.expiresAt);
        const entry = { id: superseded.jti, sessionId, userId, reason: 'rotated', expiresAt };
        await this.revocations.record(manager, 'token', [entry]);
      }
      return updated;
    });
    return row ?? null;
  }

  private async asUser<T>(userId: string, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    return (await this.database.transaction({ name: `user ${userId}` }, work)) as T;
  }

  private cleanUp<T>(work: (manager: EntityManager) => Promise<T>): Promise<T | undefined> {
    return this.database.transaction({ name: 'cleanup', ifHeld: 'give-up' }, work);
  }

  /** Reads and locks rows in the order of their primary key, as every other statement locks them. */
  private async lockRows(manager: EntityManager, ids: readonly string[]): Promise<SessionEntity[]> {
    if (ids.length === 0) return [];
    return manager.find(SessionEntity, {
      where: { id: In(ids) },
      order: { id: 'ASC' },
      ...(this.database.kind !== 'sqlite' && { lock: { mode: 'pessimistic_write' } }),
    });
  }
}

function presentedValues(
  { sessionId, type, jti, generation }: Pick<RefreshTokenClaims, 'sessionId' | 'type' | 'jti' | 'generation'>,
  now: number,
) {
  return { id: sessionId, type, jti, generation, now };
}

/** One literal, since V8 is slow with an object that is spread together on each refresh. */
function rotationValues(
  { sessionId, type, jti, generation, expiresAt }: Omit<RefreshTokenClaims, 'userId' | 'issuedAt'>,
  next: NextGeneration,
  now: number,
  condition: RotateCondition,
): RotationValues {
  const { client } = next;
  return {
    id: sessionId,
    type,
    jti,
    generation,
    now,
    nextJti: next.jti,
    nextKid: next.kid,
    nextExpiresAt: next.expiresAt,
    lastUpdate: next.lastUpdate ?? null,
    hasClient: client ? 1 : 0,
    userAgent: client?.userAgent ?? null,
    ipAddress: client?.ipAddress ?? null,
    deviceName: client?.deviceName ?? null,
    rotatedBefore: now - condition.grace,
    // A token without an expiry never matches an unread row.
    statedExpiry: condition.unread ? (expiresAt ?? 0) : null,
    mayHaveBound: condition.withoutBound ? 0 : 1,
  };
}
