/**
 * Carries texts from each process to all others, so that they need not wait for their next poll. It only hastens: a text
 * that is lost costs one poll interval, and one that is forged can log a user out and nothing else.
 */
export interface RevocationPush {
  /**
   * Hands over what other processes publish; what this one publishes may come back too. Nobody waits for it, so it connects,
   * and connects again, behind the requests.
   */
  start(receive: (message: string) => void): Promise<void>;
  /** Hands one text, of less than 8000 bytes, to the others. Called after the commit; no request waits for it. */
  publish(message: string): Promise<void>;
  /** Closes its connections; nothing is published afterwards. */
  stop(): Promise<void>;
}
