import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/**
 * What must no longer be let in. An entry of the kind `session` is an ended session whose access tokens may still be
 * unexpired: every process holds these in memory. One of the kind `token` is a refresh token superseded under
 * `blacklistAfterRotation`, for other services and auditors to read; it is never loaded and changes no verdict.
 */
@Entity({ name: 'session_blacklist' })
@Index(['kind', 'createdAt'])
@Index(['expiresAt'])
export class BlacklistEntity {
  /** The session's id, or the token's `jti`. */
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  @Column({ type: 'varchar', length: 8 })
  kind!: 'session' | 'token';

  /** The session, for both kinds. */
  @Column({ name: 'session_id', type: 'varchar', length: 36 })
  sessionId!: string;

  @Column({ name: 'user_id', type: 'varchar', length: 255 })
  userId!: string;

  /** Why the session ended; `rotated` for a token. */
  @Column({ type: 'varchar', length: 32 })
  reason!: string;

  /** By the database's clock, when the entry was written. */
  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;

  /** When the last token that the entry refuses has expired by itself: from then on the entry may go. */
  @Column({ name: 'expires_at', type: 'bigint', transformer: instant })
  expiresAt!: Date;
}
