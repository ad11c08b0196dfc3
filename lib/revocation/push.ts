/**
 * Carries messages from each process to all others, so that they learn of ended sessions before their next poll. After a lost
 * message, they learn of the session at that poll. A forged one can only log a user out.
 *
 * Implement it for a message broker of your own and pass it as the option `revocation.push`.
 */
export interface RevocationPush {
  /**
   * Connects, and reconnects when the connection is lost. The application starts without waiting for it.
   * @param receive call this with each message that a process has published; messages of this process may be among them
   * @param warn logs that the connection is lost; optional to call
   */
  start(receive: (message: string) => void, warn?: (text: string) => void): Promise<void>;
  /** Sends a message of less than 8000 bytes to the other processes. Called after the commit; no request waits for it. */
  publish(message: string): Promise<void>;
  /** Closes the connections. `publish` is not called afterwards. */
  stop(): Promise<void>;
}
