import type { DataSource } from 'typeorm';

/** How TypeORM is to run the migrations: `none` where the lock is itself a transaction. */
type MigrationTransaction = 'each' | 'none';

interface Lock {
  readonly take: string;
  readonly release: string;
  readonly transaction: MigrationTransaction;
}

const POSTGRES: Lock = {
  take: "SELECT pg_advisory_lock(hashtext('sample-app migrations'))",
  release: "SELECT pg_advisory_unlock(hashtext('sample-app migrations'))",
  transaction: 'each',
};
/** MySQL's names are those of the whole server, and at most 64 characters long. */
const MYSQL: Lock = {
  take: "SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), ' sample-app migrations')), 60) AS taken",
  release: "SELECT RELEASE_LOCK(SHA1(CONCAT(DATABASE(), ' sample-app migrations')))",
  transaction: 'each',
};
/** SQLite has no locks but those of its file, and TypeORM has one connection to it. */
const SQLITE: Lock = { take: 'BEGIN EXCLUSIVE', release: 'COMMIT', transaction: 'none' };

/**
 * Runs `work` while no other process does so on the same database. The lock goes with its connection, so that a process
 * that is killed holds up nobody.
 */
export async function withMigrationLock(
  dataSource: DataSource,
  work: (transaction: MigrationTransaction) => Promise<void>,
): Promise<void> {
  const { type } = dataSource.options;
  const lock = type === 'postgres' ? POSTGRES : type === 'better-sqlite3' ? SQLITE : MYSQL;
  const holder = dataSource.createQueryRunner();
  try {
    const answer: unknown = await holder.query(lock.take);
    if (isTimeout(answer)) throw new Error('another process has been migrating the database for a minute');
    await work(lock.transaction);
    await holder.query(lock.release);
  } finally {
    await holder.release();
  }
}

/** MySQL says so in its answer; the others throw. */
function isTimeout(answer: unknown): boolean {
  return Array.isArray(answer) && Number((answer as { taken?: unknown }[])[0]?.taken) === 0;
}
