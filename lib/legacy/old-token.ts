import type { LegacySystem } from '../session/alias.js';
import type { UserId } from '../token/options.js';

/** A refresh token or permanent token of an old system, after its signature has been verified. */
export interface OldToken {
  /** How its session is found: by what identifies the token, or by the id of the session in the old system. */
  readonly foundBy: { readonly token: string } | { readonly oldKey: string };
  /** What identifies the token: see `aliasTokenOf`. */
  readonly tokenKey: string;
  /** What identifies the token that it replaces. Absent if it replaces none, or does not state it. */
  readonly parentTokenKey?: string;
  /** The user that the token names, as the old system wrote the id. Absent if it names none. */
  readonly userId?: UserId;
}

/** Reads the refresh tokens of one system. */
export interface OldTokenReader {
  readonly system: LegacySystem;
  /** Verifies a token. Returns undefined if it is not one of this system. Sends no statement. */
  read(text: string): OldToken | undefined;
}
