import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import { instant } from '../database/instant.js';

/** Sentinel for "never". */
export const NEVER = new Date(0);

/**
 * One login of one user on one device. The row contains no token, and without the signing key no token can be made from it.
 *
 * No index contains a column whose value a refresh changes. So PostgreSQL updates the row in its page and touches no index, and
 * InnoDB writes no secondary index.
 */
@Entity({ name: 'user_session' })
@Index(['userId'])
@Index(['cleanupAt'])
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

  /**
   * When the cleanup looks at the row next. A refresh extends `expiresAt` and leaves this time alone, so the row may not have
   * expired by then. The cleanup then sets this time to `expiresAt`. 0 means at once: so does a version that does not know the
   * column. Statements that set `expiresAt` to any other value set both. Only the cleanup reads it.
   */
  @Column({ name: 'cleanup_at', type: 'bigint', default: 0, select: false, transformer: instant })
  cleanupAt?: Date;

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

  /**
   * The longest lifetime under which an access token of the session was issued, in seconds. Null if the session was created
   * by a version that did not record it.
   */
  @Column({ name: 'access_lifetime', type: 'int', nullable: true })
  accessLifetime!: number | null;

  /**
   * When `SessionService.prepare` inserted the row. Null for a live session. A prepared session has no tokens yet, and its
   * `expiresAt` is `NEVER`, so that every statement takes it for an expired one.
   */
  @Column({ name: 'prepared_at', type: 'bigint', nullable: true, transformer: instant })
  preparedAt!: Date | null;

  /** How the client carries the refresh token. Null if it is not yet known. */
  @Column({ type: 'varchar', length: 8, nullable: true })
  transport!: 'body' | 'cookie' | null;

  /** 1 if the cookies outlive the browser session, 0 if not. Null if it was not chosen. */
  @Column({ type: 'int', nullable: true })
  persistent!: number | null;

  /** When a refresh last came from another client than the one before. Null if that never happened. */
  @Column({ name: 'client_changed_at', type: 'bigint', nullable: true, transformer: instant })
  clientChangedAt!: Date | null;

  /** The key to which the session is bound: `dbsc:` or `dpop:` and its thumbprint (RFC 7638). Null if it is not bound. */
  @Column({ type: 'varchar', length: 64, nullable: true })
  binding!: string | null;

  /** The key that a browser has registered, in the same form. The first proof by that key binds the session. */
  @Column({ name: 'pending_binding', type: 'varchar', length: 64, nullable: true })
  pendingBinding!: string | null;

  /** That key as a JWK. Null unless a browser has registered one. */
  @Column({ name: 'binding_key', type: 'simple-json', nullable: true })
  bindingKey!: Record<string, unknown> | null;
}

/**
 * Returns when the current refresh token was issued: `rotatedAt`, or the login if the session has never rotated.
 * @returns milliseconds since 1970
 */
export function handedOutAt({ rotatedAt, createdAt }: Pick<SessionEntity, 'rotatedAt' | 'createdAt'>): number {
  return Math.max(rotatedAt.getTime(), createdAt.getTime());
}
