import { Column, Entity, PrimaryColumn } from 'typeorm';
import { instant, wholeNumber } from '../database/instant.js';

/**
 * An encrypted signing key of `jwt.managed`. The table has only a few rows: the current key, its successor if there is one, and
 * earlier keys that have signed live tokens.
 */
@Entity({ name: 'session_signing_key' })
export class SigningKeyEntity {
  /** The key id in the header of its tokens. */
  @PrimaryColumn({ type: 'varchar', length: 64 })
  kid!: string;

  /** The only algorithm that the key is used with, for example `HS256`. */
  @Column({ type: 'varchar', length: 8 })
  algorithm!: string;

  /** The key, encrypted with AES-256-GCM and bound to its kid and its algorithm. */
  @Column({ type: 'text' })
  sealed!: string;

  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;

  /** When the key starts to sign, which it does until its successor starts. Null until a process has read the committed key. */
  @Column({ name: 'active_at', type: 'bigint', nullable: true, transformer: instant })
  activeAt!: Date | null;

  /**
   * The longest lifetime of a token that the key may have signed, in milliseconds. Null if the key was created by a version
   * that did not record it.
   */
  @Column({ name: 'longest_lifetime', type: 'bigint', nullable: true, transformer: wholeNumber })
  longestLifetime!: number | null;
}
