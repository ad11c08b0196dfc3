import type { SessionClaims } from '../token/access-token.js';

/**
 * Tells of each session of whose end this process learns. The engine implements it, and so does the module of a service without
 * the database.
 */
export abstract class EndedSessions {
  /**
   * Calls the listener with the id of each session of whose end this process learns from now on, from itself or from others.
   * @returns a function that removes the listener
   */
  abstract onEnded(listener: (sessionId: string) => void): () => void;

  /**
   * Checks whether the session of an open connection is still live, although nobody has told of its end. Unlike
   * `AccessVerifier.verify`, it needs neither the token nor a proof of its sender, and the token may have expired.
   * @returns a promise only if a row must be read
   * @throws TokenNotValidError if the session has ended
   * @throws UnavailableError if that cannot be known now
   */
  abstract check(session: SessionClaims): void | Promise<void>;
}
