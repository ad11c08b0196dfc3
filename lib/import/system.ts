import type { LegacySystem } from '../session/alias.js';
import type { SessionPolicies } from '../session/policies.js';
import type { SessionPolicyService } from '../session/policy.js';
import type { UserId } from '../token/options.js';
import type { Source, SourceDialect, SourceRow, SourceTable, SourceValue } from './source.js';

/** Why a live session of the old system is not imported, and not an error. */
export type SkipReason =
  /** It is imported already, and nothing has changed. */
  | 'already-imported'
  /** It is imported already, and has been used here since. */
  | 'used-here'
  /** It was imported, and has ended here since. Or all sessions of its user were ended here after it was created. */
  | 'ended-here'
  /** It changed in the old system after a run with `cutover`. */
  | 'after-cutover'
  /** It has expired in the old system. */
  | 'expired'
  /** Its token is on the old system's blacklist. */
  | 'blacklisted'
  /** The user's id is a number and the new application's ids are strings, or the other way round. */
  | 'wrong-user-id';

/** A session as the old system stores it. Times are in milliseconds since 1970. */
export interface OldSession {
  readonly oldKey: string;
  /** What identifies its refresh token: see `aliasTokenOf`. Null if the old system has no refresh tokens. */
  readonly tokenKey: string | null;
  readonly userId: UserId;
  readonly policy: SessionPolicyService;
  readonly createdAt: number;
  readonly lastUpdate: number;
  readonly expiresAt: number;
  readonly info?: string | null;
  readonly userAgent?: string | null;
  readonly ipAddress?: string | null;
  readonly deviceName?: string | null;
  readonly data?: Record<string, unknown> | null;
  readonly claims?: Record<string, unknown> | null;
}

/** What becomes of a row of the old system. */
export type Converted =
  | { readonly session: OldSession }
  | { readonly skip: 'expired' | 'blacklisted' }
  /** The row cannot be imported. The reason contains no token. */
  | { readonly fault: string };

/** What the conversion of rows depends on. */
export interface Conversion {
  readonly source: Source;
  readonly policies: SessionPolicies;
  /** The new types of the sessions, by their names in the old system. The name is `''` if that system has no types. */
  readonly types: Readonly<Record<string, SessionPolicyService>>;
  /** The time of the target at the start of the run, in milliseconds since 1970. */
  readonly now: number;
}

/** How one old system stores its sessions. */
export interface OldSystem {
  readonly name: LegacySystem;
  /** The first one has one row per session. */
  readonly tables: readonly [SourceTable, ...SourceTable[]];
  /** Tables that the old application may not have: all or none. */
  readonly optionalTables?: readonly SourceTable[];
  /** The names of the old types, in the order of the old system's numbers. Default: it has no types. */
  readonly types?: readonly string[];
  /** The primary key, in whose order rows are read. */
  readonly primaryKey: string;
  /** The column of `OldSession.oldKey`. */
  readonly keyColumn: string;
  /** The columns that `convert` needs, as expressions with names. */
  readonly select: (dialect: SourceDialect) => string;
  /** A condition that a row counts for limits, by the type's name in the old system. `:now` is the time. */
  readonly counts: (dialect: SourceDialect, type: string, policy: SessionPolicyService) => string;
  /** Reads what `convert` needs besides the rows. `hasOptional`: whether the optional tables exist. */
  readonly lookUp?: (rows: readonly SourceRow[], source: Source, hasOptional: boolean) => Promise<ReadonlySet<string>>;
  /** Converts a row. It must not depend on anything but its arguments. */
  readonly convert: (row: SourceRow, conversion: Conversion, found: ReadonlySet<string>) => Converted;
}

/** Reads a text, or null. PostgreSQL cannot store the NUL character, so it is left out. */
export function textOf(value: SourceValue): string | null {
  return value === null || value === undefined ? null : String(value).replaceAll('\0', '');
}

/** Reads a number. Drivers return large ones as texts. */
export function numberOf(value: SourceValue): number | null {
  return value === null || value === undefined ? null : Number(value);
}
