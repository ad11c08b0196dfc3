import { setTimeout as sleep } from 'node:timers/promises';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';
import type { Database } from '../database/database.js';
import { isSessionId } from './id.js';
import { LIST, LIST_BRIEF, NEXT_TYPE, page, type PageFilter } from './list-sql.js';
import { isSameType } from './policies.js';
import { FIND_KEY_USE, SCAN_PAGE } from './scan-sql.js';
import { SessionEntity } from './session.entity.js';
import type { SessionRows } from './session-rows.js';
import { type CheckedRow, FIND, FIND_FOR_CHECK } from './session-sql.js';
import type { BriefRow, ShownRow } from './session.js';

interface RowsOfUsers {
  /** Each of them takes a statement. Default: all users. */
  readonly userIds?: readonly (string | undefined)[];
}

/**
 * Finds and lists sessions, and changes their data and claims. `LoginStore` inserts sessions, `RefreshStore` refreshes them,
 * and `EndingStore` and `CleanupStore` end them.
 */
export class SessionStore {
  /**
   * @param hasEnded whether this process knows that a session has ended. A fail-over may have brought its row back
   */
  constructor(
    private readonly database: Database,
    private readonly rows: SessionRows,
    readonly hasEnded: (sessionId: string) => boolean,
  ) {}

  /** Whether the calling code runs inside of a transaction that the application has begun on the DataSource. */
  get isInsideTransaction(): boolean {
    return this.database.isInsideTransaction;
  }

  /** Finds a session, expired or not. Sends no query if the id is not a UUID in the form that we write, or if it has ended. */
  async find(id: string): Promise<SessionEntity | null> {
    if (!isSessionId(id) || this.hasEnded(id)) return null;
    const [row] = await this.database.query(FIND, { id });
    return row ?? null;
  }

  /** Finds a session, expired or not, and reads only the columns that `accessCheck: 'session'` needs. */
  async findForCheck(id: string): Promise<CheckedRow | null> {
    if (!isSessionId(id) || this.hasEnded(id)) return null;
    const [row] = await this.database.query(FIND_FOR_CHECK, { id });
    return row ?? null;
  }

  /**
   * Lists a user's sessions that have not expired, whatever their type, the earliest created first: the latest `MAX_LISTED` of
   * them.
   */
  async listActive(userId: string): Promise<ShownRow[]> {
    return (await this.database.query(LIST, { userId })).reverse();
  }

  /** Does the same with fewer columns: without data and claims, and with a short `info`. */
  async listBrief(userId: string): Promise<BriefRow[]> {
    return (await this.database.query(LIST_BRIEF, { userId })).reverse();
  }

  /**
   * Lists sessions of any user that have not expired, the latest created first.
   * @param type a session type, in any spelling. Default: all types
   */
  async page(
    { userIds = [undefined], ...filter }: RowsOfUsers & Omit<PageFilter, 'type' | 'userId'>,
    limit: number,
    type?: string,
  ): Promise<BriefRow[]> {
    const types = type === undefined ? [undefined] : await this.spellingsOf(type);
    const rows: BriefRow[] = [];
    for (const userId of userIds) {
      for (const spelling of types) {
        const of = { ...filter, ...(userId !== undefined && { userId }), ...(spelling && { type: spelling }) };
        rows.push(...(await this.database.query(page(of), { ...of, limit })));
      }
    }
    return rows.sort((a, b) => (a.id > b.id ? -1 : 1)).slice(0, limit);
  }

  /** Returns the ways in which rows spell a type. There is more than one only after the options have changed the spelling. */
  private async spellingsOf(type: string): Promise<string[]> {
    const spellings: string[] = [];
    for (let after = ''; ;) {
      const [found] = await this.database.query(NEXT_TYPE, { after });
      if (!found) return spellings;
      after = found.type;
      if (isSameType(after, type)) spellings.push(after);
    }
  }

  /**
   * Whether a session that has not expired has a refresh token signed by this key. Reads every session, page by page. The key
   * must not sign any more.
   * @param pageSize Default: `SCAN_PAGE`
   */
  async isKeyInUse(kid: string, pageSize = SCAN_PAGE): Promise<boolean> {
    for (let after = ''; ;) {
      const startedAt = performance.now();
      const [page] = await this.database.query(FIND_KEY_USE, { kid, after, limit: pageSize });
      if (page.isUsed) return true;
      if (page.lastId === null) return false;
      after = page.lastId;
      // Leave half of the time to requests.
      await sleep(performance.now() - startedAt);
    }
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
    return this.database.transaction(undefined, async (manager) => {
      const [row] = await this.rows.lock(manager, [id]);
      if (!row || !this.rows.isLive(row)) return null;
      const set = change(row);
      await manager.update(SessionEntity, { id }, set as QueryDeepPartialEntity<SessionEntity>);
      return Object.assign(row, set);
    });
  }
}
