import type { UserId } from '../../token/options.js';
import { isOneOf, type SourceRow } from '../source.js';
import { numberOf, type OldSystem, textOf } from '../system.js';

const SESSIONS = 'simplejwt_multisessions_authenticationsession';
const OUTSTANDING = 'token_blacklist_outstandingtoken';
const BLACKLISTED = 'token_blacklist_blacklistedtoken';

/** The old names of the types, in the order of the numbers in the column `session`. */
const TYPES = ['short', 'long'] as const;

/** simplejwt_multisessions: one row per session, which holds its refresh token. */
export const SIMPLEJWT_MULTISESSIONS: OldSystem = {
  name: 'simplejwt-multisessions',
  tables: [
    {
      name: SESSIONS,
      columns: [
        'id',
        'session_id',
        'session',
        'refresh',
        'expiresAt',
        'createdAt',
        'lastUpdateDate',
        'info',
        'user_id',
      ],
    },
  ],
  optionalTables: [
    { name: OUTSTANDING, columns: ['id', 'jti'] },
    { name: BLACKLISTED, columns: ['token_id'] },
  ],
  types: TYPES,
  primaryKey: 'id',
  keyColumn: 'session_id',
  select: ({ ms }) => `
    id, session_id, session, refresh, ${ms('expiresAt')} AS expires_ms, ${ms('createdAt')} AS created_ms,
    ${ms('lastUpdateDate')} AS updated_ms, info, user_id`,
  counts: ({ ms }, type) =>
    `session = ${TYPES.indexOf(type as 'short')} AND (expiresAt IS NULL OR ${ms('expiresAt')} > :now)`,

  /** Returns which of the rows' tokens are on the blacklist, by their `jti`. */
  async lookUp(rows, source, hasOptional) {
    const ids = rows.flatMap((row) => claimsOf(row)?.jti ?? []);
    if (!hasOptional || ids.length === 0) return new Set();
    const { condition, values } = isOneOf('jti', ids, Math.max(rows.length, 1));
    const found = await source.query<{ jti: string }>(
      `SELECT jti FROM ${OUTSTANDING} WHERE ${condition} AND EXISTS (
         SELECT 1 FROM ${BLACKLISTED} WHERE token_id = ${OUTSTANDING}.id)`,
      values,
    );
    return new Set(found.map(({ jti }) => jti));
  },

  convert(row, { types, now }, blacklisted) {
    const claims = claimsOf(row);
    if (!claims) return { fault: 'the column refresh holds no refresh token of simplejwt' };
    const type = TYPES[Number(row.session)] as string | undefined;
    if (type === undefined) return { fault: `the column session is ${String(row.session)} instead of 0 or 1` };
    // The row decides when a session ends, not its token.
    const expiresAt = numberOf(row.expires_ms) ?? claims.exp * 1000;
    if (expiresAt <= now) return { skip: 'expired' };
    if (blacklisted.has(claims.jti)) return { skip: 'blacklisted' };
    const policy = types[type];
    return {
      session: {
        oldKey: String(row.session_id),
        tokenKey: claims.jti,
        userId: row.user_id as UserId,
        policy,
        createdAt: Number(row.created_ms),
        lastUpdate: lastUseOf(Number(row.updated_ms), expiresAt - policy.config.refreshTokenLifetime, now),
        expiresAt,
        info: textOf(row.info),
      },
    };
  },
};

/**
 * Returns the last use of a session. The old system records it only with `UPDATE_LAST_LOGIN`, but an extension was a use too.
 * Without this, a session that was extended would count as unused since its login.
 * @param extendedAt when the session got its expiry, if the old lifetime was that of the new policy. In the future if it was
 * longer. Then the policy is stricter, and it decides
 */
function lastUseOf(recorded: number, extendedAt: number, now: number): number {
  return extendedAt <= now ? Math.max(recorded, extendedAt) : recorded;
}

/** Reads the claims of a row's token. The signature is checked when a client presents it. */
function claimsOf({ refresh }: SourceRow): { jti: string; exp: number } | undefined {
  try {
    const payload = String(refresh).split('.')[1];
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { jti: unknown; exp: unknown };
    const { jti, exp } = claims;
    return typeof jti === 'string' && jti !== '' && typeof exp === 'number' ? { jti, exp } : undefined;
  } catch {
    return undefined;
  }
}
