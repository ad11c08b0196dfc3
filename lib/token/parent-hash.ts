import { createHash } from 'node:crypto';

/** In characters of base64url: 132 bits. */
const LENGTH = 22;

/**
 * Returns what a refresh token states of its parent. A row that has lost the token's generation in a fail-over shows by it that
 * the token is the successor of the row's own. The `jti` itself is not stated, because it belongs to another token.
 */
export function parentHashOf(jti: string): string {
  return createHash('sha256').update(jti).digest('base64url').slice(0, LENGTH);
}
