import { Logger } from '@nestjs/common';
import type { DataSource, EntityMetadata, QueryRunner } from 'typeorm';
import { ANSWER_MARGIN } from '../engine/timing.js';
import { before } from './deadline.js';
import { KINDS, type DatabaseKind } from './dialect.js';
import { withoutValues } from './faults.js';
import { isMissing, remedyOf } from './permanent-faults.js';
import { quotedPath } from './typeorm-internals.js';

export type EntityClass = new () => object;

/** What to do if the application has a table of the same name. */
export const RENAME =
  'rename your table, give the DataSource an entityPrefix, or give the sessions a DataSource of their own';

/** How often the tables are checked again if the database could not be reached at start, in milliseconds. */
const RETRY_INTERVAL = 1000;

/** What one reading of a table tells. */
interface TableState {
  readonly isMissing: boolean;
  readonly fault?: string;
}

/**
 * Checks that the DataSource has our entities, and that the database has their tables and columns. One statement per table
 * reads no row.
 */
export class SchemaCheck {
  private readonly logger = new Logger('MultiSession');
  private timer?: NodeJS.Timeout;

  constructor(
    private readonly dataSource: DataSource,
    private readonly entities: readonly EntityClass[],
  ) {}

  /** Returns what is wrong with the entities. Sends no statement. */
  entityFaults(): string[] {
    const { dataSource } = this;
    const { name = 'default' } = dataSource.options as { name?: string };
    const missing = this.entities.filter((entity) => !dataSource.hasMetadata(entity));
    const faults = sharedTables(dataSource, this.entities);
    if (missing.length > 0 && dataSource.isInitialized)
      faults.unshift(
        `entities: the DataSource "${name}" lacks ${missing.map((entity) => entity.name).join(', ')}; ` +
          'add ...MULTI_SESSION_ENTITIES to its entities, or set autoLoadEntities: true',
      );
    return faults;
  }

  /**
   * Returns what is wrong with the tables.
   * @returns undefined if the database cannot be reached
   */
  async tableFaults(): Promise<string[] | undefined> {
    const kind = KINDS[this.dataSource.options.type];
    if (!this.dataSource.isInitialized || !kind) return undefined;
    const missing: string[] = [];
    const faults: string[] = [];
    try {
      await this.withRunner(async (runner) => {
        for (const metadata of this.metadatas) {
          const state = await this.stateOf(runner, metadata, kind);
          if (state.isMissing) missing.push(metadata.tablePath);
          if (state.fault !== undefined) faults.push(state.fault);
        }
      });
    } catch (error) {
      if (remedyOf(error, kind) === undefined) return undefined;
      faults.push(`database: ${withoutValues(error).message}; ${remedyOf(error, kind)}`);
    }
    if (missing.length > 0)
      faults.unshift(
        `tables: the database lacks ${missing.join(', ')}; run the migrations of nestjs-multisession, for example with ` +
          'migrations: [...multiSessionMigrations] and migrationsRun: true',
      );
    return faults;
  }

  /** Checks the tables in the background until the database answers, and logs what is wrong. */
  retry(): void {
    this.timer = setTimeout(() => void this.checkAndLog(), RETRY_INTERVAL).unref();
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  private async checkAndLog(): Promise<void> {
    const faults = await this.tableFaults();
    if (faults === undefined) return this.retry();
    for (const fault of faults) this.logger.error(`nothing works until this is corrected: ${fault}`);
  }

  private get metadatas(): EntityMetadata[] {
    return ownMetadatas(this.dataSource, this.entities);
  }

  /** Reads on the primary. By default, TypeORM would read from a replica if there is one. */
  private async withRunner(work: (runner: QueryRunner) => Promise<void>): Promise<void> {
    const runner = this.dataSource.createQueryRunner('master');
    try {
      await before(performance.now() + ANSWER_MARGIN, () => work(runner));
    } finally {
      await runner.release();
    }
  }

  private async stateOf(runner: QueryRunner, metadata: EntityMetadata, kind: DatabaseKind): Promise<TableState> {
    const columns = metadata.columns.map(({ databaseName }) => databaseName);
    const error = await this.faultOf(runner, metadata, columns, kind);
    if (error === undefined) return { isMissing: false };
    const table = metadata.tablePath;
    const ofTable = await this.faultOf(runner, metadata, [], kind);
    if (ofTable !== undefined) {
      return isMissing(ofTable, kind)
        ? { isMissing: true }
        : { isMissing: false, fault: described(`table ${table}`, ofTable, kind) };
    }
    const lacking: string[] = [];
    for (const column of columns) {
      if ((await this.faultOf(runner, metadata, [column], kind)) !== undefined) lacking.push(column);
    }
    return { isMissing: false, fault: described(`table ${table}: columns ${lacking.join(', ')}`, error, kind) };
  }

  /**
   * Reads these columns of no row.
   * @returns the error if it is permanent
   * @throws any other error
   */
  private async faultOf(
    runner: QueryRunner,
    { tablePath }: EntityMetadata,
    columns: readonly string[],
    kind: DatabaseKind,
  ): Promise<unknown> {
    const escape = (name: string) => this.dataSource.driver.escape(name);
    const table = quotedPath(this.dataSource, tablePath);
    // SQLite takes a quoted name without a table for a text, if there is no such column.
    const list = columns.map((column) => `t.${escape(column)}`).join(', ') || '1';
    try {
      await runner.query(`SELECT ${list} FROM ${table} t WHERE 1 = 0`);
      return undefined;
    } catch (error) {
      if (remedyOf(error, kind) === undefined) throw error;
      return error;
    }
  }
}

function described(what: string, error: unknown, kind: DatabaseKind): string {
  return `${what}: ${withoutValues(error).message}; ${remedyOf(error, kind)}`;
}

/** Returns the metadata of those entities that the DataSource has. */
export function ownMetadatas(dataSource: DataSource, entities: readonly EntityClass[]): EntityMetadata[] {
  return entities.filter((entity) => dataSource.hasMetadata(entity)).map((entity) => dataSource.getMetadata(entity));
}

/** Returns a fault for each entity of the application that would change a table of ours. Sends no statement. */
export function sharedTables(dataSource: DataSource, entities: readonly EntityClass[]): string[] {
  return ownMetadatas(dataSource, entities).flatMap((own) =>
    dataSource.entityMetadatas.filter((other) => isRival(own, other)).map((other) => shared(own, other)),
  );
}

/** Whether another entity would change the same table with `synchronize`. */
function isRival(own: EntityMetadata, other: EntityMetadata): boolean {
  return other.target !== own.target && other.tablePath === own.tablePath && other.synchronize;
}

function shared(own: EntityMetadata, other: EntityMetadata): string {
  return (
    `entities: ${own.name} of nestjs-multisession and your ${other.name} have the same table ${own.tablePath}; ` +
    RENAME
  );
}
