import { Column, Entity, PrimaryColumn } from 'typeorm';
import { instant } from './instant.js';

/**
 * The epoch of the database. Tokens state the epoch in which they were issued. After you restore a backup, replace the epoch:
 * this ends every session from before.
 */
@Entity({ name: 'session_epoch' })
export class SessionEpochEntity {
  /** The table has one row, named `current`. */
  @PrimaryColumn({ type: 'varchar', length: 16 })
  name!: string;

  /** Random. */
  @Column({ type: 'varchar', length: 32 })
  epoch!: string;

  /** The first epoch of this database. Tokens that state no epoch belong to it. */
  @Column({ type: 'varchar', length: 32 })
  first!: string;

  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;
}
