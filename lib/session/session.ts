import type { SessionClaims } from '../token/access-token.js';
import { readUserId } from '../token/access-token.js';
import type { TokenConfig, UserId } from '../token/options.js';
import type { SessionEntity } from './session.entity.js';

/** A session as applications see it. */
export interface Session {
  readonly id: string;
  readonly userId: UserId;
  readonly type: string;
  readonly createdAt: Date;
  readonly lastUpdate: Date;
  readonly expiresAt: Date;
  /** What the client said about itself at login. Never changed afterwards. */
  readonly info: string;
  /** The user agent of the last login or refresh that handed out a refresh token. */
  readonly userAgent: string | null;
  /** The address of the same request. */
  readonly ipAddress: string | null;
  /** The last device name that a login, or a refresh that handed out a refresh token, has sent. */
  readonly deviceName: string | null;
  /** The application's own data. */
  readonly data: Record<string, unknown> | null;
  /** The application's claims in each access token. */
  readonly claims: Record<string, unknown> | null;
  /** How the user authenticated (RFC 8176). Empty if that is not known. */
  readonly amr: readonly string[];
}

/** The columns of a `Session`: all except those that only rotation needs. */
export const SHOWN_COLUMNS = [
  'id',
  'userId',
  'type',
  'createdAt',
  'lastUpdate',
  'expiresAt',
  'info',
  'userAgent',
  'ipAddress',
  'deviceName',
  'data',
  'claims',
] as const satisfies readonly (keyof SessionEntity)[];

/** The columns of a session's row that make a `Session`. */
export type ShownRow = Pick<SessionEntity, (typeof SHOWN_COLUMNS)[number]>;

/** Converts a row to a `Session`. */
export function toSession(row: ShownRow, config: TokenConfig): Session {
  const { id, type, createdAt, lastUpdate, expiresAt, info, userAgent, ipAddress, deviceName, data } = row;
  const { claims, amr } = storedClaims(row);
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
    data,
    claims,
    amr,
  };
}

/** Returns the user's id in the type that the application uses (`userIdType`). */
export function userIdOf({ userId }: Pick<SessionEntity, 'userId'>, config: TokenConfig): UserId {
  return readUserId(config, userId) ?? userId;
}

/**
 * Tells whether the row is the live session that the token names. User and type are compared too: someone with the signing key
 * could combine a session's id with another user.
 */
export function isLiveSessionOf<R extends Pick<SessionEntity, 'userId' | 'type' | 'expiresAt'>>(
  current: Pick<SessionClaims, 'userId' | 'sessionType'>,
  row: R | null,
  now: number,
): row is R {
  return row?.userId === String(current.userId) && row.type === current.sessionType && row.expiresAt.getTime() > now;
}

const NO_CLAIMS = { claims: null, amr: Object.freeze([]) };

/** Splits the column `claims`, which also holds `amr`: a name that no application can use. */
export function storedClaims(row: Pick<SessionEntity, 'claims'>): Pick<Session, 'claims' | 'amr'> {
  if (!row.claims) return NO_CLAIMS;
  const { amr = [], ...claims } = row.claims;
  return { claims: Object.keys(claims).length > 0 ? claims : null, amr: amr as string[] };
}
