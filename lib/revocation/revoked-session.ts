/** An ended session, as the blacklist tells of it. */
export interface RevokedSession {
  readonly sessionId: string;
  readonly userId: string;
  readonly reason: string;
  /** Milliseconds: until then the entry is needed. */
  readonly expiresAt: number;
}
