import type { AdminActionFilter, AdminActionPage, AdminActions } from './admin-actions.js';
import type { TokenConfig, UserId } from '../token/options.js';
import { MAX_LOGIN } from '../engine/timing.js';
import type { Clock } from '../database/clock.js';
import type { Users } from './authenticator.js';
import type { EndAll, EndAllProgress } from './end-all.js';
import { fitClientInfo } from './client-info.js';
import { type BriefRow, type SessionSummary, toSummary } from './session.js';
import { canonicalSessionId, firstSessionIdOf } from './id.js';
import type { SessionPolicies } from './policies.js';
import type { SessionStore } from './store.js';

/** The filter and page of `SessionAdministration.list`. */
export interface AdministeredSessions {
  /** One user, or several at the cost of one statement each. Default: all users. */
  readonly userId?: UserId | readonly UserId[] | undefined;
  /** A session type, in any letter case. Default: all types. */
  readonly type?: string | undefined;
  /** Only sessions created then or later. Default: all. */
  readonly since?: Date | undefined;
  /** An IP address, or the first part of one that ends with a `.` or a `:`. Default: all. */
  readonly ipAddress?: string | undefined;
  /** A part of the device name, the user agent or the `info`, in any letter case. Default: all. */
  readonly device?: string | undefined;
  /** The `next` of the previous page. Default: the first page. */
  readonly after?: string | undefined;
  /** Page size. Default: 50. */
  readonly limit?: number | undefined;
}

/** A page of `SessionAdministration.list`. */
export interface SessionPage {
  /** The latest created first. A page may be shorter than `limit`, and even empty, if `next` is not null. */
  readonly sessions: readonly SessionSummary[];
  /** Pass it as `after` to get the next page. Null if this is the last page. */
  readonly next: string | null;
}

/** The sessions that one page of a search by client reads. */
const EXAMINED = 1000;

/**
 * Lists and ends the sessions of all users, for administrators. It does not check permissions, so put a guard in front of
 * it. To end one session or one user's sessions, call `SessionService` with the reason `'admin'`.
 */
export class SessionAdministration {
  constructor(
    private readonly policies: SessionPolicies,
    private readonly store: SessionStore,
    private readonly allEndings: EndAll,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
    private readonly adminActions: Pick<AdminActions, 'list'>,
    /** @internal */
    readonly users: Users,
  ) {}

  /**
   * Lists active sessions page by page, the latest created first. Every page costs the same, because an index leads to its
   * first row. No index finds an `ipAddress` or a `device`: they are searched for among the next 1,000 sessions of the other
   * filters, so that a page may be empty although there are more.
   * @throws InvalidSessionTypeError if there is no such session type
   * @throws UnavailableError if the database cannot be reached
   */
  async list(wanted: AdministeredSessions = {}): Promise<SessionPage> {
    const { userId, type, since, ipAddress, device, after, limit = 50 } = wanted;
    const { policies, store, config, clock } = this;
    const filter = {
      ...(userId !== undefined && { userIds: [userId].flat().map(String) }),
      // An id contains the time at which the login began, and its session is created within `MAX_LOGIN`.
      ...(since && { from: firstSessionIdOf(since.getTime() - MAX_LOGIN), since: since.getTime() }),
      ...(after !== undefined && { before: canonicalSessionId(after) }),
    };
    const examined = ipAddress === undefined && device === undefined ? limit : Math.max(limit, EXAMINED);
    const rows = await store.page(filter, examined, type && policies.named(type).type);
    const found = rows.filter((row) => isFrom(row, wanted)).slice(0, limit);
    const last = found.length === limit ? found.at(-1) : rows.length === examined ? rows.at(-1) : undefined;
    const now = clock.now();
    return {
      sessions: found
        .filter((row) => policies.isActive(row, now))
        .map((row) => toSummary({ ...row, expiresAt: new Date(policies.endOf(row)) }, config)),
      next: last?.id ?? null,
    };
  }

  /**
   * Starts to end every session that began before now, and returns at once. The work goes on in the background, in batches, and
   * another process continues it if this one crashes. A second pass ends the sessions of logins that were in progress. If it is
   * called again meanwhile, it starts again, for all sessions that have begun since.
   * @param options.by the id of who ends them, for durable events and the record of this action. Default: not known
   * @returns the progress at the start; call `endAllProgress` for a later one
   * @throws UnavailableError if the database cannot be reached
   */
  endAll({ by }: { by?: UserId | undefined } = {}): Promise<EndAllProgress> {
    return this.allEndings.start(by?.toString());
  }

  /**
   * Returns the progress of the last `endAll` of any process.
   * @returns null if nobody has ever called `endAll`
   * @throws UnavailableError if the database cannot be reached
   */
  endAllProgress(): Promise<EndAllProgress | null> {
    return this.allEndings.progress();
  }

  /**
   * Lists what administrators did page by page, the latest first: which sessions they ended, and which events they replayed. The
   * option `adminActionRetention` says how long it is known.
   * @throws UnavailableError if the database cannot be reached
   */
  actions(wanted: AdminActionFilter = {}): Promise<AdminActionPage> {
    return this.adminActions.list(wanted);
  }
}

/** Whether a session belongs to a client with this address and device. */
function isFrom({ ipAddress: address, ...row }: BriefRow, { ipAddress, device }: AdministeredSessions): boolean {
  const isThere =
    ipAddress === undefined ||
    address === fitClientInfo({ ipAddress }).ipAddress ||
    (/[.:]$/.test(ipAddress) && address?.startsWith(ipAddress.toLowerCase()));
  const hasText = (text: string | null) => text?.toLowerCase().includes((device ?? '').toLowerCase());
  return Boolean(isThere && (device === undefined || [row.deviceName, row.userAgent, row.info].some(hasText)));
}
