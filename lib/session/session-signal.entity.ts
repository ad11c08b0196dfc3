import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/**
 * A signal of an identity provider that ends sessions. The row keeps the signal from being used again, and keeps a login that
 * had begun before the signal from being completed.
 */
@Entity({ name: 'session_signal' })
@Index(['subjectKey'])
@Index(['expiresAt'])
export class SessionSignalEntity {
  /** A hash of the provider's issuer and the signal's own id. */
  @PrimaryColumn({ type: 'varchar', length: 64 })
  id!: string;

  /** What it ended: a key of `SessionProviderEntity`. Null if it names nothing that a login could name. */
  @Column({ name: 'subject_key', type: 'varchar', length: 64, nullable: true })
  subjectKey!: string | null;

  /** When it was first received, by the database's clock. */
  @Column({ name: 'received_at', type: 'bigint', transformer: instant })
  receivedAt!: Date;

  /** 1 if its sessions have ended. A signal that was received and not handled is handled when it is sent again. */
  @Column({ type: 'int', default: 0 })
  handled!: number;

  /** When the row may be deleted. The signal itself is too old to be accepted by then. */
  @Column({ name: 'expires_at', type: 'bigint', transformer: instant })
  expiresAt!: Date;
}
