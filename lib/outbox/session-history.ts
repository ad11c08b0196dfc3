import type { Database } from '../database/database.js';
import type { Sql } from '../database/sql.js';
import type { RecordedReasons } from '../session/end-reasons.js';
import type { EndReason } from '../session/events.js';
import type { TokenConfig, UserId } from '../token/options.js';
import { toDurableEvent } from './delivery.js';
import type { DurableEvent } from './durable-event.js';
import { EVENT } from './outbox-sql.js';
import { SessionDeliveryEntity } from './session-delivery.entity.js';
import { SessionEventEntity } from './session-event.entity.js';
import { DELETE_SUBJECT } from './stream-sql.js';
import { subjectKeyOf } from './stream-states.js';

const ENTITIES = [SessionEventEntity];

const FIND_REASON: Sql<{ sessionId: string }, Pick<SessionEventEntity, 'userId' | 'reason'>> = {
  entities: ENTITIES,
  columns: 'user_id, reason',
  text: `SELECT user_id, reason FROM session_event WHERE session_id = :sessionId AND name = 'session.ended' LIMIT 1`,
};

interface PageValues {
  readonly userId: string;
  readonly beforeTime: number;
  readonly beforeId: string;
  readonly limit: number;
}

/** Selects a user's events, the latest first. */
const LIST: Sql<PageValues, SessionEventEntity> = {
  entities: ENTITIES,
  columns: EVENT,
  text: ({ sameText }) => `
    SELECT ${EVENT} FROM session_event
    WHERE ${sameText('user_id', ':userId')} AND created_at <= :beforeTime
      AND (created_at < :beforeTime OR id < :beforeId)
      AND name IN ('session.created', 'session.ended', 'user.revoked', 'refresh.reused', 'login.new-device', 'session.client-changed')
    ORDER BY created_at DESC, id DESC LIMIT :limit`,
};

const FIND_OF_USER: Sql<{ userId: string; limit: number }, Pick<SessionEventEntity, 'id'>> = {
  entities: ENTITIES,
  columns: 'id',
  text: ({ sameText }) => `SELECT id FROM session_event WHERE ${sameText('user_id', ':userId')} LIMIT :limit`,
};

const DELETE_DELIVERIES: Sql<{ id: string }> = {
  entities: [SessionDeliveryEntity],
  text: 'DELETE FROM session_delivery WHERE event_id = :id',
};

const DELETE_EVENT: Sql<{ id: string }> = {
  entities: ENTITIES,
  text: 'DELETE FROM session_event WHERE id = :id',
};

/** The events of one user, page by page. */
export interface HistoryPage {
  /** The latest first. */
  readonly events: readonly DurableEvent[];
  /** The option `before` of the next page. Null on the last page. */
  readonly next: string | null;
}

/** The maximum and the default number of events on a page. */
const MAX_PAGE = 100;
const DEFAULT_PAGE = 20;
const ERASED_AT_ONCE = 100;
const CURSOR = /^(\d{1,15})\.([0-9a-f-]{36})$/;

/** What happened to the sessions of a user, for as long as `events.retention`. Empty unless the option `events` is set. */
export class SessionHistory implements RecordedReasons {
  constructor(
    private readonly database: Database,
    private readonly config: TokenConfig,
  ) {}

  /**
   * Lists logins, endings and warnings of a user: devices that were logged in, when and why they were logged out, and by whom.
   * @param options.before `next` of the previous page. Default: the first page
   * @param options.limit events on the page, at most 100. Default: 20
   * @returns undefined if `before` is not a cursor
   * @throws UnavailableError if the database cannot be reached
   */
  async list(
    userId: UserId,
    { before, limit = DEFAULT_PAGE }: { before?: string | undefined; limit?: number | undefined } = {},
  ): Promise<HistoryPage | undefined> {
    const cursor = before === undefined ? undefined : CURSOR.exec(before);
    if (cursor === null) return undefined;
    const size = Math.min(Math.max(1, limit), MAX_PAGE);
    const rows = await this.database.query(LIST, {
      userId: String(userId),
      beforeTime: cursor ? Number(cursor[1]) : Number.MAX_SAFE_INTEGER,
      beforeId: cursor?.[2] ?? '',
      limit: size + 1,
    });
    const last = rows.length > size ? rows[size - 1] : undefined;
    return {
      events: rows.slice(0, size).map((row) => toDurableEvent(row, this.config)),
      next: last ? `${last.createdAt.getTime()}.${last.id}` : null,
    };
  }

  /**
   * Deletes all events of a user, also those that were not delivered yet, and what receivers of streams have said about the user.
   * Call it when you delete the account, after you have ended its sessions.
   * Events of others whose sessions this user ended as an administrator keep the id.
   * @returns how many events it deleted
   * @throws UnavailableError if the database cannot be reached
   */
  async erase(userId: UserId): Promise<number> {
    await this.database.execute(DELETE_SUBJECT, { subjectKey: subjectKeyOf(String(userId)) });
    let erased = 0;
    for (;;) {
      const found = await this.database.query(FIND_OF_USER, { userId: String(userId), limit: ERASED_AT_ONCE });
      if (found.length === 0) return erased;
      await this.database.transaction(undefined, async (transaction) => {
        for (const { id } of found) {
          await this.database.execute(DELETE_DELIVERIES, { id }, transaction);
          await this.database.execute(DELETE_EVENT, { id }, transaction);
        }
      });
      erased += found.length;
    }
  }

  /** @internal */
  async reasonOf(sessionId: string, userId: string): Promise<EndReason | undefined> {
    const [event] = await this.database.query(FIND_REASON, { sessionId });
    return event?.userId === userId && event.reason !== null ? (event.reason as EndReason) : undefined;
  }
}
