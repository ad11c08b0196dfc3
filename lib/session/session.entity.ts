import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** Sentinel for "never". */
export const NEVER = new Date(0);

/** One login of one user on one device. It contains no token, and without the signing key nobody can make one from it. */
@Entity({ name: 'user_session' })
@Index(['userId', 'type', 'expiresAt'])
@Index(['expiresAt'])
@Index(['type', 'id'])
export class SessionEntity {
  /** A uuid v7; the claim `sid` of its tokens. */
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  @Column({ name: 'user_id', type: 'varchar', length: 255 })
  userId!: string;

  @Column({ type: 'varchar', length: 64 })
  type!: string;

  /** The number of refresh tokens that were issued after the first. */
  @Column({ type: 'int', default: 0 })
  generation!: number;

  /** The generation of the token that the current one replaced; null until the first rotation. */
  @Column({ name: 'parent_generation', type: 'int', nullable: true })
  parentGeneration!: number | null;

  /** 128 random bits of the current generation, in lower-case hex. */
  @Column({ name: 'refresh_jti', type: 'varchar', length: 32 })
  refreshJti!: string;

  /** The `refreshJti` of the parent generation. */
  @Column({ name: 'parent_jti', type: 'varchar', length: 32, nullable: true })
  parentJti!: string | null;

  /** The name of the key that signed the current generation. */
  @Column({ name: 'refresh_kid', type: 'varchar', length: 64 })
  refreshKid!: string;

  /** The highest generation that has been seen in use. */
  @Column({ name: 'confirmed_generation', type: 'int', default: 0 })
  confirmedGeneration!: number;

  @Column({ name: 'created_at', type: 'bigint', transformer: instant })
  createdAt!: Date;

  @Column({ name: 'last_update', type: 'bigint', transformer: instant })
  lastUpdate!: Date;

  /** When the current generation was issued; `NEVER` until the first rotation, so that the first refresh rotates. */
  @Column({ name: 'rotated_at', type: 'bigint', default: 0, transformer: instant })
  rotatedAt!: Date;

  /** In whole seconds, so that a token that is issued again from the row is the same. */
  @Column({ name: 'expires_at', type: 'bigint', transformer: instant })
  expiresAt!: Date;

  /** The latest expiry that a refresh can set; null if the policy sets no `absoluteLifetime`. */
  @Column({ name: 'absolute_expires_at', type: 'bigint', nullable: true, transformer: instant })
  absoluteExpiresAt!: Date | null;

  /** The client's description of itself at login; never changed afterwards. */
  @Column({ type: 'text' })
  info!: string;

  /** Of the client that received the current generation; so are `ipAddress` and `deviceName`. */
  @Column({ name: 'user_agent', type: 'varchar', length: 512, nullable: true })
  userAgent!: string | null;

  /** The last known address, by the application's own proxy setting. */
  @Column({ name: 'ip_address', type: 'varchar', length: 64, nullable: true })
  ipAddress!: string | null;

  /** A refresh that names no device keeps it. */
  @Column({ name: 'device_name', type: 'varchar', length: 255, nullable: true })
  deviceName!: string | null;

  /** The application's own data; it never leaves the server. */
  @Column({ type: 'simple-json', nullable: true })
  data!: Record<string, unknown> | null;

  /** The claims that the application adds to each access token, and `amr`, which the library writes. */
  @Column({ type: 'simple-json', nullable: true })
  claims!: Record<string, unknown> | null;
}

/**
 * When the current refresh token was issued: `rotatedAt`, or the login if the token was never rotated.
 * @returns milliseconds since 1970
 */
export function handedOutAt({ rotatedAt, createdAt }: SessionEntity): number {
  return Math.max(rotatedAt.getTime(), createdAt.getTime());
}
