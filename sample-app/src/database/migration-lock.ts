import type { DataSource } from 'typeorm';

/** The transactions in which TypeORM runs the migrations: `none` if the lock is itself a transaction. */
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
/** In MySQL, lock names are global to the server and have at most 64 characters. */
const MYSQL: Lock = {
  take: "SELECT GET_LOCK(SHA1(CONCAT(DATABASE(), ' sample-app migrations')), 60) AS taken",
  release: "SELECT RELEASE_LOCK(SHA1(CONCAT(DATABASE(), ' sample-app migrations')))",
  transaction: 'each',
};
/** SQLite can only lock the whole file. The migrations still run, because TypeORM uses the connection that holds the lock. */
const SQLITE: Lock = { take: 'BEGIN EXCLUSIVE', release: 'COMMIT', transaction: 'none' };

/**
 * Runs `work` under a lock of the database, so that only one process does so at a time. A killed process releases the lock,
 * because the lock belongs to its connection.
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
    if (isTimeout(answer))
      throw new Error('another process has held the migration lock for a minute; wait for it, or stop it');
    await work(lock.transaction);
    await holder.query(lock.release);
  } finally {
    await holder.release();
  }
}

/** MySQL reports a timeout in the result. The others throw. */
function isTimeout(answer: unknown): boolean {
  return Array.isArray(answer) && Number((answer as { taken?: unknown }[])[0]?.taken) === 0;
}
