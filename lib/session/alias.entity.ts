import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/**
 * The keys under which another system knew a session that was imported from it. Clients may go on using them.
 *
 * A row outlives its session. The importer skips a session whose alias exists, so a session that was ended here does not come
 * back.
 */
@Entity({ name: 'session_alias' })
@Index(['token'])
@Index(['sessionId'])
export class SessionAliasEntity {
  /** A hash of the system and the old key: see `aliasIdOf`. Letter case matters in the key. */
  @PrimaryColumn({ type: 'varchar', length: 64 })
  id!: string;

  /** The name of the old system, such as `simplejwt-multisessions`. */
  @Column({ type: 'varchar', length: 32 })
  system!: string;

  /** The id of the session in the old system, as its clients know it. */
  @Column({ name: 'old_key', type: 'varchar', length: 510 })
  oldKey!: string;

  /**
   * A hash of the system and of what identifies the old refresh token: see `aliasTokenOf`. Null if the old system had no
   * refresh tokens.
   */
  @Column({ type: 'varchar', length: 64, nullable: true })
  token!: string | null;

  /** The user's id, as in `SessionEntity.userId`. */
  @Column({ name: 'user_id', type: 'varchar', length: 255 })
  userId!: string;

  @Column({ name: 'session_id', type: 'varchar', length: 36 })
  sessionId!: string;

  /** When the session was imported. */
  @Column({ name: 'imported_at', type: 'bigint', transformer: instant })
  importedAt!: Date;
}
