import type { EntityManager } from 'typeorm';
import type { PushedRevocations } from '../revocation/pushed-revocations.js';
import type { ChangeWriter, SessionChange } from './change-log.js';

/**
 * Informs the other processes about ended sessions with PostgreSQL's NOTIFY. It runs in the transaction that ends the
 * sessions, so they receive the message when it commits.
 */
export class PushWriter implements ChangeWriter {
  readonly kinds = ['ended'] as const;

  constructor(private readonly push: PushedRevocations) {}

  async write(transaction: EntityManager, changes: readonly SessionChange[]): Promise<void> {
    const ended = changes.flatMap((change) => (change.kind === 'ended' ? change.sessions : []));
    await this.push.publishIn(
      transaction,
      ended.flatMap((session) => session.revoked ?? []),
    );
  }
}
