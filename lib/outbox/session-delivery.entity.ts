import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** An event that a destination has not accepted yet. The row is deleted when the destination accepts it. */
@Entity({ name: 'session_delivery' })
@Index(['destination', 'queue'])
@Index(['eventId'])
export class SessionDeliveryEntity {
  /** A webhook or a handler of the application, such as `webhook:billing` or `handler:Audit.onEnded`. */
  @PrimaryColumn({ type: 'varchar', length: 128 })
  destination!: string;

  /** The place of the event in the order of delivery: its time, its position and its id. */
  @PrimaryColumn({ type: 'varchar', length: 64 })
  ordinal!: string;

  @Column({ name: 'event_id', type: 'varchar', length: 36 })
  eventId!: string;

  /** The events of one session are delivered in order. For an event without a session, this is the id of the event. */
  @Column({ name: 'queue', type: 'varchar', length: 36 })
  queue!: string;

  /** How often it was tried. */
  @Column({ type: 'int', default: 0 })
  attempts!: number;

  /** When it is tried next. */
  @Column({ name: 'next_at', type: 'bigint', transformer: instant })
  nextAt!: Date;

  /** When the last try failed, after which it is a dead letter. Null if it is not one. */
  @Column({ name: 'failed_at', type: 'bigint', nullable: true, transformer: instant })
  failedAt!: Date | null;

  /** What went wrong at the latest try. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  error!: string | null;
}
