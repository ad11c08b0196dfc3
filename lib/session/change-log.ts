import type { EntityManager } from 'typeorm';
import type { EntityClass, SqlValue } from '../database/sql.js';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { EndReason } from './events.js';
import type { ShownRow } from './session.js';

/** A session that this process has just ended. */
export interface EndedSession {
  readonly row: ShownRow;
  readonly reason: EndReason;
  /** The user who ended it, such as an administrator, if the caller named one. */
  readonly by?: string | undefined;
  /**
   * The revocation entry that was written in the same transaction. Undefined if the session had merely expired. Its access
   * tokens had expired too, so they need not be refused.
   */
  readonly revoked?: RevokedSession;
}

/** A change of sessions. `kind` tells which. */
export type SessionChange = SessionsEnded | SessionCreated | UserRevoked | SessionNoted | AdminAction;

export interface SessionsEnded {
  readonly kind: 'ended';
  readonly sessions: readonly EndedSession[];
}

/** A session became live. */
export interface SessionCreated {
  readonly kind: 'created';
  readonly row: ShownRow;
}

/** The sessions of a user were ended: all of them, all but one, or those of some types. */
export interface UserRevoked {
  readonly kind: 'user-revoked';
  readonly userId: string;
  readonly reason: EndReason;
  /** The types whose sessions were ended. Default: all types. */
  readonly types?: readonly string[];
  /** The session that was kept. */
  readonly except?: string;
  /** The user who ended them, such as an administrator, if the caller named one. */
  readonly by?: string | undefined;
}

/** An administrator did something. It is one change, however many sessions it ends. */
export interface AdminAction {
  readonly kind: 'admin-action';
  readonly action: 'end-session' | 'end-user' | 'end-all' | 'replay-events';
  /** The administrator, if the caller named one. */
  readonly by?: string | undefined;
  /** The user whose sessions were ended. */
  readonly userId?: string;
  /** The session that was ended. */
  readonly sessionId?: string;
  /** How many sessions were ended, if that is known. */
  readonly ended?: number | undefined;
  /** It becomes JSON that administrators read, so it must contain no secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The names of what can be noted about a session that goes on, or that another change ends. */
export type NotedName =
  | 'refresh.reused'
  | 'refresh.replayed'
  | 'refresh.recovered'
  | 'session.client-changed'
  | 'login.new-device'
  | 'device.bound'
  | 'device.proof-failed';

/** Something else happened to a session. */
export interface SessionNoted {
  readonly kind: 'noted';
  readonly name: NotedName;
  readonly row: NotedRow;
  /** More about it. It becomes JSON that leaves the server, so it must contain no secrets. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** What a note tells about its session. */
export type NotedRow = Pick<ShownRow, 'id' | 'userId' | 'type' | 'userAgent' | 'ipAddress' | 'deviceName'>;

export type ChangeKind = SessionChange['kind'];

/** A piece of a data-modifying statement on PostgreSQL: writes about a change in the statement that makes it. */
export interface InlineWriter {
  readonly entities: readonly EntityClass[];
  /**
   * Returns an INSERT that selects from `relation`. It writes one row for each row of the relation.
   * @param createdAt an SQL expression for the time of the change
   * @param details an SQL expression for the details of a note, as JSON. Default: those in the values
   */
  readonly insertFrom: (relation: string, createdAt: string, details?: string) => string;
  /** The values of the parameters in that text. */
  values(change: SessionChange): Readonly<Record<string, SqlValue>>;
}

/** Takes part in the transaction of a change: writes rows of its own, or sends a notification. */
export interface ChangeWriter {
  /** The changes that concern it. The others make no transaction necessary. */
  readonly kinds: readonly ChangeKind[];
  /** How it takes part in a single statement. Absent if it cannot. */
  readonly inline?: InlineWriter;
  /**
   * Writes in the transaction of the changes. If the transaction is retried, this is called again for the same changes.
   * @throws any error, to roll back the changes too
   */
  write(transaction: EntityManager, changes: readonly SessionChange[]): Promise<void>;
  /** Writes a note outside of a transaction. Absent if no note concerns it. */
  note?(change: SessionNoted): Promise<void>;
}

/**
 * Runs the writers that take part in changes of sessions. The stores depend only on this log and do not know the writers.
 *
 * Invariant: a change and everything that the writers write about it are committed together or not at all. Writers run last
 * in the transaction, after all rows of the change have been locked.
 */
export class ChangeLog {
  /** @param writers run one after the other, in this order */
  constructor(private readonly writers: readonly ChangeWriter[] = []) {}

  /** Whether any writer takes part in changes of this kind. If not, a change with a single statement needs no transaction. */
  concerns(kind: ChangeKind): boolean {
    return this.writers.some(({ kinds }) => kinds.includes(kind));
  }

  /** Returns the writer that can take part in a single statement, if it is the only one that the kind of change concerns. */
  inlineFor(kind: ChangeKind): InlineWriter | undefined {
    const [writer, ...others] = this.writers.filter(({ kinds }) => kinds.includes(kind));
    return others.length === 0 ? writer?.inline : undefined;
  }

  /** Runs all writers that the changes concern. */
  async write(transaction: EntityManager, changes: readonly SessionChange[]): Promise<void> {
    for (const writer of this.writers) {
      const concerned = changes.filter(({ kind }) => writer.kinds.includes(kind));
      if (concerned.length > 0) await writer.write(transaction, concerned);
    }
  }

  /**
   * Writes a note that belongs to no other change, in a statement of its own.
   * @throws UnavailableError if the database fails
   */
  async note(change: SessionNoted): Promise<void> {
    for (const writer of this.writers) await writer.note?.(change);
  }
}
