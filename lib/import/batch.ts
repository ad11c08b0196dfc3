import { aliasIdOf, aliasTokenOf, importedSessionId, LEGACY_KID, legacyJtiOf } from '../session/alias.js';
import { fitClientInfo } from '../session/client-info.js';
import { checkData, MAX_DATA_BYTES } from '../session/data.js';
import { MAX_CLAIMS_BYTES } from '../session/claims.js';
import { wholeSecond } from '../session/policy.js';
import { reservedClaims } from '../token/options.js';
import type { ImportPlan } from './options.js';
import type { OldSession } from './system.js';
import type { ImportedRow } from './target-sql.js';

/** The lengths of columns. */
const MAX_OLD_KEY = 510;
const MAX_USER_ID = 255;

/**
 * Returns the row of a session to import.
 * @returns a text that says what is wrong, if the tables of this library cannot hold it
 */
export function importedRow(old: OldSession, { system, config }: ImportPlan): ImportedRow | string {
  const { oldKey, tokenKey, policy, createdAt, lastUpdate, expiresAt, data, claims } = old;
  const userId = String(old.userId);
  if (oldKey === '' || oldKey.length > MAX_OLD_KEY) return `its key must have 1 to ${MAX_OLD_KEY} characters`;
  if (userId === '' || userId.length > MAX_USER_ID) return `its user id must have 1 to ${MAX_USER_ID} characters`;
  if (![createdAt, lastUpdate, expiresAt].every(Number.isSafeInteger)) return 'one of its times is missing';
  const reserved = reservedClaims(config.tokens).filter((name) => Object.hasOwn(claims ?? {}, name));
  if (reserved.length > 0) return `its claims have the names ${reserved.join(', ')}, which the library uses itself`;
  try {
    if (data) checkData(data, { most: MAX_DATA_BYTES });
    if (claims) checkData(claims, { name: 'claims', most: MAX_CLAIMS_BYTES });
  } catch (error) {
    return (error as Error).message;
  }
  const aliasId = aliasIdOf(system.name, oldKey);
  const token = tokenKey === null ? null : aliasTokenOf(system.name, tokenKey);
  const { absoluteLifetime } = policy.config;
  return {
    id: importedSessionId(system.name, oldKey, createdAt, userId),
    userId,
    type: policy.type,
    refreshJti: legacyJtiOf(token ?? aliasId),
    createdAt,
    lastUpdate,
    expiresAt: wholeSecond(expiresAt),
    absoluteExpiresAt: absoluteLifetime === undefined ? null : wholeSecond(createdAt + absoluteLifetime),
    info: old.info ?? '',
    ...fitClientInfo(old),
    data: data ? JSON.stringify(data) : null,
    claims: claims ? JSON.stringify(claims) : null,
    refreshKid: LEGACY_KID,
    aliasId,
    system: system.name,
    oldKey,
    token,
  };
}
