import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { Database } from '../database/database.js';
import { PostgresPush } from './postgres-push.js';
import { fromMessage, toMessages } from './push-message.js';
import type { RevocationConfig } from './options.js';
import type { RevokedSession } from './revoked-session.js';

/** Tells the other processes of ended sessions, and hears of theirs, by the push that the options name. */
export class PushedRevocations {
  private readonly logger = new Logger('MultiSession');
  private readonly push: Exclude<RevocationConfig['push'], 'postgres'>;
  private readonly inTransaction?: PostgresPush;
  private failing = false;
  private stopped = false;

  /** @throws MultiSessionConfigurationError for a push that the database does not have */
  constructor(
    database: Database,
    { push }: RevocationConfig,
    private readonly now: () => number,
  ) {
    if (push === 'postgres') this.inTransaction = new PostgresPush(database);
    else this.push = push;
  }

  /** Nobody waits for it: without a push, the polls do the work. */
  start(onRevoked: (revoked: RevokedSession) => void): void {
    const receive = (message: string) => fromMessage(message, this.now()).forEach(onRevoked);
    this.inTransaction?.start(receive);
    this.watch(async () => this.push?.start(receive));
  }

  /** Whether there is anything to publish within a transaction. */
  get isWithinTransactions(): boolean {
    return this.inTransaction !== undefined;
  }

  /** Within the transaction that writes the entries: told at its commit, and never if it is rolled back. */
  async publishWithin(manager: EntityManager, entries: readonly RevokedSession[]): Promise<void> {
    if (!this.inTransaction) return;
    for (const message of toMessages(entries)) await this.inTransaction.publish(manager, message);
  }

  /** After the commit. */
  publish(entries: readonly RevokedSession[]): void {
    const { push } = this;
    if (push) for (const message of toMessages(entries)) this.watch(async () => push.publish(message));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.inTransaction?.stop();
    await this.push?.stop().catch(() => undefined);
  }

  /** A push that fails is told of once, until it works again. */
  private watch(work: () => Promise<void>): void {
    work().then(
      () => (this.failing = false),
      (error: unknown) => {
        if (!this.failing && !this.stopped)
          this.logger.warn(`ended sessions could not be pushed: ${(error as Error).message}`);
        this.failing = true;
      },
    );
  }
}
