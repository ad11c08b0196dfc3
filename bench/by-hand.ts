import { createHash, createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';
import type { DataSource } from 'typeorm';
import type { DatabaseName } from '../test/helpers/databases.js';
import { SECRET } from './engine.js';
import { type SessionApp, type Step, USER_ID } from './session-app.js';

// The fastest code that we can write by hand for the same tables and tokens, with the driver alone. It has no time limit,
// no retry, no events, no metrics and no error handling.

const jwt = new JwtService({ secret: createSecretKey(SECRET, 'utf8') });
const MONTH = 30 * 86_400_000;

/** Returns the name of the database driver. */
export const handOn = (name: DatabaseName): string =>
  ({ postgres: 'pg', mariadb: 'mysql2', sqlite: 'better-sqlite3', sqljs: 'sql.js' })[name];

interface Row {
  user_id: string;
  type: string;
  generation: number;
  expires_at: string | number;
}

/** Rotates with one statement, or with two on MariaDB, where an UPDATE cannot return the row. */
export async function refreshByHand({ sessions, dataSource }: SessionApp): Promise<Step> {
  const send = sender<Row>(dataSource);
  const set = `generation = generation + 1, parent_generation = generation - 1, confirmed_generation = generation - 1,
    refresh_jti = $3, parent_jti = $2, rotated_at = $4, last_update = $4`;
  const columns = 'user_id, type, generation, expires_at';
  // Only MySQL and MariaDB see the new values of columns that were assigned earlier in the same SET.
  const isMysql = dataSource.options.type === 'mariadb';
  const update = `UPDATE user_session SET ${isMysql ? set : set.replaceAll('generation - 1', 'generation')}
    WHERE id = $1 AND refresh_jti = $2 AND expires_at > $4`;
  const select = `SELECT ${columns} FROM user_session WHERE id = $1 AND refresh_jti = $2`;
  let { refresh } = await sessions.create(USER_ID, { type: 'LONG' });
  return async () => {
    const { sid, jti } = jwt.verify<{ sid: string; jti: string }>(refresh);
    const nextJti = newJti();
    const values = [sid, jti, nextJti, Date.now()];
    if (isMysql) await send(update, values);
    const [row] = await (isMysql ? send(select, [sid, nextJti]) : send(`${update} RETURNING ${columns}`, values));
    refresh = signBoth(sid, nextJti, row).refresh;
  };
}

/** Logs in with one INSERT. */
export function loginByHand({ dataSource }: SessionApp, client: number): Promise<Step> {
  const send = sender(dataSource);
  return Promise.resolve(async () => {
    const { sid, jti, row, values } = newSession(`${USER_ID}-${client}`);
    await send(INSERT, values);
    signBoth(sid, jti, row);
  });
}

/**
 * Logs in at a limit with three round trips: BEGIN with the user's lock, one statement, and COMMIT. The statement evicts the
 * least recently used sessions, writes their blacklist entries and inserts the new session.
 */
export const loginAtLimitByHand =
  (limit: number, userOf: (client: number) => string) =>
  ({ dataSource }: SessionApp, client: number): Promise<Step> => {
    const name = 'login';
    const text = `
      WITH ended AS (
        DELETE FROM user_session WHERE id IN (
          SELECT id FROM user_session WHERE user_id = $2 AND type = 'LONG' AND expires_at > $4
          ORDER BY last_update DESC, created_at DESC OFFSET ${limit - 1})
        RETURNING id, user_id),
      entries AS (
        INSERT INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
        SELECT id, 'session', id, user_id, 'evicted', $4, $4::bigint + 310000 FROM ended)
      ${INSERT}`;
    return Promise.resolve(async () => {
      const userId = userOf(client);
      const { sid, jti, row, values } = newSession(userId);
      const connection = await poolOf(dataSource).connect();
      try {
        await connection.query(`BEGIN; SELECT pg_advisory_xact_lock('${lockOf(userId)}')`);
        await connection.query({ name, text, values });
        await connection.query('COMMIT');
      } finally {
        connection.release();
      }
      signBoth(sid, jti, row);
    });
  };

/** Lists a user's sessions with one SELECT of the columns that are shown. */
export const listByHand =
  (expected: number) =>
  ({ dataSource }: SessionApp, client: number): Promise<Step> => {
    const send = sender<Record<string, unknown>>(dataSource);
    const text = `SELECT id, user_id, type, created_at, last_update, expires_at, info, user_agent, ip_address, device_name, data, claims
      FROM user_session WHERE user_id = $1 AND type IN ('LONG') AND expires_at > $2 ORDER BY created_at, id`;
    return Promise.resolve(async () => {
      const rows = await send(text, [`${USER_ID}-${client}`, Date.now()]);
      if (rows.length !== expected) throw new Error(`expected ${expected} rows, found ${rows.length}`);
      for (const row of rows) {
        for (const time of ['created_at', 'last_update', 'expires_at']) row[time] = new Date(Number(row[time]));
      }
    });
  };

const INSERT = `INSERT INTO user_session (id, user_id, type, refresh_jti, refresh_kid, created_at, last_update, expires_at, info)
  VALUES ($1, $2, 'LONG', $3, 'by hand', $4, $4, $5, 'a benchmark')`;

function newSession(userId: string) {
  const [sid, jti, now] = [randomUUID(), newJti(), Date.now()];
  const row: Row = { user_id: userId, type: 'LONG', generation: 0, expires_at: now + MONTH };
  return { sid, jti, row, values: [sid, userId, jti, now, now + MONTH] };
}

function lockOf(userId: string): string {
  return createHash('sha256').update(userId).digest().readBigInt64BE().toString();
}

const newJti = () => randomBytes(16).toString('hex');

function signBoth(sid: string, jti: string, { user_id: sub, type, generation: gen, expires_at }: Row) {
  const claims = { sub, sid, gen, session_type: type };
  return {
    access: jwt.sign({ ...claims, token_type: 'access', jti: newJti() }, { expiresIn: 300 }),
    refresh: jwt.sign({ ...claims, token_type: 'refresh', jti, exp: Math.floor(Number(expires_at) / 1000) }),
  };
}

// ─── The drivers, on the library's connections ────────────────────────────────────────────────────────────

type Send<R> = (text: string, values: unknown[]) => Promise<R[]>;

interface PgPool {
  query(statement: object): Promise<{ rows: never[] }>;
  connect(): Promise<{ query(statement: string | object): Promise<unknown>; release(): void }>;
}

interface SqliteStatement {
  readonly reader: boolean;
  all(...values: unknown[]): unknown[];
  run(...values: unknown[]): unknown;
}

/** Returns a function that sends statements in the driver's fastest way. Their parameters are `$1`, `$2`, … */
function sender<R>(dataSource: DataSource): Send<R> {
  const { type } = dataSource.options;
  if (type === 'postgres') return sendByPg(dataSource);
  return type === 'mariadb' ? sendByMysql(dataSource) : sendBySqlite(dataSource);
}

const poolOf = (dataSource: DataSource) => (dataSource.driver as unknown as { master: PgPool }).master;

/** Uses named statements, which PostgreSQL parses and plans once per connection. */
function sendByPg<R>(dataSource: DataSource): Send<R> {
  const pool = poolOf(dataSource);
  const names = new Map<string, string>();
  return async (text, values) => {
    let name = names.get(text);
    if (name === undefined) names.set(text, (name = createHash('sha256').update(text).digest('hex').slice(0, 32)));
    return (await pool.query({ name, text, values })).rows;
  };
}

function sendByMysql<R>(dataSource: DataSource): Send<R> {
  const { pool } = dataSource.driver as unknown as {
    pool: { query(text: string, values: unknown[], done: (error: Error | null, rows: R[]) => void): void };
  };
  return (text, values) =>
    new Promise((resolve, reject) => {
      const [plain, ordered] = withQuestionMarks(text, values);
      pool.query(plain, ordered, (error, rows) => (error ? reject(error) : resolve(rows)));
    });
}

function sendBySqlite<R>(dataSource: DataSource): Send<R> {
  const { databaseConnection } = dataSource.driver as unknown as {
    databaseConnection: { prepare(text: string): SqliteStatement };
  };
  const prepared = new Map<string, SqliteStatement>();
  return (text, values) => {
    const [plain, ordered] = withQuestionMarks(text, values);
    let statement = prepared.get(plain);
    if (!statement) prepared.set(plain, (statement = databaseConnection.prepare(plain)));
    const rows = statement.reader ? statement.all(...ordered) : [statement.run(...ordered)];
    return Promise.resolve(rows as R[]);
  };
}

function withQuestionMarks(text: string, values: unknown[]): [string, unknown[]] {
  const ordered: unknown[] = [];
  const plain = text.replace(/\$(\d+)/g, (_, place) => {
    ordered.push(values[Number(place) - 1]);
    return '?';
  });
  return [plain, ordered];
}
