import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/**
 * Something that happened to a session or a user. It is written in the transaction of the change itself, so it exists if and
 * only if the change was committed. The table stays empty unless the option `events` is set.
 */
@Entity({ name: 'session_event' })
@Index(['deliveredAt', 'createdAt', 'position'])
@Index(['userId', 'createdAt'])
@Index(['sessionId'])
export class SessionEventEntity {
  /** A UUID v7. It is the same in every delivery of the event. */
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  /** The event, such as `session.ended`. */
  @Column({ type: 'varchar', length: 32 })
  name!: string;

  /** 0 for the first event of a session, 2 for its last one, 1 for all others. It orders events of the same millisecond. */
  @Column({ type: 'int' })
  position!: number;

  /** Null if the event concerns no single session. */
  @Column({ name: 'session_id', type: 'varchar', length: 36, nullable: true })
  sessionId!: string | null;

  /** Null for a failed login, because nobody knows whose it is. */
  @Column({ name: 'user_id', type: 'varchar', length: 255, nullable: true })
  userId!: string | null;

  @Column({ name: 'session_type', type: 'varchar', length: 64, nullable: true })
  sessionType!: string | null;

  /** Why a session ended or a login failed. */
  @Column({ type: 'varchar', length: 32, nullable: true })
  reason!: string | null;

  /** Who caused it: `user`, `admin`, `policy` or `system`. */
  @Column({ type: 'varchar', length: 8 })
  initiator!: string;

  /** The client and further details, as JSON. */
  @Column({ type: 'text' })
  data!: string;

  /** When it happened, by the database's clock. */
  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;

  /** When it was handed to all destinations, as rows of `session_delivery`. Null until then. */
  @Column({ name: 'delivered_at', type: 'bigint', nullable: true, transformer: instant })
  deliveredAt!: Date | null;
}
