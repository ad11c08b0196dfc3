import { Brackets, type EntityManager, In, LessThanOrEqual, MoreThan } from 'typeorm';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';
import type { Database } from '../database/database.js';
import type { Condition, Statements, Where, Transaction } from '../database/statements.js';
import { UnavailableError } from '../errors.js';
import { BlacklistEntity } from '../revocation/blacklist.entity.js';
import type { RevocationConfig } from '../revocation/options.js';
import type { PushedRevocations } from '../revocation/pushed-revocations.js';
import type { RevocationTable } from '../revocation/revocation-table.js';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import type { ClientInfo } from './client-info.js';
import type { SeenGeneration } from './seen-generations.js';
import { SessionEntity } from './session.entity.js';
import { SHOWN_COLUMNS, type ShownRow } from './session.js';
import { isSessionId } from './id.js';
import type { EndReason } from './events.js';

/** A session that has just been ended, by this process. */
export interface EndedSession {
  readonly row: ShownRow;
  readonly reason: EndReason;
}

/** What a new generation writes. */
export interface NextGeneration {
  readonly jti: string;
  readonly kid: string;
  /** Milliseconds. */
  readonly expiresAt: number;
  /** Absent where the policy leaves `lastUpdate` alone. */
  readonly lastUpdate?: number;
  /** Who began it, as far as that is to be written. */
  readonly client?: Partial<ClientInfo>;
}

/** What to do with the sessions of a user who logs in, given those that are active. May throw, and then nothing is done. */
export type ChooseEvicted = (active: CountedRow[]) => CountedRow[];

const CHECKED_COLUMNS = ['userId', 'type', 'expiresAt'] as const;
const COUNTED_COLUMNS = ['id', 'userId', 'type', 'createdAt', 'lastUpdate'] as const;

/** A session's row as far as limits go by it. */
export type CountedRow = Pick<SessionEntity, (typeof COUNTED_COLUMNS)[number]>;

/**
 * All SQL on sessions.
 *
 * Invariants: a session's row and its blacklist entry change places in one transaction, so that a session is either live or
 * refused; sessions of one user are counted, evicted and inserted under that user's lock; a generation is followed by at most
 * one successor, by compare-and-swap on `refreshJti`.
 */
export class SessionStore {
  private readonly statements: Statements;

  constructor(
    private readonly database: Database,
    private readonly revocations: RevocationTable,
    private readonly push: PushedRevocations,
    private readonly revocation: RevocationConfig,
    /** For how long after its end an access token of a session can be accepted, in milliseconds. */
    readonly acceptedAfterEnd: number,
    private readonly now: () => number,
  ) {
    this.statements = database.statements;
  }

  /** Anything but a uuid as we write it is unknown before any query is sent. */
  async find(id: string): Promise<SessionEntity | null> {
    if (!isSessionId(id)) return null;
    const [row] = await this.statements.select(undefined, SessionEntity, { is: { id } });
    return row ?? null;
  }

  /** Of a session no more than each request asks for, where its policy's check is `session`. */
  async findForCheck(id: string): Promise<Pick<SessionEntity, (typeof CHECKED_COLUMNS)[number]> | null> {
    if (!isSessionId(id)) return null;
    const [row] = await this.statements.select(undefined, SessionEntity, { is: { id } }, { only: CHECKED_COLUMNS });
    return row ?? null;
  }

  /** The user's sessions that have not expired, the earliest created first. */
  async listActive(userId: string, types: readonly string[]): Promise<ShownRow[]> {
    return this.active(undefined, userId, types, this.now(), SHOWN_COLUMNS);
  }

  /**
   * Anybody's sessions that have not expired, the latest created first: ids are in the order of time.
   * @param filter.from the least id @param filter.before greater than all ids
   */
  async page(
    { userId, type, from, before }: { userId?: string; type?: string; from?: string; before?: string },
    limit: number,
  ): Promise<SessionEntity[]> {
    return this.database.run((manager) => {
      const query = manager.createQueryBuilder(SessionEntity, 'session');
      query.where('session.expiresAt > :now', { now: this.now() });
      if (userId !== undefined) query.andWhere(this.database.sameText('session.userId', 'userId'), { userId });
      // Of one type, MySQL and MariaDB go by the type alone and read from its end; of two, by the type and the id.
      if (type !== undefined && this.database.kind === 'mysql')
        query.andWhere("session.type IN (:type, '')", { type }).orderBy('session.type', 'DESC');
      else if (type !== undefined) query.andWhere('session.type = :type', { type });
      if (from !== undefined) query.andWhere('session.id >= :from', { from });
      if (before !== undefined) query.andWhere('session.id < :before', { before });
      return query.addOrderBy('session.id', 'DESC').limit(limit).getMany();
    });
  }

  /** Whether the refresh token of a session that has not expired is signed by this key. Looks at every session. */
  async isKeyInUse(manager: EntityManager, refreshKid: string): Promise<boolean> {
    return manager.existsBy(SessionEntity, { refreshKid, expiresAt: MoreThan(new Date(this.now())) });
  }

  /**
   * Inserts a session. With `chooseEvicted` the user's active sessions of these types are counted first and those it names are
   * ended, all in one transaction, serialised per user. Without it, there is no limit to hold, and it is one insert.
   * @param types default: that of the session
   */
  async create(
    row: SessionEntity,
    chooseEvicted?: ChooseEvicted,
    types: readonly string[] = [row.type],
  ): Promise<EndedSession[]> {
    if (!chooseEvicted) {
      await this.statements.insert(undefined, SessionEntity, [row]);
      return [];
    }
    return this.asUser(row.userId, async (manager) => {
      // Of those that stay no more is read, where the statement that ends the others answers them.
      const columns = this.writesBothAtOnce ? COUNTED_COLUMNS : SHOWN_COLUMNS;
      const active = await this.active(manager, row.userId, types, row.createdAt.getTime(), columns);
      const evicted = chooseEvicted(active) as ShownRow[];
      // First the older ids and then the new one: whoever locks in the order of the primary key meets nobody coming back.
      const ended = await this.endRows(manager, evicted, 'evicted', {}, row);
      if (evicted.length === 0 || !this.writesBothAtOnce) await this.statements.insert(manager, SessionEntity, [row]);
      return ended;
    });
  }

  /**
   * Ends a session that is active and inserts another of the same user in its place, serialised with that user's logins: both or
   * neither, and no limit is counted. @param make the new session, of the old one as it is under the lock
   * @returns undefined where the old one was not active any more
   */
  async replace(
    { id, userId }: Pick<SessionEntity, 'id' | 'userId'>,
    reason: EndReason,
    make: (old: SessionEntity) => SessionEntity,
  ): Promise<EndedSession | undefined> {
    return this.asUser(userId, async (manager) => {
      const [old] = await this.lockRows(manager, [id]);
      if (!old || old.userId !== userId || old.expiresAt.getTime() <= this.now()) return undefined;
      const [ended] = await this.endRows(manager, [old], reason);
      if (!ended) return undefined;
      await this.statements.insert(manager, SessionEntity, [make(old)]);
      return ended;
    });
  }

  /**
   * Changes what the application keeps with an active session. One change after the other, so that none is lost.
   * @param change what to write, of the row as it is under the lock; may throw, and then nothing is done
   * @returns the row after it, or null where the session is not active
   */
  async change(
    id: string,
    change: (row: SessionEntity) => Partial<Pick<SessionEntity, 'data' | 'claims'>>,
  ): Promise<SessionEntity | null> {
    if (!isSessionId(id)) return null;
    const changed = await this.database.transaction(undefined, async (manager) => {
      const [row] = await this.lockRows(manager, [id]);
      if (!row || row.expiresAt.getTime() <= this.now()) return null;
      const set = change(row);
      await manager.update(SessionEntity, { id }, set as QueryDeepPartialEntity<SessionEntity>);
      return Object.assign(row, set);
    });
    return changed ?? null;
  }

  /**
   * `rotate`: one statement, compare-and-swap on the presented token. Where the row has not been read, it must be what the
   * token states of it: else an end that was moved in the row would come back, or one forged with our key go in. @returns the
   * row after it, or null on a miss
   */
  async rotate(
    token: RefreshTokenClaims,
    next: NextGeneration,
    now: number,
    condition: { grace: number; unread?: boolean; withoutBound?: boolean; blacklistParent?: boolean },
  ): Promise<SessionEntity | null> {
    const from = { ...token, parentJti: token.jti, parentGeneration: token.generation };
    const conditions: Condition[] = [['rotatedAt <= :rotatedBefore', { rotatedBefore: now - condition.grace }]];
    // Not by the index of ends: many sessions may end in one second, and the database is to go by the id.
    if (condition.unread) conditions.push(['expiresAt + 0 = :statedEnd', { statedEnd: token.expiresAt }]);
    // A token does not tell the bound, so where the expiry moves without the row having been read there must be none.
    if (condition.withoutBound) conditions.push(['absoluteExpiresAt IS NULL']);
    const update = (within: Transaction) => this.advance(within, from, next, now, conditions);
    return this.supersede(update, condition.blacklistParent ? token : undefined);
  }

  /** `recover`: the lost successor dies. Its holder must not have been seen. @returns the row after it, or null on a miss */
  async recover(
    row: SessionEntity,
    next: NextGeneration,
    now: number,
    condition: { blacklistLost?: boolean } = {},
  ): Promise<SessionEntity | null> {
    const from = {
      sessionId: row.id,
      type: row.type,
      jti: row.refreshJti,
      generation: row.generation,
      parentJti: row.parentJti,
      parentGeneration: row.parentGeneration,
    };
    const update = (within: Transaction) =>
      this.advance(within, from, next, now, [['confirmedGeneration < generation']]);
    const lost = { jti: row.refreshJti, expiresAt: row.expiresAt.getTime() };
    return this.supersede(update, condition.blacklistLost ? lost : undefined);
  }

  /**
   * `keep`: sets `lastUpdate`, and the generation as seen in use. @param sliding of a permanent session: its new
   * end, written where it was not within the interval @returns the row, or null where the token is not current, or just was written
   */
  async touch(
    token: RefreshTokenClaims,
    now: number,
    sliding?: { expiresAt: number; touchInterval: number },
  ): Promise<SessionEntity | null> {
    const is = { id: token.sessionId, refreshJti: token.jti, generation: token.generation, type: token.type };
    const active: Condition = ['expiresAt > :now', { now }];
    const untouched: Condition[] = sliding
      ? [['lastUpdate <= :touchedBefore', { touchedBefore: now - sliding.touchInterval }]]
      : [];
    const set = {
      lastUpdate: new Date(now),
      confirmedGeneration: token.generation,
      ...(sliding && { expiresAt: new Date(sliding.expiresAt) }),
    };
    const where = { is, and: [active, ...untouched] };
    return this.statements.updateReturning(undefined, SessionEntity, set, where, { is, and: [active] });
  }

  /** Writes which generations were seen in use; a generation that has been superseded meanwhile is left alone. */
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

  /**
   * Ends one session: its row goes and its blacklist entry comes, or neither. @param condition what must still hold of the
   * row @returns undefined where it was not there any more
   */
  async end(row: ShownRow, reason: EndReason, condition: EndCondition = {}): Promise<EndedSession | undefined> {
    const end = (within: Transaction) => this.endRows(within, [row], reason, condition);
    const isOneStatement = this.writesBothAtOnce && !this.push.isTransactional;
    const ended = await (isOneStatement ? end(undefined) : this.database.transaction(undefined, end));
    return ended?.[0];
  }

  /**
   * Ends those of a user's sessions that `choose` names, serialised with that user's logins. `choose` may throw, and then
   * nothing is done.
   */
  async endOfUser(
    userId: string,
    types: readonly string[],
    reason: EndReason,
    choose: (active: ShownRow[]) => ShownRow[],
  ): Promise<EndedSession[]> {
    return this.asUser(userId, async (manager) =>
      this.endRows(manager, choose(await this.active(manager, userId, types, this.now(), SHOWN_COLUMNS)), reason),
    );
  }

  /**
   * Ends up to `limit` sessions, those of the least ids behind `after` and before `until`.
   * @returns those it ended, and the last that it looked at: undefined where there are no more
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
      const ended = await this.endLocked(manager, await this.lockRows(manager, ids), reason);
      return { ended, ...(ids.length === limit && { last: ids[limit - 1] }) };
    });
    return batch ?? { ended: [] };
  }

  /** Ends up to `limit` sessions that have expired. @returns undefined while another process is at it */
  async endExpired(limit: number): Promise<EndedSession[] | undefined> {
    return this.cleanUp(async (manager) => {
      const now = new Date(this.now());
      const ids = await this.idsWhere(manager, { expiresAt: LessThanOrEqual(now) }, limit);
      const expired = (await this.lockRows(manager, ids)).filter((row) => row.expiresAt <= now);
      return this.endLocked(manager, expired, 'expired', { isPast: true });
    });
  }

  /** Ends up to `limit` sessions of types that are none of these and have not been used since. @returns as `endExpired` */
  async endOfRemovedTypes(
    types: readonly string[],
    unusedSince: number,
    limit: number,
  ): Promise<EndedSession[] | undefined> {
    return this.cleanUp(async (manager) => {
      const query = manager.createQueryBuilder(SessionEntity, 'session').select('session.id', 'id').limit(limit);
      query.where('session.type NOT IN (:...types) AND session.lastUpdate <= :unusedSince', { types, unusedSince });
      const found = await query.getRawMany<{ id: string }>();
      const ids = found.map((row) => row.id);
      // One that was used before it could be locked is in use by a process that knows its type.
      const unused = (await this.lockRows(manager, ids)).filter((row) => row.lastUpdate.getTime() <= unusedSince);
      return this.endLocked(manager, unused, 'expired');
    });
  }

  /** Deletes up to `limit` blacklist entries that refuse nothing any more. @returns how many; undefined as `endExpired` */
  async deleteExpiredEntries(limit: number): Promise<number | undefined> {
    return this.cleanUp((manager) =>
      this.revocations.deleteExpired(manager, this.now() - this.revocation.overlap, limit),
    );
  }

  private advance(
    within: Transaction,
    from: Pick<RefreshTokenClaims, 'sessionId' | 'type' | 'jti' | 'generation'> &
      Pick<SessionEntity, 'parentJti' | 'parentGeneration'>,
    next: NextGeneration,
    now: number,
    conditions: readonly Condition[],
  ): Promise<SessionEntity | null> {
    // Values and not expressions of the old columns: MySQL would read the new ones.
    const set = {
      generation: from.generation + 1,
      refreshJti: next.jti,
      refreshKid: next.kid,
      parentJti: from.parentJti,
      parentGeneration: from.parentGeneration,
      // Presenting a token is using its generation; the parent's in `recover` is below the row's, and stays so.
      ...(from.parentJti === from.jti && { confirmedGeneration: from.generation }),
      rotatedAt: new Date(now),
      expiresAt: new Date(next.expiresAt),
      ...(next.lastUpdate !== undefined && { lastUpdate: new Date(next.lastUpdate) }),
      ...next.client,
    };
    const { sessionId: id, type, generation } = from;
    const where = {
      is: { id, type, refreshJti: from.jti, generation },
      and: [['expiresAt > :now', { now }] as const, ...conditions],
    };
    return this.statements.updateReturning(within, SessionEntity, set, where, { is: { id, refreshJti: next.jti } });
  }

  /** Runs the update and, where it names the superseded token, writes that to the blacklist: both or neither. */
  private async supersede(
    update: (within: Transaction) => Promise<SessionEntity | null>,
    superseded: Pick<RefreshTokenClaims, 'jti' | 'expiresAt'> | undefined,
  ): Promise<SessionEntity | null> {
    if (!superseded) return update(undefined);
    const row = await this.database.transaction(undefined, async (manager) => {
      const updated = await update(manager);
      if (updated) {
        const { id: sessionId, userId } = updated;
        const expiresAt = superseded.expiresAt === null ? updated.expiresAt : new Date(superseded.expiresAt);
        await this.revocations.record(manager, 'token', [
          { id: superseded.jti, sessionId, userId, reason: 'rotated', expiresAt },
        ]);
      }
      return updated;
    });
    return row ?? null;
  }

  private active<P extends keyof SessionEntity>(
    within: Transaction,
    userId: string,
    types: readonly string[],
    now: number,
    only: readonly P[],
  ): Promise<Pick<SessionEntity, P>[]> {
    const names = types.map((_, at) => `:type${at}`).join();
    const and: Condition[] = [
      [this.database.sameText('userId', 'userId'), { userId }],
      [`type IN (${names})`, Object.fromEntries(types.map((type, at) => [`type${at}`, type]))],
      ['expiresAt > :now', { now }],
    ];
    return this.statements.select(within, SessionEntity, { and }, { order: ['createdAt', 'id'], only });
  }

  private async asUser<T>(userId: string, work: (manager: EntityManager) => Promise<T>): Promise<T> {
    return (await this.database.transaction({ name: `user ${userId}` }, work)) as T;
  }

  private cleanUp<T>(work: (manager: EntityManager) => Promise<T>): Promise<T | undefined> {
    return this.database.transaction({ name: 'cleanup', ifHeld: 'give-up' }, work);
  }

  private async idsWhere(
    manager: EntityManager,
    where: { expiresAt: ReturnType<typeof LessThanOrEqual<Date>> },
    limit: number,
  ): Promise<string[]> {
    const rows = await manager.find(SessionEntity, {
      select: { id: true },
      where,
      order: { expiresAt: 'ASC' },
      take: limit,
    });
    return rows.map((row) => row.id);
  }

  /** The rows as they are now, locked in the order of their primary key, as every other statement locks them. */
  private async lockRows(manager: EntityManager, ids: readonly string[]): Promise<SessionEntity[]> {
    if (ids.length === 0) return [];
    return manager.find(SessionEntity, {
      where: { id: In(ids) },
      order: { id: 'ASC' },
      ...(this.database.kind !== 'sqlite' && { lock: { mode: 'pessimistic_write' } }),
    });
  }

  /**
   * @param within undefined where one row is ended by one statement
   * @param successor is inserted with the end of the last one, where a statement can do both
   */
  private async endRows(
    within: Transaction,
    rows: readonly ShownRow[],
    reason: EndReason,
    condition: EndCondition = {},
    successor?: SessionEntity,
  ): Promise<EndedSession[]> {
    const startedAt = performance.now();
    const ended: EndedSession[] = [];
    const inOrder = [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const row of inOrder) {
      const next = row === inOrder.at(-1) ? successor : undefined;
      const gone = await this.endRow(within, row, reason, condition, next);
      if (gone) ended.push({ row: gone, reason });
    }
    if (within) await this.leaveEntries(within, needsEntry(reason, condition) ? ended : [], startedAt);
    return ended;
  }

  /**
   * Ends rows that this transaction has locked, all of them by one statement. @param isPast whether they have expired, and so
   * need no entry
   */
  private async endLocked(
    manager: EntityManager,
    rows: readonly SessionEntity[],
    reason: EndReason,
    { isPast = false } = {},
  ): Promise<EndedSession[]> {
    if (rows.length === 0) return [];
    const startedAt = performance.now();
    await manager.delete(SessionEntity, { id: In(rows.map(({ id }) => id)) });
    const ended = rows.map((row) => ({ row, reason }));
    await this.leaveEntries(manager, isPast ? [] : ended, startedAt, { areWritten: false });
    return ended;
  }

  /** The last of a transaction that ends sessions. @param areWritten by the statements that ended them, so that they are only told of */
  private async leaveEntries(
    manager: EntityManager,
    ended: readonly EndedSession[],
    startedAt: number,
    { areWritten = this.writesBothAtOnce } = {},
  ): Promise<void> {
    const expiresAt = new Date(this.now() + this.acceptedAfterEnd);
    const entries = ended.map(({ row, reason }) => ({ ...entryOf(row, reason), expiresAt }));
    if (!areWritten) await this.revocations.record(manager, 'session', entries);
    await this.push.publishIn(manager, entries);
    // The polls of other processes look back by the overlap: a commit later than that could be missed for a while.
    if (performance.now() - startedAt > this.revocation.overlap / 2) {
      throw new UnavailableError(
        new Error('the transaction took too long for its blacklist entries to be seen in time'),
      );
    }
  }

  /** Deletes the row, and writes its entry and its successor where the same statement can. @returns it, if it was there */
  private async endRow(
    within: Transaction,
    row: ShownRow,
    reason: EndReason,
    condition: EndCondition,
    successor: SessionEntity | undefined,
  ): Promise<ShownRow | undefined> {
    const { jti, expiredAt } = condition;
    const where: Where<SessionEntity> = {
      is: { id: row.id, ...(jti !== undefined && { refreshJti: jti }) },
      and: expiredAt === undefined ? [] : [['expiresAt <= :expiredAt', { expiredAt }]],
    };
    if (!this.writesBothAtOnce || !needsEntry(reason, condition))
      return (await this.statements.delete(within, SessionEntity, where)) > 0 ? row : undefined;
    // By the database's time after its wait for the row, which a refresh may hold: so it outlives the token of that one too.
    const expiresAt = () => `${this.database.now} + ${this.acceptedAfterEnd}`;
    const entry = this.revocations.newRow('session', { ...entryOf(row, reason), expiresAt });
    return this.statements.exchange(within, SessionEntity, where, SHOWN_COLUMNS, [BlacklistEntity, entry], successor);
  }

  /** Whether a row and its entry change places in one statement. */
  private get writesBothAtOnce(): boolean {
    return this.database.kind === 'postgres';
  }
}

/** An access token never outlives its session, so what merely expired needs no entry. */
function needsEntry(reason: EndReason, { expiredAt }: EndCondition): boolean {
  return reason !== 'expired' || expiredAt === undefined;
}

function entryOf({ id, userId }: ShownRow, reason: EndReason) {
  return { id, sessionId: id, userId, reason };
}

/** What must still hold of a row for it to be ended. */
export interface EndCondition {
  /** Its current refresh token is this one. */
  jti?: string;
  /** It has expired at this time, in milliseconds. */
  expiredAt?: number;
}
