import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** The time of what has not happened yet. */
export const NEVER = new Date(0);

/** One login of one user on one device. Nothing in it is a token, and no token can be made of it without the signing key. */
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

  /** How many refresh tokens it has handed out after the first. */
  @Column({ type: 'int', default: 0 })
  generation!: number;

  /** The generation of the token that the current one replaced; null until the first rotation. */
  @Column({ name: 'parent_generation', type: 'int', nullable: true })
  parentGeneration!: number | null;

  /** 128 random bits of the current generation, in lower-case hex. */
  @Column({ name: 'refresh_jti', type: 'varchar', length: 32 })
  refreshJti!: string;

  /** That of the token that the current one replaced. */
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

  /** When the current generation was handed out; 1970 until the first rotation, so that the first refresh rotates. */
  @Column({ name: 'rotated_at', type: 'bigint', default: 0, transformer: instant })
  rotatedAt!: Date;

  /** In whole seconds, so that a token made again from it is the same. */
  @Column({ name: 'expires_at', type: 'bigint', transformer: instant })
  expiresAt!: Date;

  /** Extension never goes past it; null where the policy sets no `absoluteLifetime`. */
  @Column({ name: 'absolute_expires_at', type: 'bigint', nullable: true, transformer: instant })
  absoluteExpiresAt!: Date | null;

  /** What the client said of itself at login; never changed afterwards. */
  @Column({ type: 'text' })
  info!: string;

  /** Of whoever was handed the current generation, at login or by a refresh since; so are the address and the device's name. */
  @Column({ name: 'user_agent', type: 'varchar', length: 512, nullable: true })
  userAgent!: string | null;

  /** The last address known, by the application's own setting for proxies. */
  @Column({ name: 'ip_address', type: 'varchar', length: 64, nullable: true })
  ipAddress!: string | null;

  /** A refresh that names no device leaves it as it was. */
  @Column({ name: 'device_name', type: 'varchar', length: 255, nullable: true })
  deviceName!: string | null;

  /** The application's own data; on the server alone. */
  @Column({ type: 'simple-json', nullable: true })
  data!: Record<string, unknown> | null;

  /** What the application adds to each access token; beside it `amr`, which is written by the library. */
  @Column({ type: 'simple-json', nullable: true })
  claims!: Record<string, unknown> | null;
}

/** Since when there is the current refresh token: `rotatedAt`, or the login where there was no rotation. */
export function handedOutAt({ rotatedAt, createdAt }: SessionEntity): number {
  return Math.max(rotatedAt.getTime(), createdAt.getTime());
}
