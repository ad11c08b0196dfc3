/** An ended session whose access tokens are refused. */
export interface RevokedSession {
  readonly sessionId: string;
  readonly userId: string;
  /** Why the session ended, for example `'logout'`. */
  readonly reason: string;
  /** The expiry of the session's last access token, in milliseconds since 1970. The entry is needed until then. */
  readonly expiresAt: number;
}
