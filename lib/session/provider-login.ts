import { createHash } from 'node:crypto';

/** Where a session's user has logged in: the claims `iss`, `sub` and `sid` of the ID token. */
export interface ProviderLogin {
  /** The `iss` of the ID token, which must be the `issuer` of one of the option `identityProviders`. */
  readonly issuer: string;
  /** The `sub` of the ID token: the provider's id of the user. */
  readonly subject: string;
  /**
   * The `sid` of the ID token: the provider's id of its own session. Without it, a logout at the provider ends the session only if
   * it names the user.
   */
  readonly sid?: string | undefined;
}

/** How an identity provider names a user: a subject identifier (RFC 9493). */
export type SubjectIdentifier =
  | { readonly format: 'iss_sub'; readonly iss: string; readonly sub: string }
  | { readonly format: 'email'; readonly email: string }
  | { readonly format: 'opaque'; readonly id: string };

/** The rows of a login at a provider have hashes, which compare alike in every collation and have a fixed length. */
const hashOf = (...parts: readonly string[]) => createHash('sha256').update(JSON.stringify(parts)).digest('hex');

/** Returns the key of a provider's user. */
export function subjectKeyOf(issuer: string, subject: string): string {
  return hashOf('sub', issuer, subject);
}

/** Returns the key of a provider's session. */
export function sidKeyOf(issuer: string, sid: string): string {
  return hashOf('sid', issuer, sid);
}

/** Returns the id of the row of a signal. */
export function signalIdOf(issuer: string, kind: string, id: string): string {
  return hashOf(kind, issuer, id);
}
