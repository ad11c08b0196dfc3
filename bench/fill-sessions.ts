import type { DataSource } from 'typeorm';

/** A million rows at a time, so that no statement holds all of them. */
const CHUNK = 1_000_000;

/**
 * Fills the table of sessions with so many of so many users, where it holds less, on PostgreSQL: it is compared there. Elsewhere the rows of
 * the clients must do.
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
