import { Logger } from '@nestjs/common';
import type { EntityManager, EntityMetadata } from 'typeorm';
import type { Database } from '../database/database.js';
import { withoutValues } from '../database/faults.js';
import { remedyOf } from '../database/permanent-faults.js';
import { quotedPath } from '../database/typeorm-internals.js';
import { BlacklistEntity } from './blacklist.entity.js';

/** How many partitions are kept ahead of the time. */
const AHEAD = 7;

interface Partition {
  readonly name: string;
  /** Its entries expire before this time, in milliseconds since 1970. NaN for the partition of all other entries. */
  readonly until: number;
}

/** The statements of one database. The table and the names that they take are escaped. */
interface PartitionSql {
  /** Returns no rows if the table has no range partitions. */
  readonly list: (table: string) => string;
  /** Moves entries from the partition `rest` to a new one. */
  readonly create: (table: string, range: { name: string; rest: string; from: number; until: number }) => string;
  readonly drop: (table: string, name: string) => string;
  /** What the user of the database needs to change partitions. */
  readonly remedy: string;
}

/**
 * Keeps the range partitions of `session_blacklist`, if the application has created them as docs/partitions.md says. An entry that no partition is meant for is in the partition `rest`, so an entry is never refused.
 *
 * Invariant: any statement here may fail, or run twice, or at the same time in another process. The name of a partition says
 * what its bound is, so it is never dropped before all of its entries have expired.
 */
export class BlacklistPartitions {
  private readonly logger = new Logger('MultiSession');
  private hasWarned = false;

  constructor(private readonly database: Database) {}

  /**
   * Creates the partitions that are missing ahead of the time, and drops those whose entries all expired at `before` or earlier. If
   * it gets no lock within a second, it leaves the rest to the next cleanup: the requests behind it wait, too.
   * @param before in milliseconds since 1970
   * @returns the cleanup has to delete the entries one by one that expire at this time or later. 0 for all
   * @throws UnavailableError if the database fails
   */
  async maintain(before: number): Promise<number> {
    const { kind, dataSource } = this.database;
    if (kind === 'sqlite') return 0;
    const metadata = dataSource.getMetadata(BlacklistEntity);
    return this.database.run(async (manager) => {
      const sql = kind === 'postgres' ? postgresSql(manager, metadata) : MYSQL;
      const table = quotedPath(manager.connection, metadata.tablePath);
      const listed = await manager.query<{ name: string; until: string | null }[]>(
        sql.list(kind === 'postgres' ? table : metadata.tableName),
      );
      const partitions = listed.map(({ name, until }): Partition => ({ name, until: Number(until ?? NaN) }));
      const rest = partitions.find(({ until }) => Number.isNaN(until));
      const bounds = partitions.map(({ until }) => until).filter((until) => until >= 0);
      if (!rest || bounds.length < 2) return 0;
      bounds.sort((a, b) => a - b);
      const width = Math.min(...bounds.slice(1).map((until, at) => until - bounds[at]));
      let last = bounds[bounds.length - 1];
      try {
        while (last < before + AHEAD * width) {
          // If no process has cleaned up for long, the first one spans all of that time.
          const until = last + width * Math.max(1, Math.ceil((before - last) / width));
          const range = { name: `p${until}`, rest: rest.name, from: last, until };
          await this.change(manager, sql.create(table, range));
          last = until;
        }
        for (const { name, until } of partitions)
          if (until <= before) await this.change(manager, sql.drop(table, name));
      } catch (error) {
        // Another transaction holds a lock, such as that of a backup.
        if (remedyOf(error, kind) === undefined) return last;
        this.warn(error, sql.remedy);
        return 0;
      }
      return last;
    });
  }

  private async change(manager: EntityManager, statement: string): Promise<void> {
    if (this.database.kind === 'postgres') {
      // Several statements in one text are one transaction.
      await manager.query(`SET LOCAL lock_timeout = '1s'; ${statement}`);
      return;
    }
    await manager.query('SET @waited = @@SESSION.lock_wait_timeout, SESSION lock_wait_timeout = 1');
    try {
      await manager.query(statement);
    } finally {
      await manager.query('SET SESSION lock_wait_timeout = @waited');
    }
  }

  private warn(error: unknown, remedy: string): void {
    if (this.hasWarned) return;
    this.hasWarned = true;
    this.logger.warn(
      `the cleanup cannot change the partitions of session_blacklist, so it deletes the rows: ${withoutValues(error).message}; ${remedy}`,
    );
  }
}

function postgresSql(manager: EntityManager, { tablePath, columns }: EntityMetadata): PartitionSql {
  const expiry = quotedPath(
    manager.connection,
    columns.find(({ propertyName }) => propertyName === 'expiresAt')?.databaseName as string,
  );
  return {
    list: (table) => `
      SELECT c.oid::regclass::text AS name, substring(pg_get_expr(relpartbound, c.oid) FROM 'TO \\(''(\\d+)''\\)') AS until
      FROM pg_inherits JOIN pg_partitioned_table ON partrelid = inhparent AND partstrat = 'r'
        JOIN pg_class c ON c.oid = inhrelid
      WHERE inhparent = '${table}'::regclass`,
    // The lock keeps new entries of the range away, and lets readers through.
    create: (table, { name, rest, from, until }) => {
      const created = quotedPath(manager.connection, `${tablePath}_${name}`);
      return `
        LOCK TABLE ${rest} IN SHARE ROW EXCLUSIVE MODE;
        CREATE TABLE ${created} (LIKE ${table} INCLUDING ALL);
        WITH moved AS (DELETE FROM ${rest} WHERE ${expiry} < ${until} RETURNING *) INSERT INTO ${created} SELECT * FROM moved;
        ALTER TABLE ${table} ATTACH PARTITION ${created} FOR VALUES FROM (${from}) TO (${until})`;
    },
    drop: (_, name) => `DROP TABLE ${name}`,
    remedy: 'let the database user own the table and create tables in its schema',
  };
}

const MYSQL: PartitionSql = {
  list: (name) => `
    SELECT partition_name AS name, IF(partition_description = 'MAXVALUE', NULL, partition_description) AS until
    FROM information_schema.partitions
    WHERE table_schema = DATABASE() AND table_name = '${name}' AND partition_method = 'RANGE'`,
  create: (table, { name, rest, until }) => `
    ALTER TABLE ${table} REORGANIZE PARTITION ${rest} INTO (
      PARTITION ${name} VALUES LESS THAN (${until}), PARTITION ${rest} VALUES LESS THAN MAXVALUE)`,
  drop: (table, name) => `ALTER TABLE ${table} DROP PARTITION ${name}`,
  remedy: 'grant the database user ALTER, CREATE and DROP on the table',
};
