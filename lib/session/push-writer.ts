import type { EntityManager } from 'typeorm';
import type { PushedRevocations } from '../revocation/pushed-revocations.js';
import type { ChangeWriter, SessionChange } from './change-log.js';

/**
 * Informs the other processes about ended sessions with PostgreSQL's NOTIFY. It runs in the transaction that ends the
 * sessions, so they receive the message when it commits.
 */
export class PushWriter implements ChangeWriter {
  constructor(private readonly push: PushedRevocations) {}

  async write(transaction: EntityManager, change: SessionChange): Promise<void> {
    const revoked = change.sessions.flatMap((session) => session.revoked ?? []);
    await this.push.publishIn(transaction, revoked);
  }
}
