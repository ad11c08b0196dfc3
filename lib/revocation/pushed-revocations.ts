import type { KeyObject } from 'node:crypto';
import { Logger } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import type { UsedProof } from '../binding/used-proofs.js';
import type { Clock } from '../database/clock.js';
import type { Database } from '../database/database.js';
import { DPOP_PUSH_DELAY } from '../engine/timing.js';
import type { RevocationConfig } from './options.js';
import { PostgresPush } from './postgres-push.js';
import { PushMessages } from './push-message.js';
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

  private readonly messages: PushMessages;
  private onProof: (proof: UsedProof) => void = () => undefined;
  private proofs: UsedProof[] = [];
  private timer?: NodeJS.Timeout;

  /**
   * @param secrets authenticate the messages: the first one writes, and messages of any of them are accepted
   * @param revoked the memory that receives what other processes push
   * @throws MultiSessionConfigurationError if the database does not support the push
   */
  constructor(
    database: Database,
    { push }: Pick<RevocationConfig, 'push'>,
    secrets: readonly (string | KeyObject)[],
    private readonly revoked: RevokedSessions,
    private readonly clock: Pick<Clock, 'now' | 'isSet'>,
  ) {
    this.messages = new PushMessages(secrets);
    if (push === 'postgres') this.postgres = new PostgresPush(database);
    else this.push = push;
  }

  /** Connects in the background. */
  start(): void {
    const receive = (message: string) => {
      // Before the first poll the time is unknown. That poll reads all entries anyway.
      if (!this.clock.isSet) return;
      const now = this.clock.now();
      for (const entry of this.messages.read(message, now)) this.revoked.addPushed(entry);
      for (const proof of this.messages.readProofs(message, now)) this.onProof(proof);
    };
    this.postgres?.start(receive);
    void this.logFailure(async () => this.push?.start(receive, (text) => this.logger.warn(text)));
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
    for (const message of this.messages.write(entries, this.clock.now()))
      await this.postgres.publish(transaction, message);
  }

  /** Sends in the background, after the commit. Does nothing if the push is transactional: `publishIn` has sent already. */
  publish(entries: readonly RevokedSession[]): void {
    const { push } = this;
    if (!push) return;
    for (const message of this.messages.write(entries, this.clock.now()))
      void this.logFailure(async () => push.publish(message));
  }

  /** Calls the listener with each DPoP proof that another process has accepted. */
  listenForProofs(onProof: (proof: UsedProof) => void): void {
    this.onProof = onProof;
  }

  /** Sends a DPoP proof that this process has accepted, in the background and together with others. */
  publishProof(proof: UsedProof): void {
    if (this.stopped || !(this.push || this.postgres)) return;
    this.proofs.push(proof);
    this.timer ??= setTimeout(() => this.sendProofs(), DPOP_PUSH_DELAY).unref();
  }

  private sendProofs(): void {
    const { push, postgres } = this;
    const messages = this.messages.writeProofs(this.proofs, this.clock.now());
    [this.proofs, this.timer] = [[], undefined];
    for (const message of messages)
      void this.logFailure(async () => (postgres ? postgres.publishAlone(message) : push?.publish(message)));
  }

  /** Closes the connections of the push. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
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
