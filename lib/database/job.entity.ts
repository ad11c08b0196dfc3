import { Column, Entity, PrimaryColumn } from 'typeorm';
import { instant } from './instant.js';

/**
 * A job that one process at a time does, such as the cleanup. A process writes the row in the same transaction as the work,
 * so two processes never do the same work.
 */
@Entity({ name: 'session_job' })
export class SessionJobEntity {
  @PrimaryColumn({ type: 'varchar', length: 64 })
  name!: string;

  /** Increases with each write. A write that changes nothing would not conflict with another node's on a Galera cluster. */
  @Column({ type: 'int' })
  turn!: number;

  /** Until when the job is reserved or done, by the database's clock. */
  @Column({ type: 'bigint', transformer: instant })
  until!: Date;

  /** The progress of a job that takes several transactions. */
  @Column({ type: 'simple-json', nullable: true })
  state!: Record<string, unknown> | null;
}
