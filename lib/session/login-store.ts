import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import { SessionNotFoundError } from '../errors.js';
import type { ChangeLog, EndedSession, InlineWriter, SessionChange } from './change-log.js';
import type { EndReason } from './events.js';
import { isSessionId } from './id.js';
import { DELETE_PREPARED, LOG_IN, logInAndWrite, type LoginValues, MAKE_LIVE } from './login-sql.js';
import { foldedType } from './policies.js';
import { wholeSecond } from './policy.js';
import type { RowEndings } from './row-endings.js';
import { NEVER, type SessionEntity } from './session.entity.js';
import type { SessionRows } from './session-rows.js';
import { COUNT_ACTIVE, type CountedRow, FIND, sessionValues } from './session-sql.js';
import type { ShownRow } from './session.js';
import { assertNotOvertaken, type StartedLogin, type UserRows } from './user-row.js';

/** Chooses which of a user's active sessions a login ends. If it throws, nothing is changed. */
export type ChooseEvicted = (active: CountedRow[]) => CountedRow[];

/** A session that a login is about to insert. */
export interface NewSession {
  /** Its times are provisional: `LoginStore` sets them to the database's time at the insert. */
  readonly row: SessionEntity;
  /** How long it lives, in milliseconds. */
  readonly lifetime: number;
  /** How long it may be extended, in milliseconds; null if there is no bound. */
  readonly absoluteLifetime: number | null;
  /** A time that was not after the start of the login, in milliseconds since 1970 by the database's clock. */
  readonly startedAt: number;
}

/** The rules for the insert of a session. */
export interface CreateRules {
  /** Chooses the sessions to evict. */
  readonly chooseEvicted: ChooseEvicted;
  /**
   * How many active sessions the user may have at most. With a limit that is not exact, a login that finds fewer inserts its
   * session in one statement on PostgreSQL, and logins that run at once may together exceed the limit.
   */
  readonly limit: { readonly sessions: number; readonly isExact: boolean };
  /** The ids of sessions that the login ends because it replaces them, whoever's they are. Default: none. */
  readonly replaces?: readonly string[];
}

/**
 * Inserts sessions, and ends those that they evict or replace.
 *
 * Invariants:
 * - Sessions of one user are counted, evicted and inserted under the lock of that user (see `UserRows`).
 * - A login that an ending of all sessions has overtaken inserts no session.
 */
export class LoginStore {
  /** Writes about a login in the statement of the login. */
  private readonly inline?: InlineWriter;
  /** Logs in with one statement. Absent if that is not possible. */
  private readonly logInStatement?: typeof LOG_IN;

  constructor(
    private readonly database: Database,
    private readonly users: UserRows,
    private readonly rows: SessionRows,
    private readonly endings: RowEndings,
    private readonly changes: ChangeLog,
  ) {
    if (!endings.isOneStatement) return;
    this.inline = changes.inlineFor('created');
    if (this.inline) this.logInStatement = logInAndWrite(this.inline);
    else if (!changes.concerns('created')) this.logInStatement = LOG_IN;
  }

  /**
   * Inserts a session, and ends the sessions that it evicts or replaces, all or nothing. Sets the times of its row.
   *
   * @returns the sessions that it ended
   * @throws UnavailableError if an ending has overtaken the login
   * @throws whatever `chooseEvicted` throws
   */
  async create(session: NewSession, { chooseEvicted, limit, replaces = [] }: CreateRules): Promise<EndedSession[]> {
    if (!limit.isExact && replaces.length === 0 && this.logInStatement) {
      if (await this.logIn(this.logInStatement, session, limit.sessions)) return [];
      // The user has too many sessions, or an ending has overtaken the login. The transaction tells which.
    }
    const { row } = session;
    return this.users.asUser(row.userId, async (manager) => {
      const user = await this.users.lock(manager, row.userId);
      assertNotOvertaken(user, startOf(session));
      beginAt(session, user.usedAt.getTime());
      const evicted = await this.chooseEvicted(manager, row, chooseEvicted, replaces);
      // Evict before the insert: every statement locks older rows before newer ones.
      if (replaces.length === 0 && evicted.length > 0 && this.endings.isOneStatement)
        return this.endings.end(manager, evicted, 'evicted', { successor: row, also: [createdOf(row)] });
      const ended = await this.endEach(manager, evicted, replaces, row);
      await this.rows.insert(manager, row);
      return ended;
    });
  }

  /**
   * Ends an active session and inserts another one of the same user, under the lock of the user. Limits do not apply.
   * @param make returns the new session, given the old one, whose row is locked
   * @returns undefined if the old session was no longer active. The database is then unchanged
   * @throws UnavailableError if an ending has overtaken the login
   */
  async replace(
    { id, userId }: Pick<SessionEntity, 'id' | 'userId'>,
    reason: EndReason,
    make: (old: SessionEntity) => NewSession,
  ): Promise<EndedSession | undefined> {
    return this.users.asUser(userId, async (manager) => {
      const user = await this.users.lock(manager, userId);
      const [old] = await this.rows.lock(manager, [id]);
      if (!old || old.userId !== userId || !this.rows.isLive(old)) return undefined;
      const session = make(old);
      assertNotOvertaken(user, startOf(session));
      beginAt(session, user.usedAt.getTime());
      const [ended] = await this.endings.end(manager, [old], reason, {
        also: [createdOf(session.row)],
        isAlsoConditional: true,
      });
      if (!ended) return undefined;
      await this.rows.insert(manager, session.row);
      return ended;
    });
  }

  /**
   * Inserts a session that is not live yet, in a transaction of the application. It touches no other row.
   * @param transaction the application's transaction
   */
  async prepare({ row, startedAt }: NewSession, transaction: EntityManager): Promise<void> {
    Object.assign(row, { preparedAt: new Date(startedAt), expiresAt: NEVER });
    await this.rows.insert(transaction, row);
  }

  /**
   * Makes a prepared session live under the lock of its user, or deletes it. Ends the sessions that it evicts.
   * @returns the sessions that it ended; undefined if there is no such prepared session
   * @throws UnavailableError if an ending has overtaken the login
   * @throws whatever `chooseEvicted` throws
   */
  async issue(
    session: NewSession,
    { chooseEvicted, replaces = [] }: Pick<CreateRules, 'chooseEvicted' | 'replaces'>,
  ): Promise<EndedSession[] | undefined> {
    const { row } = session;
    const { id, userId } = row;
    let refusal: unknown;
    const ended = await this.users.asUser(userId, async (manager) => {
      refusal = undefined;
      const user = await this.users.lock(manager, userId);
      const [prepared] = await this.database.query(FIND, { id }, manager);
      if (!prepared?.preparedAt) return undefined;
      beginAt(session, user.usedAt.getTime());
      let evicted: ShownRow[];
      try {
        assertNotOvertaken(user, startOf(session));
        evicted = await this.chooseEvicted(manager, row, chooseEvicted, replaces);
      } catch (error) {
        refusal = error;
        await this.database.execute(DELETE_PREPARED, { id }, manager);
        return [];
      }
      const all = await this.endEach(manager, evicted, replaces, row);
      const { createdAt, expiresAt, absoluteExpiresAt } = sessionValues(row);
      // The cleanup may have deleted it in the meantime.
      if ((await this.database.execute(MAKE_LIVE, { id, createdAt, expiresAt, absoluteExpiresAt }, manager)) === 0)
        throw new SessionNotFoundError();
      return all;
    });
    if (refusal !== undefined) throw refusal as Error;
    if (ended) row.preparedAt = null;
    return ended;
  }

  /** Inserts a session in one statement. Returns whether it did. */
  private async logIn(statement: typeof LOG_IN, session: NewSession, maxSessions: number): Promise<boolean> {
    const values = loginValues(session, maxSessions);
    const [times] = await this.database.query(
      statement,
      this.inline ? { ...values, ...this.inline.values(createdOf(session.row)) } : values,
    );
    if (times) Object.assign(session.row, times);
    return times !== undefined;
  }

  /** Lets `choose` choose among the user's active sessions, without those that the login replaces anyway. */
  private async chooseEvicted(
    manager: EntityManager,
    { userId, createdAt }: SessionEntity,
    choose: ChooseEvicted,
    replaces: readonly string[],
  ): Promise<ShownRow[]> {
    const values = { userId, now: createdAt.getTime() };
    // If the statement that ends a session also returns its row, the choice needs only a few columns.
    const active = this.endings.isOneStatement
      ? await this.database.query(COUNT_ACTIVE, values, manager)
      : await this.rows.active(manager, userId, values.now);
    return choose(active.filter(({ id }) => !replaces.includes(id))) as ShownRow[];
  }

  /**
   * Ends evicted and replaced sessions, and writes about the new one. Locks their rows in the order of their ids.
   * @param created the session in whose favor they end
   */
  private async endEach(
    manager: EntityManager,
    evicted: readonly ShownRow[],
    replaces: readonly string[],
    created: SessionEntity,
  ): Promise<EndedSession[]> {
    const also = [createdOf(created)];
    if (evicted.length === 0 && replaces.length === 0) {
      await this.changes.write(manager, also);
      return [];
    }
    if (replaces.length === 0) return this.endings.end(manager, evicted, 'evicted', { also });
    const ids = [...evicted.map(({ id }) => id), ...replaces.filter(isSessionId)];
    const live = (await this.rows.lock(manager, ids)).filter((row) => this.rows.isLive(row));
    const isReplaced = ({ id }: SessionEntity) => replaces.includes(id);
    const ended = await this.endings.endLocked(manager, live.filter(isReplaced), 'replaced');
    const others = live.filter((row) => !isReplaced(row));
    return [...ended, ...(await this.endings.endLocked(manager, others, 'evicted', { also }))];
  }
}

function createdOf(row: SessionEntity): SessionChange {
  return { kind: 'created', row };
}

function startOf({ row, startedAt }: NewSession): StartedLogin {
  return { startedAt, type: row.type };
}

/** Returns one literal of all values: V8 is slow with objects that are spread together. */
function loginValues({ row, lifetime, absoluteLifetime, startedAt }: NewSession, maxSessions: number): LoginValues {
  return {
    id: row.id,
    userId: row.userId,
    type: row.type,
    refreshJti: row.refreshJti,
    refreshKid: row.refreshKid,
    createdAt: row.createdAt.getTime(),
    info: row.info,
    userAgent: row.userAgent,
    ipAddress: row.ipAddress,
    deviceName: row.deviceName,
    data: row.data && JSON.stringify(row.data),
    claims: row.claims && JSON.stringify(row.claims),
    accessLifetime: row.accessLifetime,
    transport: row.transport,
    persistent: row.persistent,
    binding: row.binding,
    lifetime,
    absoluteLifetime,
    startedAt,
    typeKey: foldedType(row.type),
    maxSessions,
  };
}

/** Sets the times of a new session. Expiries are in whole seconds, so that they equal those in the tokens. */
function beginAt({ row, lifetime, absoluteLifetime }: NewSession, time: number): void {
  row.createdAt = new Date(time);
  row.lastUpdate = new Date(time);
  row.expiresAt = new Date(wholeSecond(time + lifetime));
  row.absoluteExpiresAt = absoluteLifetime === null ? null : new Date(wholeSecond(time + absoluteLifetime));
}
