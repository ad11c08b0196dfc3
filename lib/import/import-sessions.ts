import { DataSource } from 'typeorm';
import { withoutValues } from '../database/faults.js';
import { SchemaCheck } from '../database/schema-check.js';
import { ServerFaultError, UnavailableError } from '../errors.js';
import { MULTI_SESSION_ENTITIES } from '../nest/entities.js';
import { readDatabaseUrl } from './database-url.js';
import { ImportDatabaseError } from './errors.js';
import { Importer } from './importer.js';
import { countAboveLimits } from './limits.js';
import { type ImportOptions, type ImportPlan, type ImportResult, planImport } from './options.js';
import { Source } from './source.js';
import type { Conversion } from './system.js';
import { Target } from './target.js';

/**
 * Imports the live sessions of another system, so that its users stay logged in. The sessions keep their users and expiries,
 * and the option `legacyTokens` of `MultiSessionModule` accepts their old tokens.
 *
 * It can be interrupted and repeated. It never changes a session that has been used here, and never brings back one that
 * has ended here.
 * @returns what it has done
 * @throws ImportOptionsError if an option is wrong
 * @throws ImportDatabaseError if a database cannot be used. Batches that are committed stay: run it again to continue
 */
export async function importSessions(options: ImportOptions): Promise<ImportResult> {
  const plan = planImport(options);
  const opened: DataSource[] = [];
  try {
    const from = await open('from', options.from, [], opened);
    const to = await open('to', options.to, MULTI_SESSION_ENTITIES, opened);
    return await run(plan, from, to);
  } catch (error) {
    throw asDatabaseError(error);
  } finally {
    for (const dataSource of opened) await dataSource.destroy();
  }
}

async function run(plan: ImportPlan, from: DataSource, to: DataSource): Promise<ImportResult> {
  const { system, policies, types, options } = plan;
  const source = new Source(from);
  const target = new Target(to, system.name);
  const hasOptional = await checkTables(plan, source, to);
  const conversion: Conversion = { source, policies, types, now: await target.now() };
  const importer = new Importer(plan, source, target, conversion, hasOptional);
  const result = await importer.run();
  if (!options.dryRun) return result;
  const limits = await countAboveLimits(plan, source, conversion.now);
  return { ...result, endingsAtOnce: { lifetimes: importer.overdue, limits } };
}

/**
 * Opens a database.
 * @param opened the list to which a new DataSource is added
 */
async function open(
  name: 'from' | 'to',
  given: string | DataSource,
  entities: readonly (new () => object)[],
  opened: DataSource[],
): Promise<DataSource> {
  if (typeof given !== 'string') return given;
  const options = { ...readDatabaseUrl(given), ...MUST_EXIST, entities: [...entities] };
  const dataSource = new DataSource(options);
  try {
    await dataSource.initialize();
  } catch (error) {
    throw new ImportDatabaseError([`${name}: cannot connect: ${withoutValues(error).message}`]);
  }
  opened.push(dataSource);
  return dataSource;
}

/** Keeps SQLite from creating a file that does not exist. Other drivers ignore it. */
const MUST_EXIST = { fileMustExist: true };

/**
 * Checks the tables on both sides.
 * @returns whether the old system has its optional tables
 */
async function checkTables({ system }: ImportPlan, source: Source, to: DataSource): Promise<boolean> {
  const faults = await source.check(system.tables);
  const optional = system.optionalTables ?? [];
  const missing = await source.check(optional);
  const isAbsent = missing.length === optional.length && missing.every((fault) => fault.includes('has no table'));
  if (!isAbsent) faults.push(...missing);
  const check = new SchemaCheck(to, MULTI_SESSION_ENTITIES);
  faults.push(...check.entityFaults(), ...((await check.tableFaults()) ?? []).map((fault) => `to: ${fault}`));
  if (faults.length > 0) throw new ImportDatabaseError(faults);
  return !isAbsent;
}

/** Turns an error of a driver into one without values. Other errors stay as they are. */
function asDatabaseError(error: unknown): unknown {
  if (error instanceof UnavailableError || error instanceof ServerFaultError)
    return new ImportDatabaseError([`to: ${(error.cause as Error | undefined)?.message ?? error.message}`]);
  const isOfDriver = error instanceof Error && error.name === 'QueryFailedError';
  return isOfDriver ? new ImportDatabaseError([`from: ${withoutValues(error).message}`]) : error;
}
