import { Column, Entity, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** What the receiver of a stream has changed. A stream without a row is enabled. */
@Entity({ name: 'session_stream' })
export class SessionStreamEntity {
  /** The stream's name in the option `events.streams`. */
  @PrimaryColumn({ type: 'varchar', length: 40 })
  name!: string;

  /** `enabled`, `paused` or `disabled`. */
  @Column({ type: 'varchar', length: 8 })
  status!: string;

  /** Why, in the words of whoever has set the status. */
  @Column({ type: 'varchar', length: 255, nullable: true })
  reason!: string | null;

  /** When the receiver last asked for a verification event. */
  @Column({ name: 'verified_at', type: 'bigint', nullable: true, transformer: instant })
  verifiedAt!: Date | null;
}
