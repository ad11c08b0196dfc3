import type { EntityManager } from 'typeorm';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { ChangeWriter, SessionChange } from './change-log.js';

/** Sends ended sessions to the other processes in the transaction that ends them, and so at its commit: PostgreSQL's NOTIFY. */
export class PushWriter implements ChangeWriter {
  constructor(
    private readonly push: {
      publishWithin(transaction: EntityManager, revoked: readonly RevokedSession[]): Promise<void>;
    },
  ) {}

  async write(transaction: EntityManager, change: SessionChange): Promise<void> {
    const revoked = change.sessions.flatMap((session) => session.revoked ?? []);
    await this.push.publishWithin(transaction, revoked);
  }
}
