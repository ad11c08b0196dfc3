import type { SessionClaims } from '../token/access-token.js';
import { readUserId } from '../token/access-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import { isSameType } from './policies.js';
import type { LifeState, SessionPolicyService } from './policy.js';
import type { SessionEntity } from './session.entity.js';

/** How a client carries its tokens: in the bodies of requests and answers, or in cookies. */
export type TokenTransport = 'body' | 'cookie';

/** A session in a list. */
export interface SessionSummary {
  readonly id: string;
  readonly userId: UserId;
  readonly type: string;
  readonly createdAt: Date;
  readonly lastUpdate: Date;
  readonly expiresAt: Date;
  /** The client's description of itself at login. It never changes. A list shows its first 1,000 characters. */
  readonly info: string;
  /** The user agent of the login, or of the last refresh by another client. */
  readonly userAgent: string | null;
  /** The IP address of the same request. */
  readonly ipAddress: string | null;
  /** The latest device name that the client sent at a login or a refresh. */
  readonly deviceName: string | null;
  /** When another client refreshed the session for the last time (event `session.client-changed`). Null if that never happened. */
  readonly clientChangedAt: Date | null;
  /** Whether its refresh token only works together with a key that stays on the device (option `binding`). */
  readonly bound: boolean;
}

/** A session as applications see it. */
export interface Session extends SessionSummary {
  /** The application's own data. */
  readonly data: Record<string, unknown> | null;
  /** The application's claims in each access token. */
  readonly claims: Record<string, unknown> | null;
  /** How the user authenticated (RFC 8176). Empty if unknown. */
  readonly amr: readonly string[];
  /** How the client carries the refresh token. Null until it is known. */
  readonly transport: TokenTransport | null;
  /** Whether its cookies outlive the browser session. Null if the login did not say. */
  readonly persistent: boolean | null;
}

/** The columns of a `Session`: all except those that only rotation needs. */
export const SHOWN_COLUMNS = [
  'id',
  'userId',
  'type',
  'createdAt',
  'lastUpdate',
  'rotatedAt',
  'expiresAt',
  'info',
  'userAgent',
  'ipAddress',
  'deviceName',
  'data',
  'claims',
  'clientChangedAt',
  'transport',
  'persistent',
  'binding',
] as const satisfies readonly (keyof SessionEntity)[];

/** The columns of a session's row that make a `Session`. */
export type ShownRow = Pick<SessionEntity, (typeof SHOWN_COLUMNS)[number]>;

/** The columns of a session's row that make a `SessionSummary`. */
export type BriefRow = Omit<ShownRow, 'data' | 'claims' | 'transport' | 'persistent'>;

/** Converts a row to a `SessionSummary`. */
export function toSummary(row: BriefRow, config: TokenConfig): SessionSummary {
  const {
    id,
    type,
    createdAt,
    lastUpdate,
    expiresAt,
    info,
    userAgent,
    ipAddress,
    deviceName,
    clientChangedAt,
    binding,
  } = row;
  return {
    id,
    userId: userIdOf(row, config),
    type,
    createdAt,
    lastUpdate,
    expiresAt,
    info,
    userAgent,
    ipAddress,
    deviceName,
    clientChangedAt,
    bound: binding !== null,
  };
}

/** Converts a row to a `Session`. */
export function toSession(row: ShownRow, config: TokenConfig): Session {
  const { claims, amr } = storedClaims(row);
  return Object.assign(toSummary(row, config), {
    data: row.data,
    claims,
    amr,
    transport: row.transport,
    persistent: row.persistent === null ? null : row.persistent === 1,
  });
}

/** Returns the user's id in the type that the application uses (option `userIdType`). */
export function userIdOf({ userId }: Pick<SessionEntity, 'userId'>, config: TokenConfig): UserId {
  return readUserId(config, userId) ?? userId;
}

/**
 * Tells whether the row is the live session that the token names. It also compares the user and the type, because someone
 * with the signing key could combine a session's id with another user.
 * @param policy of the token's type
 */
export function isLiveSessionOf<R extends LifeState & Pick<SessionEntity, 'userId' | 'type'>>(
  current: Pick<SessionClaims, 'userId' | 'sessionType'>,
  row: R | null,
  policy: SessionPolicyService,
  now: number,
): row is R {
  return (
    row?.userId === String(current.userId) && isSameType(row.type, current.sessionType) && policy.isActive(row, now)
  );
}

const NO_CLAIMS = { claims: null, amr: Object.freeze([]) };

/** What the column `claims` holds. */
export interface StoredClaims {
  /** The application's own claims. */
  readonly claims: Record<string, unknown> | null;
  readonly amr: readonly string[];
  /** When the user authenticated, in milliseconds since 1970. Undefined if that was when the session was created. */
  readonly authenticatedAt?: number;
}

/**
 * Splits the column `claims` into the application's claims, `amr` and `auth_time`. Applications cannot use these names for
 * claims of their own.
 */
export function storedClaims(row: Pick<SessionEntity, 'claims'>): StoredClaims {
  if (!row.claims) return NO_CLAIMS;
  const { amr = [], auth_time: authTime, ...claims } = row.claims;
  return {
    claims: Object.keys(claims).length > 0 ? claims : null,
    amr: amr as string[],
    ...(typeof authTime === 'number' && { authenticatedAt: authTime * 1000 }),
  };
}
