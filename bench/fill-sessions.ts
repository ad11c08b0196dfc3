import type { DataSource } from 'typeorm';

/** Rows per statement. Bounds the size of each transaction. */
const CHUNK = 1_000_000;

/**
 * Adds sessions of other users to the table, but only on PostgreSQL, because the other databases have no target to compare the
 * results with.
 * @param dataSource the database
 * @param rows the number of sessions to add
 * @param users the number of users who share the sessions
 */
export async function fillSessions(dataSource: DataSource, rows: number, users: number): Promise<void> {
  if (dataSource.options.type !== 'postgres') return;
  const now = Date.now();
  for (let at = 0; at < rows; at += CHUNK) {
    await dataSource.query(
      `INSERT INTO user_session (id, user_id, type, refresh_jti, refresh_kid, created_at, last_update, expires_at, info)
       SELECT gen_random_uuid(), 'user ' || n % $3::int, 'LONG', md5(n::text), 'none', $1, $1, $2, 'another'
       FROM generate_series($4::int, $5::int) AS n`,
      [now, now + 30 * 86_400_000, users, at, Math.min(at + CHUNK, rows) - 1],
    );
  }
  await dataSource.query('VACUUM (ANALYZE) user_session');
}
