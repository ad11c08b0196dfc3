import { Column, Entity, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** A signing key that the library has made (`jwt.managed`), encrypted. Few rows: one for each rotation still of account. */
@Entity({ name: 'session_signing_key' })
export class SigningKeyEntity {
  /** The key's name in the header of its tokens. */
  @PrimaryColumn({ type: 'varchar', length: 64 })
  kid!: string;

  /** The one algorithm that it is used with. */
  @Column({ type: 'varchar', length: 8 })
  algorithm!: string;

  /** The key, encrypted with AES-256-GCM; bound to its name and its algorithm. */
  @Column({ type: 'text' })
  sealed!: string;

  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;

  /** From when on it signs, until the next one does; null until a process has read it after its commit. */
  @Column({ name: 'active_at', type: 'bigint', nullable: true, transformer: instant })
  activeAt!: Date | null;
}
