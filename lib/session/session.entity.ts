import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** Sentinel for "never". */
export const NEVER = new Date(0);

/**
 * One login of one user on one device. The row contains no token, and without the signing key no token can be made from it.
 */
@Entity({ name: 'user_session' })
@Index(['userId', 'type', 'expiresAt'])
@Index(['expiresAt'])
@Index(['type', 'id'])
export class SessionEntity {
  /** A UUID v7. The session's tokens carry it as the claim `sid`. */
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  @Column({ name: 'user_id', type: 'varchar', length: 255 })
  userId!: string;

  @Column({ type: 'varchar', length: 64 })
  type!: string;

  /** The number of refresh tokens that were issued after the first. */
  @Column({ type: 'int', default: 0 })
  generation!: number;

  /** The generation of the token that the current one replaced. Null until the first rotation. */
  @Column({ name: 'parent_generation', type: 'int', nullable: true })
  parentGeneration!: number | null;

  /** The `jti` of the current refresh token: 128 random bits in lower-case hex. */
  @Column({ name: 'refresh_jti', type: 'varchar', length: 32 })
  refreshJti!: string;

  /** The `jti` of the parent generation. Null until the first rotation. */
  @Column({ name: 'parent_jti', type: 'varchar', length: 32, nullable: true })
  parentJti!: string | null;

  /** The `kid` of the key that signed the current refresh token. */
  @Column({ name: 'refresh_kid', type: 'varchar', length: 64 })
  refreshKid!: string;

  /** The highest generation that has been seen in use. */
  @Column({ name: 'confirmed_generation', type: 'int', default: 0 })
  confirmedGeneration!: number;

  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;

  @Column({ name: 'last_update', type: 'bigint', transformer: instant })
  lastUpdate!: Date;

  /** When the current generation was issued. `NEVER` until the first rotation, so that the first refresh rotates. */
  @Column({ name: 'rotated_at', type: 'bigint', default: 0, transformer: instant })
  rotatedAt!: Date;

  /** Whole seconds, so that a token reissued from the row is identical. */
  @Column({ name: 'expires_at', type: 'bigint', transformer: instant })
  expiresAt!: Date;

  /** The latest expiry that a refresh can set. Null if the policy sets no `absoluteLifetime`. */
  @Column({ name: 'absolute_expires_at', type: 'bigint', nullable: true, transformer: instant })
  absoluteExpiresAt!: Date | null;

  /** The client's description of itself at login. It never changes. */
  @Column({ type: 'text' })
  info!: string;

  /** The user agent of the client that received the current generation. */
  @Column({ name: 'user_agent', type: 'varchar', length: 512, nullable: true })
  userAgent!: string | null;

  /** The address of the same client, according to the application's trusted-proxy setting. */
  @Column({ name: 'ip_address', type: 'varchar', length: 64, nullable: true })
  ipAddress!: string | null;

  /** The device name of the same client. A refresh without a device name keeps the old one. */
  @Column({ name: 'device_name', type: 'varchar', length: 255, nullable: true })
  deviceName!: string | null;

  /** The application's own data. It never leaves the server. */
  @Column({ type: 'simple-json', nullable: true })
  data!: Record<string, unknown> | null;

  /** The claims that the application adds to each access token, and `amr`, which the library writes. */
  @Column({ type: 'simple-json', nullable: true })
  claims!: Record<string, unknown> | null;
}

/**
 * Returns when the current refresh token was issued: `rotatedAt`, or the login if the session has never rotated.
 * @returns milliseconds since 1970
 */
export function handedOutAt({ rotatedAt, createdAt }: SessionEntity): number {
  return Math.max(rotatedAt.getTime(), createdAt.getTime());
}
