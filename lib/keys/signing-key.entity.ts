import { Column, Entity, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** A signing key of `jwt.managed`, encrypted. The table has a few rows: the key that signs and those before it that tokens need. */
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

  /** When it starts to sign, until its successor does. Null until a process has read it after its commit. */
  @Column({ name: 'active_at', type: 'bigint', nullable: true, transformer: instant })
  activeAt!: Date | null;
}
