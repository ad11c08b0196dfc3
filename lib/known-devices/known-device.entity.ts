import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** A device from which a user has logged in. The row holds only a hash of it: see `deviceIdOf`. */
@Entity({ name: 'known_device' })
@Index(['userId'])
@Index(['lastSeen'])
export class KnownDeviceEntity {
  /** SHA-256 of the user's id and the device's fingerprint, in lower-case hex. */
  @PrimaryColumn({ type: 'varchar', length: 64 })
  id!: string;

  @Column({ name: 'user_id', type: 'varchar', length: 255 })
  userId!: string;

  /** The time of the last login from this device, accurate to a day. */
  @Column({ name: 'last_seen', type: 'bigint', transformer: instant })
  lastSeen!: Date;

  /** When the device is forgotten. Null if the row was written by a version that did not record it. */
  @Column({ name: 'expires_at', type: 'bigint', nullable: true, transformer: instant })
  expiresAt!: Date | null;
}
