import { Column, Entity, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/**
 * A user who has or recently had sessions. The row is the one lock of the user: every login, eviction and ending of several
 * sessions writes it first. See `UserRows`.
 */
@Entity({ name: 'session_user' })
export class SessionUserEntity {
  /** The user's id, as in `SessionEntity.userId`. */
  @PrimaryColumn({ name: 'user_key', type: 'varchar', length: 255 })
  userKey!: string;

  /** Increases with each write. A write that changes nothing would not conflict with another node's on a Galera cluster. */
  @Column({ type: 'int' })
  version!: number;

  /** A login that started at this time or earlier inserts no session. `NEVER` until the first ending of all sessions. */
  @Column({ name: 'not_before', type: 'bigint', default: 0, transformer: instant })
  notBefore!: Date;

  /** The same for single types: milliseconds since 1970 by the type's name in capitals. Null until the first such ending. */
  @Column({ name: 'not_before_by_type', type: 'simple-json', nullable: true })
  notBeforeByType!: Record<string, number> | null;

  /** When the row was last written. The cleanup deletes a row a day later if its user has no sessions. */
  @Column({ name: 'used_at', type: 'bigint', transformer: instant })
  usedAt!: Date;
}
