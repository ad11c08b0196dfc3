import type { UserId } from '../../token/options.js';
import type { SourceValue } from '../source.js';
import { numberOf, type OldSystem, textOf } from '../system.js';

/** SHA-256 in hex. */
const HASH = /^[0-9a-f]{64}$/;

/** supertokens-django-ref-jwt: one row per session, which holds a hash of its refresh token. */
export const SUPERTOKENS_DJANGO_REF_JWT: OldSystem = {
  name: 'supertokens-django-ref-jwt',
  tables: [
    {
      name: 'refresh_token',
      columns: ['session_handle', 'user_id', 'refresh_token_hash_2', 'session_info', 'jwt_payload', 'expires_at'],
    },
  ],
  primaryKey: 'session_handle',
  keyColumn: 'session_handle',
  select: ({ ms }) => `
    session_handle, user_id, refresh_token_hash_2, session_info, jwt_payload, ${ms('expires_at')} AS expires_ms`,
  counts: ({ ms }) => `${ms('expires_at')} > :now`,

  convert(row, { types, now }) {
    const hash = String(row.refresh_token_hash_2);
    if (!HASH.test(hash)) return { fault: 'the column refresh_token_hash_2 is not a SHA-256 in hex' };
    const expiresAt = numberOf(row.expires_ms);
    if (expiresAt === null) return { fault: 'the column expires_at is empty' };
    if (expiresAt <= now) return { skip: 'expired' };
    const data = jsonOf(row.session_info);
    if (data === undefined) return { fault: 'the column session_info is not JSON' };
    const claims = jsonOf(row.jwt_payload);
    if (claims === undefined) return { fault: 'the column jwt_payload is not JSON' };
    return {
      session: {
        oldKey: String(row.session_handle),
        tokenKey: hash,
        userId: userIdOf(String(row.user_id)),
        policy: types[''],
        // The old system does not record it.
        createdAt: now,
        lastUpdate: now,
        expiresAt,
        data,
        claims,
      },
    };
  },
};

/** Reads a user's id: a number is stored as `{"i": 5}`, and every other text is an id as it stands. */
function userIdOf(stored: string): UserId {
  const number = /^\{\s*"i"\s*:\s*(-?\d+)\s*\}$/.exec(stored)?.[1];
  return number === undefined ? stored : Number(number);
}

/**
 * Reads a column of JSON. An empty text and `null` count as nothing, and a value that is not an object becomes
 * `{ value: … }`.
 * @returns undefined if it is not JSON
 */
function jsonOf(stored: SourceValue): Record<string, unknown> | null | undefined {
  const text = textOf(stored);
  if (!text) return null;
  try {
    const value = JSON.parse(text) as unknown;
    if (value === null) return null;
    return typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : { value };
  } catch {
    return undefined;
  }
}
