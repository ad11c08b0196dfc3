/** An ended session whose access tokens are refused. */
export interface RevokedSession {
  readonly sessionId: string;
  readonly userId: string;
  /** Why the session ended, for example `'logout'`. */
  readonly reason: string;
  /** When the last access token of the session has expired, in milliseconds since 1970. Until then the entry is needed. */
  readonly expiresAt: number;
}
