import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** At which identity provider the login of a session took place. Empty unless `identityProviders` is set. */
@Entity({ name: 'session_provider' })
@Index(['subjectKey'])
@Index(['sidKey'])
@Index(['createdAt'])
export class SessionProviderEntity {
  @PrimaryColumn({ name: 'session_id', type: 'varchar', length: 36 })
  sessionId!: string;

  /** A hash of the provider's issuer and its id of the user: see `subjectKeyOf`. */
  @Column({ name: 'subject_key', type: 'varchar', length: 64 })
  subjectKey!: string;

  /** A hash of the provider's issuer and its id of the session: see `sidKeyOf`. Null if the provider gave none. */
  @Column({ name: 'sid_key', type: 'varchar', length: 64, nullable: true })
  sidKey!: string | null;

  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;
}
