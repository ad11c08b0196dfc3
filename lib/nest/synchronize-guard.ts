import { DataSource, type EntityMetadata } from 'typeorm';
import { MultiSessionConfigurationError } from '../configuration-error.js';
import { KINDS } from '../database/dialect.js';
import { type EntityClass, ownMetadatas, RENAME, sharedTables } from '../database/schema-check.js';

/**
 * Makes TypeORM's `synchronize` fail before it changes a table of the application that has the name of one of ours. TypeORM goes
 * by names alone: it would add our columns to that table and drop all others.
 *
 * The start of the module is too late for this check, because TypeORM synchronizes while it connects, and it has no hook in
 * between. So this replaces the method for all DataSources. Those without our entities work as before.
 * @returns the entities, so that whoever has them has the check
 */
export function guardSynchronize<Entities extends readonly EntityClass[]>(entities: Entities): Entities {
  const synchronize = Reflect.get<DataSource, 'synchronize'>(DataSource.prototype, 'synchronize');
  DataSource.prototype.synchronize = async function (this: DataSource, dropBeforeSync?: boolean): Promise<void> {
    if (this.isInitialized) {
      const faults = sharedTables(this, entities);
      if (!dropBeforeSync) faults.push(...(await foreignTables(this, entities)));
      if (faults.length > 0) throw new MultiSessionConfigurationError(faults);
    }
    return synchronize.call(this, dropBeforeSync);
  };
  return entities;
}

/** Returns a fault for each table that has the name of one of ours, and lacks a column that each version of ours has had. */
async function foreignTables(dataSource: DataSource, entities: readonly EntityClass[]): Promise<string[]> {
  const metadatas = ownMetadatas(dataSource, entities);
  if (metadatas.length === 0 || !KINDS[dataSource.options.type]) return [];
  const runner = dataSource.createQueryRunner('master');
  try {
    const tables = await runner.getTables(metadatas.map(({ tablePath }) => tablePath));
    const columnsOf = new Map(
      tables.map((table) => [
        dataSource.driver.parseTableName(table).tableName,
        new Set(table.columns.map(({ name }) => name)),
      ]),
    );
    return metadatas.flatMap((metadata) => {
      const columns = columnsOf.get(metadata.tableName);
      const lacking = columns ? requiredColumns(metadata).filter((name) => !columns.has(name)) : [];
      return lacking.length === 0 ? [] : [foreign(metadata, lacking)];
    });
  } finally {
    await runner.release();
  }
}

function foreign({ tablePath }: EntityMetadata, lacking: readonly string[]): string {
  return `tables: ${tablePath} exists, and it is not a table of nestjs-multisession, because it lacks ${lacking.join(', ')}; ${RENAME}`;
}

/** Columns that were there from the beginning: one that is added later is nullable or has a default, for the rows that exist. */
function requiredColumns({ columns }: EntityMetadata): string[] {
  return columns
    .filter(({ isNullable, default: value }) => !isNullable && value === undefined)
    .map(({ databaseName }) => databaseName);
}
