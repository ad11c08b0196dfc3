import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import type { RevocationConfig } from './options.js';
import { PostgresPush } from './postgres-push.js';
import { fromMessage, toMessages } from './push-message.js';
import type { RevokedSession } from './revoked-session.js';
import type { RevokedSessions } from './revoked-sessions.js';

/**
 * Sends ended sessions to the other processes and receives theirs, through the push in the options, if there is one.
 * Polling is the mechanism of record. A push only makes it faster, so no request waits for one.
 */
export class PushedRevocations {
  private readonly logger = new Logger('MultiSession');
  private readonly push: Exclude<RevocationConfig['push'], 'postgres'>;
  private readonly postgres?: PostgresPush;
  private isFailing = false;
  private stopped = false;

  /**
   * @param revoked the memory that receives what other processes push
   * @param now the database's time, in milliseconds since 1970
   * @throws MultiSessionConfigurationError if the database does not support the push
   */
  constructor(
    database: Database,
    { push }: Pick<RevocationConfig, 'push'>,
    private readonly revoked: RevokedSessions,
    private readonly now: () => number,
  ) {
    if (push === 'postgres') this.postgres = new PostgresPush(database);
    else this.push = push;
  }

  /** Connects in the background. */
  start(): void {
    const receive = (message: string) => {
      for (const entry of fromMessage(message, this.now())) this.revoked.add(entry);
    };
    this.postgres?.start(receive);
    void this.logFailure(async () => this.push?.start(receive));
  }

  /** Whether the push is sent within the transaction that ends a session, by `publishIn`. */
  get isTransactional(): boolean {
    return this.postgres !== undefined;
  }

  /**
   * Sends the entries within the transaction that writes them. Other processes receive them at the commit, and never after a
   * rollback. Does nothing unless the push is transactional.
   */
  async publishIn(transaction: EntityManager, entries: readonly RevokedSession[]): Promise<void> {
    if (!this.postgres) return;
    for (const message of toMessages(entries)) await this.postgres.publish(transaction, message);
  }

  /** Sends in the background, after the commit. Does nothing if the push is transactional: `publishIn` has sent already. */
  publish(entries: readonly RevokedSession[]): void {
    const { push } = this;
    if (!push) return;
    for (const message of toMessages(entries)) void this.logFailure(async () => push.publish(message));
  }

  /** Closes the connections of the push. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.postgres?.stop();
    await this.push?.stop().catch(() => undefined);
  }

  /** Logs the first failure only, until the push works again. */
  private async logFailure(work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.isFailing = false;
    } catch (error) {
      if (!this.isFailing && !this.stopped) {
        const { message } = error as Error;
        this.logger.warn(`the push of ended sessions failed, so other processes learn of them by polling: ${message}`);
      }
      this.isFailing = true;
    }
  }
}
