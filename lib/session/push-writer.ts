import type { EntityManager } from 'typeorm';
import type { PushedRevocations } from '../revocation/pushed-revocations.js';
import type { ChangeWriter, SessionChange } from './change-log.js';

/** Sends ended sessions to the other processes in the transaction that ends them, and so at its commit: PostgreSQL's NOTIFY. */
export class PushWriter implements ChangeWriter {
  constructor(private readonly push: PushedRevocations) {}

  async write(transaction: EntityManager, change: SessionChange): Promise<void> {
    const revoked = change.sessions.flatMap((session) => session.revoked ?? []);
    await this.push.publishIn(transaction, revoked);
  }
}
