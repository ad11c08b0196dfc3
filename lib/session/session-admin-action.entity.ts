import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/**
 * Something that an administrator did. What ends sessions is recorded in the transaction that ends them, so the row exists if and
 * only if that was committed.
 */
@Entity({ name: 'session_admin_action' })
@Index(['byUserId', 'id'])
export class SessionAdminActionEntity {
  /** A UUID v7 of the database's time, so that ids sort by time. */
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  /** `end-session`, `end-user`, `end-all` or `replay-events`. */
  @Column({ type: 'varchar', length: 32 })
  action!: string;

  /** The administrator. Null if the caller is not known by the id of a user. */
  @Column({ name: 'by_user_id', type: 'varchar', length: 255, nullable: true })
  byUserId!: string | null;

  /** The user whose sessions were ended. */
  @Column({ name: 'user_id', type: 'varchar', length: 255, nullable: true })
  userId!: string | null;

  /** The session that was ended. */
  @Column({ name: 'session_id', type: 'varchar', length: 36, nullable: true })
  sessionId!: string | null;

  /** How many sessions were ended. Null if that is not known yet. */
  @Column({ type: 'int', nullable: true })
  ended!: number | null;

  /** What else there is to say about the action, as JSON. */
  @Column({ type: 'text' })
  details!: string;

  /** When it happened, by the database's clock. */
  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;
}
