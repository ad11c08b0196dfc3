import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/**
 * An entry of the blacklist. There are two kinds:
 *
 * - `session`: a session has ended, but its access tokens may still be unexpired. Every process holds these entries in memory and
 *   refuses the tokens.
 * - `token`: a refresh token was superseded under `blacklistAfterRotation`. Other services and auditors can read these
 *   entries. The library never loads them, and they do not affect which tokens are accepted.
 */
@Entity({ name: 'session_blacklist' })
@Index(['kind', 'createdAt'])
@Index(['expiresAt'])
export class BlacklistEntity {
  /** The id of the session, or the `jti` of the token. */
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  @Column({ type: 'varchar', length: 8 })
  kind!: 'session' | 'token';

  /** The id of the session, for both kinds. */
  @Column({ name: 'session_id', type: 'varchar', length: 36 })
  sessionId!: string;

  @Column({ name: 'user_id', type: 'varchar', length: 255 })
  userId!: string;

  /** Why the session ended; `rotated` for a token. */
  @Column({ type: 'varchar', length: 32 })
  reason!: string;

  /** When the entry was written, by the database's clock. */
  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;

  /** The expiry of the last token that the entry concerns. The entry may be deleted from then on. */
  @Column({ name: 'expires_at', type: 'bigint', transformer: instant })
  expiresAt!: Date;
}
