import { DataSource, type MigrationInterface } from 'typeorm';
import { partitionBlacklist, partitionSessions } from '../../examples/partitions/partitions.js';

/** Runs migrations outside of TypeORM's list of them. */
export async function migrate(
  dataSource: DataSource,
  way: 'up' | 'down',
  ...migrations: (new () => MigrationInterface)[]
): Promise<void> {
  const runner = dataSource.createQueryRunner();
  try {
    for (const Migration of migrations) await new Migration()[way](runner);
  } finally {
    await runner.release();
  }
}

/** Splits the two large tables. */
export function splitTables(dataSource: DataSource): Promise<void> {
  return migrate(dataSource, 'up', partitionSessions({ partitions: 4 }), partitionBlacklist());
}

/** Whether `TEST_PARTITIONS=1` asks to run each spec on partitioned tables, and the database has them. */
export function splitsTables(type: string): boolean {
  return process.env.TEST_PARTITIONS !== undefined && ['postgres', 'mariadb'].includes(type);
}

/**
 * Splits the tables of each DataSource that creates them with `synchronize`. TypeORM cannot synchronize them afterwards, so another
 * DataSource of the same database leaves them as they are.
 */
export function splitSynchronizedTables(): void {
  const synchronize = Reflect.get(DataSource.prototype, 'synchronize') as (
    this: DataSource,
    ...given: unknown[]
  ) => Promise<void>;
  DataSource.prototype.synchronize = async function (this: DataSource, ...given) {
    const isServer = splitsTables(this.options.type);
    const runner = this.createQueryRunner();
    const isSplit = isServer && (await runner.hasTable('user_session'));
    await runner.release();
    if (isSplit) return;
    await synchronize.apply(this, given);
    if (isServer && this.hasMetadata('SessionEntity')) await splitTables(this);
  };
}
