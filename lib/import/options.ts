import { randomBytes } from 'node:crypto';
import type { DataSource } from 'typeorm';
import {
  type MultiSessionConfig,
  type MultiSessionOptions,
  type MultiSessionStaticOptions,
  readOptions,
} from '../engine/options.js';
import { MultiSessionConfigurationError } from '../errors.js';
import { LEGACY_SYSTEMS, type LegacySystem } from '../session/alias.js';
import { PERMANENT_DEVICE, SHORT_AND_LONG } from '../session/policy-presets.js';
import { SessionPolicies } from '../session/policies.js';
import type { SessionPolicyService } from '../session/policy.js';
import { readDatabaseUrl } from './database-url.js';
import { ImportOptionsError } from './errors.js';
import type { SkipReason, OldSystem } from './system.js';
import { DJANGO_TOKEN_MANAGER } from './systems/django-token-manager.js';
import { DRF_JWT_DEVICES } from './systems/drf-jwt-devices.js';
import { SIMPLEJWT_MULTISESSIONS } from './systems/simplejwt-multisessions.js';
import { SUPERTOKENS_DJANGO_REF_JWT } from './systems/supertokens-django-ref-jwt.js';
import { MAX_BATCH } from './target-sql.js';

/** The options of `MultiSessionModule`, as far as the import uses them. It ignores the static options. */
export type ImportConfig = Partial<MultiSessionOptions & MultiSessionStaticOptions>;

/** What to import, and how. */
export interface ImportOptions {
  /** The system that the sessions come from. */
  readonly system: LegacySystem;
  /** The old system's database, which is only read: a URL or the path of an SQLite file, or an initialized DataSource. */
  readonly from: string | DataSource;
  /** The new database, with the tables of this library. Same forms as `from`. A DataSource must have our entities. */
  readonly to: string | DataSource;
  /** The options of `MultiSessionModule`. The import needs `policies` and the limits. Default: `SHORT_AND_LONG` and `DEVICE`. */
  readonly config?: ImportConfig | undefined;
  /** The new types of simplejwt_multisessions' sessions. Default: `{ short: 'SHORT', long: 'LONG' }`. */
  readonly types?: { readonly short?: string; readonly long?: string } | undefined;
  /** The new type of the other systems' sessions. Default: `'DEVICE'`, or `'LONG'` for supertokens-django-ref-jwt. */
  readonly type?: string | undefined;
  /**
   * Whether the user ids of the new application are numbers or strings. Sessions with ids of the other kind are skipped.
   * Default: `config.userIdType`, or else `'string'` for supertokens-django-ref-jwt and `'number'` for the others.
   */
  readonly userIdType?: 'number' | 'string' | undefined;
  /** Whether to write nothing. Default: false. */
  readonly dryRun?: boolean | undefined;
  /** Whether to declare the move done after this run: later runs update and remove no session. Default: false. */
  readonly cutover?: boolean | undefined;
  /** How many rows are read at once and written in one transaction: 1 to 1000. Default: 1000. */
  readonly batchSize?: number | undefined;
  /** Ends the import after the current batch. Run it again to continue. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each batch. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined;
}

/** How far the import is. */
export interface ImportProgress {
  /** Reading the old sessions, or looking for those that the old system has ended since the last run. */
  readonly phase: 'import' | 'remove';
  /** How many rows of this phase are done. */
  readonly done: number;
  /** How many rows there were at the start of the import. Undefined in the phase `'remove'`. */
  readonly total?: number;
}

/** What the import has done, or in a dry run would have done. */
export interface ImportResult {
  readonly system: LegacySystem;
  readonly dryRun: boolean;
  /** Whether the signal ended the import early. */
  readonly interrupted: boolean;
  /** Rows of the old system that were read. */
  readonly read: number;
  /** New sessions. */
  readonly imported: number;
  /** Sessions that were imported earlier and have changed in the old system. */
  readonly updated: number;
  /** Sessions that were imported earlier and have ended in the old system. */
  readonly removed: number;
  readonly skipped: Readonly<Record<SkipReason, number>>;
  /** Rows that could not be imported. */
  readonly failed: number;
  /** The first 20 of them: their old keys, and what is wrong. */
  readonly failures: readonly { readonly oldKey: string; readonly fault: string }[];
  /** Whether the move is declared done. */
  readonly cutOver: boolean;
  /** Only in a dry run. */
  readonly endingsAtOnce?: EndingsAtOnce;
}

/** Which of the imported sessions the policies would end at once. */
export interface EndingsAtOnce {
  /** Sessions that are refused because of `absoluteLifetime`, or unused for longer than `refreshTokenLifetime`, by type. */
  readonly lifetimes: Readonly<Record<string, number>>;
  /** Sessions above a limit, which the next login of their user ends, by the name of the limit. */
  readonly limits: Readonly<Record<string, number>>;
}

/** Checked options. */
export interface ImportPlan {
  readonly options: ImportOptions;
  readonly system: OldSystem;
  readonly config: MultiSessionConfig;
  readonly policies: SessionPolicies;
  readonly types: Readonly<Record<string, SessionPolicyService>>;
  readonly batchSize: number;
}

const SYSTEMS: Readonly<Record<LegacySystem, OldSystem>> = {
  'simplejwt-multisessions': SIMPLEJWT_MULTISESSIONS,
  'drf-jwt-devices': DRF_JWT_DEVICES,
  'supertokens-django-ref-jwt': SUPERTOKENS_DJANGO_REF_JWT,
  'django-token-manager': DJANGO_TOKEN_MANAGER,
};

/**
 * Checks the options.
 * @throws ImportOptionsError that names every fault
 */
export function planImport(options: ImportOptions): ImportPlan {
  const { system: name, batchSize = MAX_BATCH } = options;
  if (!LEGACY_SYSTEMS.includes(name))
    throw new ImportOptionsError([`system: must be one of ${LEGACY_SYSTEMS.join(', ')}; got "${String(name)}"`]);
  const faults = [...urlFaults('from', options.from), ...urlFaults('to', options.to)];
  if (!Number.isSafeInteger(batchSize) || batchSize < 1 || batchSize > MAX_BATCH)
    faults.push(`batchSize: must be a whole number from 1 to ${MAX_BATCH}; got ${batchSize}`);
  const system = SYSTEMS[name];
  const isText = name === 'supertokens-django-ref-jwt';
  const userIdType = options.userIdType ?? options.config?.userIdType ?? (isText ? 'string' : 'number');
  const config = readConfig({ ...options.config, userIdType }, faults);
  if (!config) throw new ImportOptionsError(faults);
  const policies = new SessionPolicies(config.policies, config.maxActiveSessionsPerUser, config.maxSessions);
  const types = readTypes(system, options, policies, isText ? 'LONG' : 'DEVICE', faults);
  if (faults.length > 0) throw new ImportOptionsError(faults);
  return { options, system, config, policies, types, batchSize };
}

function urlFaults(name: 'from' | 'to', value: string | DataSource): string[] {
  if (typeof value !== 'string') return [];
  try {
    readDatabaseUrl(value);
    return value === '' ? [`${name}: must not be empty`] : [];
  } catch (error) {
    return [`${name}: ${(error as Error).message}`];
  }
}

/** The options that only Nest needs. Listed as a record, so that none can be forgotten. */
export const STATIC_OPTIONS: Record<keyof MultiSessionStaticOptions, true> = {
  authenticator: true,
  sessionTypes: true,
  path: true,
  controller: true,
  management: true,
  devices: true,
  loginGuards: true,
  admin: true,
  signals: true,
  eventStreams: true,
  dataSource: true,
  isGlobal: true,
  imports: true,
};

/** Checks the module's options. The import signs nothing, so the signing secret may be missing. */
function readConfig(all: ImportConfig, faults: string[]): MultiSessionConfig | undefined {
  const given = Object.fromEntries(
    Object.entries(all).filter(([name]) => !Object.hasOwn(STATIC_OPTIONS, name)),
  ) as Partial<MultiSessionOptions>;
  const { policies = { ...SHORT_AND_LONG, DEVICE: PERMANENT_DEVICE }, jwt = {}, secretKey = false, ...rest } = given;
  const hasKey = jwt.secret !== undefined || jwt.keys !== undefined || jwt.managed !== undefined;
  const secret = hasKey ? {} : { secret: randomBytes(32).toString('base64url') };
  try {
    return readOptions({ ...rest, policies, jwt: { ...jwt, ...secret }, secretKey }, Object.keys(policies));
  } catch (error) {
    if (!(error instanceof MultiSessionConfigurationError)) throw error;
    faults.push(...error.faults.map((fault) => `config: ${fault}`));
    return undefined;
  }
}

function readTypes(
  system: OldSystem,
  { types = {}, type }: ImportOptions,
  policies: SessionPolicies,
  defaultType: string,
  faults: string[],
): Record<string, SessionPolicyService> {
  const named: Record<string, string> = system.types
    ? Object.fromEntries(
        system.types.map((old) => [old, (types as Record<string, string | undefined>)[old] ?? old.toUpperCase()]),
      )
    : { '': type ?? defaultType };
  for (const old of Object.keys(types)) {
    if (!system.types?.includes(old))
      faults.push(`types: ${system.name} has ${system.types ? `no type "${old}"` : 'no types; use type instead'}`);
  }
  if (system.types && type !== undefined) faults.push(`type: ${system.name} has types of its own; use types instead`);
  const found: Record<string, SessionPolicyService> = {};
  for (const [old, name] of Object.entries(named)) {
    const policy = policies.get(name);
    if (policy) found[old] = policy;
    else faults.push(`${old ? 'types' : 'type'}: policies has no type "${name}"; it has ${policies.types.join(', ')}`);
  }
  return found;
}
