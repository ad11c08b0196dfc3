import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { JwtService } from '@nestjs/jwt';
import type { SessionPolicyOptions } from 'nestjs-multisession';
import type { DataSource } from 'typeorm';
import { createDatabase, selectedDatabases } from '../test/helpers/databases.js';
import type { BenchOptions } from './options.js';
import { median, percent, spread, table, whole } from './report.js';
import { SECRET, type SessionApp, startSessionApp, USER_ID } from './session-app.js';

/** What is repeated: each step is one refresh or one login of one of the clients. */
type Step = () => Promise<void>;

/** A way to do it. */
interface Contestant {
  readonly label: string;
  /** Its yardstick, if it has one: the same by hand, on the same database. */
  readonly byHand?: Contestant;
  /** One step for each client that is at it at the same time. */
  readonly clients: readonly Step[];
  readonly statements: number;
  readonly rates: number[];
}

/** Makes the steps of one client. */
type ClientOf = (app: SessionApp, client: number) => Promise<Step>;

const CLIENTS = 32;

/** Refreshes a second, each of them a rotation. */
export async function benchRefresh(options: BenchOptions): Promise<void> {
  await bench('refresh that rotates', options, { reuseGrace: 0 }, refreshing, refreshingByHand);
}

/** Logins a second, without a limit and at a limit that each login evicts a session for. */
export async function benchLogin(options: BenchOptions): Promise<void> {
  await bench('login, no limit', options, {}, loggingIn, loggingInByHand);
  await bench('login, limit of 2 reached', options, { maxActiveSessions: 2 }, loggingIn);
}

/** Lists a second, of 50 sessions of one user among a table of many. */
export async function benchList(options: BenchOptions): Promise<void> {
  // A second shows that it runs; there is no need of many rows for that.
  const others = options.seconds > 1 ? 1_000_000 : 1000;
  await bench(`list of 50 sessions, ${whole(others)} rows of others`, options, {}, listing(others), listingByHand);
}

async function bench(
  title: string,
  { seconds, rounds }: BenchOptions,
  policy: Partial<SessionPolicyOptions>,
  clientOf: ClientOf,
  byHandOf?: ClientOf,
): Promise<void> {
  const contestants: Contestant[] = [];
  const closing: (() => Promise<void>)[] = [];
  try {
    for (const name of selectedDatabases()) {
      const database = await createDatabase(name);
      closing.unshift(() => database.drop());
      const app = await startSessionApp(database.options, policy);
      closing.unshift(() => app.close());
      const byHand = byHandOf && name === 'postgres' ? await enterByHand(app, byHandOf) : undefined;
      if (byHand) contestants.push(byHand);
      contestants.push({ ...(await enter(`this library, ${name}`, app, clientOf)), byHand });
    }
    // Long enough for the compiler to have seen all of it.
    for (const contestant of contestants) await rateOf(contestant, seconds);
    for (let round = 0; round < rounds; round++) {
      for (const contestant of contestants) contestant.rates.push(await rateOf(contestant, seconds));
    }
  } finally {
    for (const close of closing) await close();
  }
  report(title, contestants);
}

async function enter(label: string, app: SessionApp, clientOf: ClientOf): Promise<Contestant> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, client) => clientOf(app, client)));
  // The second time, since some of what a first step sends is sent once for the connection.
  for (const step of clients) await step();
  const statements = await app.countStatements(clients[0]);
  return { label, clients, statements, rates: [] };
}

/** What goes past TypeORM is not counted by its logger. */
async function enterByHand(app: SessionApp, clientOf: ClientOf): Promise<Contestant> {
  return { ...(await enter('by hand with pg', app, clientOf)), statements: 1 };
}

/** Steps done in a second, with every client at it at the same time. */
async function rateOf({ clients }: Contestant, seconds: number): Promise<number> {
  const startedAt = performance.now();
  const endAt = startedAt + seconds * 1000;
  let done = 0;
  await Promise.all(
    clients.map(async (step) => {
      while (performance.now() < endAt) {
        await step();
        done++;
      }
    }),
  );
  return (done * 1000) / (performance.now() - startedAt);
}

function report(title: string, contestants: readonly Contestant[]): void {
  const rows = contestants.map(({ label, byHand, rates, statements }) => [
    label,
    whole(median(rates)),
    percent(spread(rates)),
    byHand ? median(rates.map((rate, round) => rate / byHand.rates[round])).toFixed(2) : '',
    String(statements),
  ]);
  console.log(`\n${title}, ${CLIENTS} at a time\n`);
  console.log(table(['', 'a second', 'spread', 'of by hand', 'statements'], rows));
}

// ─── This library ───────────────────────────────────────────────────────────────────────────────────────────────────────

const refreshing: ClientOf = async ({ sessions }) => {
  let { refresh } = await sessions.create(USER_ID, { type: 'LONG' });
  return async () => {
    const answer = await sessions.refresh(refresh, { type: 'LONG' });
    if (answer.refresh === undefined || answer.refresh === refresh) throw new Error('it was not rotated');
    refresh = answer.refresh;
  };
};

const loggingIn: ClientOf = async ({ sessions }, client) => {
  const step = async () => {
    await sessions.create(`${USER_ID}-${client}`, { type: 'LONG', info: 'a benchmark' });
  };
  for (let count = 0; count < 2; count++) await step();
  return step;
};

const listing =
  (others: number): ClientOf =>
  async ({ sessions, dataSource }, client) => {
    if (client === 0) await fill(dataSource, others);
    const userId = `${USER_ID}-${client}`;
    const [{ sessions: there }] = await sessions.list(userId);
    for (let count = there.length; count < 50; count++)
      await sessions.create(userId, { type: 'LONG', info: 'a benchmark' });
    return async () => {
      const [{ sessions: listed }] = await sessions.list(userId);
      if (listed.length !== 50) throw new Error(`${listed.length} sessions where 50 were expected`);
    };
  };

/** On PostgreSQL, which is compared; elsewhere the rows of the clients must do. */
async function fill(dataSource: DataSource, rows: number): Promise<void> {
  if (dataSource.options.type !== 'postgres') return;
  const [{ count }] = await dataSource.query<[{ count: string }]>('SELECT count(*) FROM user_session');
  if (Number(count) >= rows) return;
  await dataSource.query(
    `INSERT INTO user_session (id, user_id, type, refresh_jti, refresh_kid, created_at, last_update, expires_at, info)
     SELECT gen_random_uuid(), 'other ' || n % 100000, 'LONG', md5(n::text), 'none', $1, $1, $2, 'another'
     FROM generate_series(1, $3::int) AS n`,
    [Date.now(), Date.now() + 30 * 86_400_000, rows],
  );
  await dataSource.query('ANALYZE user_session');
}

// ─── By hand: as few and as quick steps as will do, with the same table and the same tokens ─────────────────────────────

const jwt = new JwtService({ secret: createSecretKey(SECRET, 'utf8') });

interface HandMadeClaims {
  sid: string;
  jti: string;
}

const refreshingByHand: ClientOf = async (app) => {
  let { refresh } = await app.sessions.create(USER_ID, { type: 'LONG' });
  return async () => {
    const { sid, jti } = jwt.verify<HandMadeClaims>(refresh);
    const nextJti = newJti();
    const [row] = await send(app.dataSource, {
      name: 'rotate',
      text: `UPDATE user_session SET generation = generation + 1, parent_generation = generation,
               confirmed_generation = generation, refresh_jti = $3, parent_jti = $2, rotated_at = $4, last_update = $4
             WHERE id = $1 AND refresh_jti = $2 AND expires_at > $4
             RETURNING user_id, type, generation, expires_at`,
      values: [sid, jti, nextJti, Date.now()],
    });
    refresh = signBoth(sid, nextJti, row).refresh;
  };
};

const loggingInByHand: ClientOf = (app, client) =>
  Promise.resolve(async () => {
    const [sid, jti, now] = [randomUUID(), newJti(), Date.now()];
    const [row] = await send(app.dataSource, {
      name: 'insert',
      text: `INSERT INTO user_session (id, user_id, type, refresh_jti, refresh_kid, created_at, last_update, expires_at, info)
             VALUES ($1, $2, 'LONG', $3, 'by hand', $4, $4, $5, 'a benchmark')
             RETURNING user_id, type, generation, expires_at`,
      values: [sid, `${USER_ID}-${client}`, jti, now, now + 30 * 86_400_000],
    });
    signBoth(sid, jti, row);
  });

const listingByHand: ClientOf = async (app, client) => {
  await listing(0)(app, client);
  const userId = `${USER_ID}-${client}`;
  return async () => {
    const rows = await send(
      app.dataSource,
      {
        name: 'list',
        text: `SELECT id, user_id, type, created_at, last_update, expires_at, info, user_agent, ip_address, device_name, data, claims
               FROM user_session WHERE user_id = $1 AND type IN ('LONG') AND expires_at > $2 ORDER BY created_at, id`,
        values: [userId, Date.now()],
      },
      50,
    );
    for (const row of rows as unknown as Record<string, unknown>[]) {
      for (const time of ['created_at', 'last_update', 'expires_at']) row[time] = new Date(Number(row[time]));
    }
  };
};

const newJti = () => randomBytes(16).toString('hex');

interface HandMadeRow {
  user_id: string;
  type: string;
  generation: number;
  expires_at: string;
}

function signBoth(sid: string, jti: string, { user_id: sub, type, generation: gen, expires_at }: HandMadeRow) {
  const claims = { sub, sid, gen, session_type: type };
  return {
    access: jwt.sign({ ...claims, token_type: 'access', jti: newJti() }, { expiresIn: 300 }),
    refresh: jwt.sign({ ...claims, token_type: 'refresh', jti, exp: Math.floor(Number(expires_at) / 1000) }),
  };
}

/** A named statement, which PostgreSQL parses and plans once for each connection, over the same pool as the library's. */
async function send(
  { driver }: DataSource,
  statement: { name: string; text: string; values: unknown[] },
  expected = 1,
): Promise<HandMadeRow[]> {
  const { master: pool } = driver as unknown as { master: { query(given: object): Promise<{ rows: HandMadeRow[] }> } };
  const { rows } = await pool.query(statement);
  if (rows.length !== expected) throw new Error(`${rows.length} rows where ${expected} were expected`);
  return rows;
}
