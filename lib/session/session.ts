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
  /** What the client said of itself at login; never changed afterwards. */
  readonly info: string;
  /** Of whoever logged in or was handed a new refresh token last, and so is the address: the last one known. */
  readonly userAgent: string | null;
  readonly ipAddress: string | null;
  /** The last that a login or a refresh with a new refresh token has named. */
  readonly deviceName: string | null;
  /** The application's own data. */
  readonly data: Record<string, unknown> | null;
  /** What the application adds to each access token. */
  readonly claims: Record<string, unknown> | null;
  /** How the user logged in (RFC 8176); empty where it is not known. */
  readonly amr: readonly string[];
}

/** The columns that a session is shown by: all but what only rotation needs. */
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

/** A session's row as far as it is shown. */
export type ShownRow = Pick<SessionEntity, (typeof SHOWN_COLUMNS)[number]>;

/** The row as applications see it. */
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

/** The user's id in the kind that the application uses. */
export function userIdOf({ userId }: Pick<SessionEntity, 'userId'>, config: TokenConfig): UserId {
  return readUserId(config, userId) ?? userId;
}

/** Whether it is the live session that the token speaks for: who has our signing key could name another user beside its id. */
export function isLiveSessionOf<R extends Pick<SessionEntity, 'userId' | 'type' | 'expiresAt'>>(
  current: Pick<SessionClaims, 'userId' | 'sessionType'>,
  row: R | null,
  now: number,
): row is R {
  return row?.userId === String(current.userId) && row.type === current.sessionType && row.expiresAt.getTime() > now;
}

const NO_CLAIMS = { claims: null, amr: Object.freeze([]) };

/** The column of claims holds `amr` too, under a name that no application can use. */
export function storedClaims(row: Pick<SessionEntity, 'claims'>): Pick<Session, 'claims' | 'amr'> {
  if (!row.claims) return NO_CLAIMS;
  const { amr = [], ...claims } = row.claims;
  return { claims: Object.keys(claims).length > 0 ? claims : null, amr: amr as string[] };
}
