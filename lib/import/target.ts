import type { DataSource, EntityManager } from 'typeorm';
import { Database } from '../database/database.js';
import { aliasIdOf, type LegacySystem } from '../session/alias.js';
import { SessionAliasEntity } from '../session/alias.entity.js';
import { foldedType } from '../session/policies.js';
import {
  DECLARE_CUT_OVER,
  FIND_ALIASES,
  FIND_CUT_OVER,
  FIND_USERS,
  type ImportedRow,
  INSERT_ALIASES,
  INSERT_SESSIONS,
  type KnownAlias,
  keyValues,
  LIST_ALIASES,
  type ListedAlias,
  LOCK_USERS,
  MAX_BATCH,
  REMOVE_SESSION,
  rowsOf,
  UPDATE_ALIAS,
  UPDATE_SESSION,
  type UserEndings,
} from './target-sql.js';

/** How an imported session has changed in the old system. */
export interface Change {
  readonly row: ImportedRow;
  readonly known: KnownAlias;
  readonly refreshJti: string;
  readonly token: string | null;
  readonly expiresAt: number;
  readonly lastUpdate: number;
}

/** The rows of a batch that were not inserted. */
export interface NotInserted {
  /** The ids of sessions that were ended here, together with all others of their user, since they were created. */
  readonly ended: ReadonlySet<string>;
  /** The aliases that another run has inserted in the meantime, by their ids. */
  readonly known: ReadonlyMap<string, KnownAlias>;
}

/**
 * The tables grow with each batch, and PostgreSQL's statistics do not. It would plan for the tables as they were: a full scan in
 * each batch, so that the import becomes slower and slower.
 */
const LOOK_UP_BY_INDEX = [
  'plan_cache_mode = force_custom_plan',
  'enable_seqscan = off',
  'enable_hashjoin = off',
  'enable_mergejoin = off',
]
  .map((setting) => `SET LOCAL ${setting}`)
  .join('; ');

/** The tables of this library, as the import writes them. Each method that writes is one transaction. */
export class Target {
  private readonly database: Database;

  constructor(
    private readonly dataSource: DataSource,
    private readonly system: LegacySystem,
  ) {
    this.database = new Database(dataSource);
  }

  /** Returns the database's time, in milliseconds since 1970. */
  async now(): Promise<number> {
    const [{ now }] = await this.dataSource.query<[{ now: unknown }]>(`SELECT ${this.database.now} AS now`);
    return Number(now);
  }

  /** Whether an earlier run has imported sessions of this system. */
  async hasAliases(): Promise<boolean> {
    return this.database.run((manager) => manager.existsBy(SessionAliasEntity, { system: this.system }));
  }

  /** Finds the aliases of old keys, by their ids. */
  async find(oldKeys: readonly string[], transaction?: EntityManager): Promise<Map<string, KnownAlias>> {
    if (oldKeys.length === 0) return new Map();
    if (!transaction) return this.database.transaction(undefined, (manager) => this.find(oldKeys, manager));
    const ids = oldKeys.map((key) => aliasIdOf(this.system, key));
    if (this.database.kind === 'postgres') await transaction.query(LOOK_UP_BY_INDEX);
    const found = await this.database.query(FIND_ALIASES, keyValues(ids), transaction);
    return new Map(found.map((alias) => [alias.id, alias]));
  }

  /**
   * Inserts sessions with their aliases in one transaction.
   *
   * Another run on the same old system may insert the same sessions at the same time. It locks the same users, so this
   * transaction sees either all of its rows or none.
   */
  async insert(rows: readonly ImportedRow[]): Promise<NotInserted> {
    if (rows.length === 0) return { ended: new Set(), known: new Map() };
    const inserted = await this.database.transaction(undefined, async (manager) => {
      const users = [...new Set(rows.map(({ userId }) => userId as string))].sort();
      const sorted = JSON.stringify(users.map((user) => ({ c0: user })));
      const { database } = this;
      let endings = await database.query(LOCK_USERS, { rows: sorted }, manager);
      if (database.kind === 'mysql') endings = await database.query(FIND_USERS, keyValues(users), manager);
      const byUser = new Map(endings.filter(hasEnding).map((user) => [user.userKey, user]));
      const known = await this.find(
        rows.map(({ oldKey }) => oldKey as string),
        manager,
      );
      const unknown = rows.filter(({ aliasId }) => !known.has(aliasId as string));
      const ended = new Set(unknown.filter((row) => isOvertaken(row, byUser)).map(({ id }) => id as string));
      const fresh = unknown.filter(({ id }) => !ended.has(id as string));
      if (fresh.length > 0) {
        const json = rowsOf(fresh);
        await database.execute(INSERT_ALIASES, { rows: json }, manager);
        await database.execute(INSERT_SESSIONS, { rows: json }, manager);
      }
      return { ended, known };
    });
    return inserted;
  }

  /**
   * Updates sessions that have changed in the old system.
   * @returns the changes that it has not made, because somebody else has changed the session in the meantime. Undefined, and no
   * change is made, if another run has declared the cut-over
   */
  async update(changes: readonly Change[]): Promise<Change[] | undefined> {
    if (changes.length === 0) return [];
    const outdated = await this.database.transaction(undefined, async (manager) => {
      if (await this.isCutOver(manager)) return undefined;
      const missed: Change[] = [];
      for (const change of inOrder(changes, ({ known: { sessionId } }) => sessionId)) {
        const { known, token, refreshJti, expiresAt, lastUpdate } = change;
        const values = { id: known.sessionId, oldJti: known.refreshJti as string, refreshJti, expiresAt, lastUpdate };
        if ((await this.database.execute(UPDATE_SESSION, values, manager)) === 0) missed.push(change);
        else if (refreshJti !== known.refreshJti)
          await this.database.execute(UPDATE_ALIAS, { aliasId: known.id, token }, manager);
      }
      return missed;
    });
    return outdated;
  }

  /**
   * Lists the aliases of the system, in the order of their ids.
   * @param after the id to continue after
   */
  async list(after: string): Promise<ListedAlias[]> {
    return this.database.query(LIST_ALIASES, { system: this.system, after, limit: MAX_BATCH });
  }

  /**
   * Deletes sessions that the old system has ended. Their aliases stay.
   * @returns how many it deleted. The others have been used here in the meantime, or another run has declared the cut-over
   */
  async remove(sessions: readonly ListedAlias[]): Promise<number> {
    if (sessions.length === 0) return 0;
    const removed = await this.database.transaction(undefined, async (manager) => {
      if (await this.isCutOver(manager)) return 0;
      let count = 0;
      for (const { sessionId, refreshJti } of inOrder(sessions, (session) => session.sessionId))
        count += await this.database.execute(REMOVE_SESSION, { id: sessionId, oldJti: refreshJti as string }, manager);
      return count;
    });
    return removed;
  }

  // ─── The cut-over ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Whether a run has declared that the move from this system is done.
   * @param transaction the transaction that is about to change sessions. Another run may have declared it since this one began
   */
  async isCutOver(transaction?: EntityManager): Promise<boolean> {
    return (await this.database.query(FIND_CUT_OVER, { name: this.jobName }, transaction)).length > 0;
  }

  /** Declares that the move from this system is done. Any number of runs may declare it at once. */
  async cutOver(): Promise<void> {
    await this.database.execute(DECLARE_CUT_OVER, { name: this.jobName });
  }

  private get jobName(): string {
    return `import ${this.system}`;
  }
}

function hasEnding({ notBefore, notBeforeByType }: UserEndings): boolean {
  return notBefore.getTime() > 0 || notBeforeByType !== null;
}

/** Whether all sessions of the user, or those of the type, were ended here after this one was created. */
function isOvertaken({ userId, type, createdAt }: ImportedRow, users: ReadonlyMap<string, UserEndings>): boolean {
  const user = users.get(userId as string);
  if (!user) return false;
  const ofType = user.notBeforeByType?.[foldedType(type as string)] ?? 0;
  return Math.max(user.notBefore.getTime(), ofType) >= (createdAt as number);
}

/** Rows are locked in the order of their primary key, as in every other transaction. */
function inOrder<T>(items: readonly T[], id: (item: T) => string): T[] {
  return [...items].sort((a, b) => (id(a) < id(b) ? -1 : 1));
}
