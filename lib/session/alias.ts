import { hash } from 'node:crypto';
import { userBucketOf, uuidV7 } from './id.js';

/** The systems whose sessions can be imported. */
export const LEGACY_SYSTEMS = [
  'simplejwt-multisessions',
  'drf-jwt-devices',
  'supertokens-django-ref-jwt',
  'django-token-manager',
] as const;

/** The name of a system whose sessions can be imported. */
export type LegacySystem = (typeof LEGACY_SYSTEMS)[number];

/** `SessionEntity.refreshKid` of an imported session, until it gets a refresh token of ours. */
export const LEGACY_KID = 'legacy';

/**
 * Returns the primary key of an alias.
 * @param oldKey the id of the session in the old system: `session_id`, `device_id`, `session_handle` or `lookup_id`
 */
export function aliasIdOf(system: LegacySystem, oldKey: string): string {
  return digest(['key', system, oldKey]);
}

/**
 * Returns the hash under which an old refresh token is found. It is 64 digits of lower-case hex.
 * @param tokenKey what identifies the token. simplejwt_multisessions: its `jti`. drf-jwt-devices: the permanent token.
 * supertokens-django-ref-jwt: `refresh_token_hash_2`, the hex SHA-256 of the hex SHA-256 of the token
 */
export function aliasTokenOf(system: LegacySystem, tokenKey: string): string {
  return digest(['token', system, tokenKey]);
}

/**
 * Returns the `jti` that stands for an old refresh token in `SessionEntity.refreshJti` and `parentJti`. An imported session
 * begins with it as generation 0, so the rule of rotation judges the old token like any other.
 * @param aliasToken the result of `aliasTokenOf`. For django-token-manager, which has no refresh tokens, that of `aliasIdOf`
 */
export function legacyJtiOf(aliasToken: string): string {
  return aliasToken.slice(0, 32);
}

/**
 * Returns the id of an imported session: a UUID v7 that the same old session always gets.
 * @param createdAt when it was created in the old system, in milliseconds since 1970
 * @param userId as the row has it. Like every session id, this one contains the user's bucket
 */
export function importedSessionId(system: LegacySystem, oldKey: string, createdAt: number, userId: string): string {
  return uuidV7(createdAt, userBucketOf(userId) + digest(['session', system, oldKey, createdAt]));
}

/** Hashes a list of values, so that no two different lists give the same text. */
function digest(parts: readonly (string | number)[]): string {
  return hash('sha256', JSON.stringify(parts), 'hex');
}
