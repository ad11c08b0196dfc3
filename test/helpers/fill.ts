import { type DataSource, type Table, TableIndex } from 'typeorm';

/** The SQL that differs between the databases. */
interface Words {
  /** A query for the whole numbers from `from` to `to`, as `n`. */
  readonly series: (from: number, to: number) => string;
  /** A whole number in lower-case hex, padded to `digits`. */
  readonly hex: (number: string, digits: number) => string;
  readonly divide: (number: string, by: number) => string;
  readonly integer: (text: string) => string;
  /** Statements that update the planner's statistics. */
  readonly settle: readonly string[];
}

const padded = (hex: string, digits: number) => `lpad(${hex}, ${digits}, '0')`;

const POSTGRES: Words = {
  series: (from, to) => `SELECT n FROM generate_series(${from}::bigint, ${to}) AS series (n)`,
  hex: (number, digits) => padded(`to_hex(${number})`, digits),
  divide: (number, by) => `${number} / ${by}`,
  integer: (text) => `CAST(${text} AS integer)`,
  // Does what autovacuum does. Otherwise the first reader of each page would have to write it.
  settle: ['VACUUM (ANALYZE) user_session', 'VACUUM (ANALYZE) session_blacklist'],
};
const MARIADB: Words = {
  series: (from, to) => `SELECT CAST(seq AS signed) AS n FROM seq_${from}_to_${to}`,
  hex: (number, digits) => padded(`lower(hex(${number}))`, digits),
  divide: (number, by) => `${number} DIV ${by}`,
  integer: (text) => `CAST(${text} AS signed)`,
  settle: ['ANALYZE TABLE user_session, session_blacklist'],
};
const SQLITE: Words = {
  series: (from, to) =>
    `WITH RECURSIVE series (n) AS (SELECT ${from} UNION ALL SELECT n + 1 FROM series WHERE n < ${to}) SELECT n FROM series`,
  hex: (number, digits) => `printf('%0${digits}x', ${number})`,
  divide: (number, by) => `${number} / ${by}`,
  integer: (text) => `CAST(${text} AS integer)`,
  settle: ['ANALYZE'],
};

function wordsOf({ options: { type } }: DataSource): Words {
  if (type === 'postgres') return POSTGRES;
  return type === 'mariadb' || type === 'mysql' ? MARIADB : SQLITE;
}

const CHUNK = 100_000;
/** With more rows, create the indexes after the rows: random writes to an index that does not fit in memory take hours. */
const MOST_INDEXED = 100_000;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Sends one statement per chunk of the numbers below `count`, which keeps each transaction short. */
async function inChunks(dataSource: DataSource, count: number, insert: (numbers: string) => string): Promise<void> {
  const { series } = wordsOf(dataSource);
  for (let from = 0; from < count; from += CHUNK)
    await dataSource.query(insert(series(from, Math.min(from + CHUNK, count) - 1)));
}

async function withIndexesLast(dataSource: DataSource, insertAll: () => Promise<void>): Promise<void> {
  const runner = dataSource.createQueryRunner();
  try {
    const table = (await runner.getTable('user_session')) as Table;
    // TypeORM reads the columns of an index from PostgreSQL in the order of the table, so take them from the entity.
    const indices = dataSource.getMetadata('SessionEntity').indices.map((index) => TableIndex.create(index));
    await runner.dropIndices(table, indices);
    await insertAll();
    await runner.createIndices(table, indices);
  } finally {
    await runner.release();
  }
}

// Multiplying by one of these, modulo 2^32, maps each number below 2^32 to a different one, spread like random numbers.
const FACTORS = [2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263] as const;
const mixed = (number: number, at: number) => Number((BigInt(number) * BigInt(FACTORS[at])) % 2n ** 32n);
const mixedSql = (number: string, at: number) => `(${number} * ${FACTORS[at]} % 4294967296)`;
const hex = (number: number, digits: number) => number.toString(16).padStart(digits, '0');

/*
 * A table consists of forty equal parts. Row `i` of every part belongs to group `i`: five users, who have 5, 7, 8, 10 and 10
 * sessions. `MEMBERS` says which user of a group has the session in each part. `TYPES` says which of the two types it has,
 * swapped in every other group. So the sessions of a user lie far apart, and both types occur everywhere.
 */
const MEMBERS = '3421034213402341234013421342034123401234';
const TYPES = '0000011110010110100011100001111100000111';
const USERS_OF_A_GROUP = 5;

const USER_AGENTS = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1',
  'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
];
const INFOS = ['Chrome on Windows', 'Safari on iPhone', 'Firefox on Linux'];
const oneOfSql = (number: string, texts: readonly string[]) =>
  `CASE ${number} % ${texts.length} ${texts.map((text, at) => `WHEN ${at} THEN '${text}'`).join(' ')} END`;

/** Builds a UUID of the given version from `front`, which is 12 hex digits, and from bits mixed out of `number`. */
const uuid = (front: string, version: number, number: number) => {
  const [a, b, c, d] = FACTORS.map((_, at) => mixed(number, at));
  const groups = [front.slice(0, 8), front.slice(8), `${version}${hex(a % 4096, 3)}`, `8${hex(b % 4096, 3)}`];
  return [...groups, hex(c, 8) + hex(d % 65_536, 4)].join('-');
};
const uuidSql = (words: Words, front: string, version: number, number: string) => {
  const part = (at: number, digits: number) => words.hex(`${mixedSql(number, at)} % ${16 ** digits}`, digits);
  return `concat(substr(${front}, 1, 8), '-', substr(${front}, 9), '-${version}', ${part(0, 3)}, '-8', ${part(1, 3)}, '-',
    ${part(2, 8)}, ${part(3, 4)})`;
};

/** The fields of a filled row that are needed to act on its session. */
export interface FilledSession {
  readonly id: string;
  readonly userId: string;
  readonly type: string;
  readonly generation: number;
  readonly jti: string;
  readonly createdAt: number;
  readonly handedOutAt: number;
  readonly expiresAt: number;
}

/** Options of `FilledSessions`. */
export interface Filling {
  /** Number of rows. Must be a multiple of 40. */
  readonly rows: number;
  /** The id of the key that signed the refresh tokens. */
  readonly kid: string;
  /** Every n-th row has expired. Default: none. */
  readonly expiredEvery?: number;
}

/**
 * Sessions as an application has them after a month. They were created one after the other in the past thirty days, and each
 * expires 31 days later. Each user has 5 to 10 sessions, of the types LONG and SHORT. Row `n`, from 0, follows a fixed rule.
 * So a test knows it without a query, which would bring the row into the database's cache.
 */
export class FilledSessions {
  private readonly now = Date.now();
  /** Milliseconds between one row and the next. */
  private readonly step: number;
  private readonly groups: number;
  /** How often the sessions of each user have been restored. */
  private readonly restored = new Map<number, number>();

  constructor(
    private readonly dataSource: DataSource,
    readonly filling: Filling,
  ) {
    const { rows } = filling;
    if (rows === 0 || rows % MEMBERS.length !== 0)
      throw new Error(`${rows} rows: must be a multiple of ${MEMBERS.length}`);
    this.step = Math.floor((30 * DAY) / rows);
    this.groups = rows / MEMBERS.length;
  }

  get users(): number {
    return this.groups * USERS_OF_A_GROUP;
  }

  async fill(): Promise<void> {
    const insertAll = () => inChunks(this.dataSource, this.filling.rows, (numbers) => this.insert(numbers));
    await (this.filling.rows > MOST_INDEXED ? withIndexesLast(this.dataSource, insertAll) : insertAll());
  }

  /**
   * Replaces a user's sessions by their original rows, even if they have ended. They get new ids, because processes remember
   * the sessions that have ended.
   */
  async restore(user: number): Promise<void> {
    const numbers = this.numbersOf(user);
    const ids = numbers.map((number) => `'${this.session(number).id}'`).join();
    await this.dataSource.query(`DELETE FROM user_session WHERE user_id = '${this.userId(user)}'`);
    await this.dataSource.query(`DELETE FROM session_blacklist WHERE id IN (${ids})`);
    const { series } = wordsOf(this.dataSource);
    const each = numbers.map((number) => `SELECT n FROM (${series(number, number)}) AS one`);
    this.restored.set(user, (this.restored.get(user) ?? 0) + 1);
    await this.dataSource.query(this.insert(each.join(' UNION ALL '), this.shiftOf(user)));
  }

  session(number: number): FilledSession {
    const createdAt = this.beginning + number * this.step;
    const slot = Math.floor(number / this.groups);
    const user = (number % this.groups) * USERS_OF_A_GROUP + Number(MEMBERS[slot]);
    return {
      id: uuid(hex(createdAt, 12), 7, number + this.shiftOf(user)),
      userId: this.userId(user),
      type: (Number(TYPES[slot]) + (number % this.groups)) % 2 === 0 ? 'LONG' : 'SHORT',
      generation: 1,
      jti: FACTORS.map((_, at) => hex(mixed(number, at), 8)).join(''),
      createdAt,
      handedOutAt: createdAt + MINUTE,
      expiresAt: Math.floor(createdAt / 1000) * 1000 + 31 * DAY,
    };
  }

  userId(user: number): string {
    return uuid(hex(mixed(user, 0), 8) + hex(mixed(user, 1) % 65_536, 4), 4, user);
  }

  /** Returns the row numbers of a user, oldest first. */
  numbersOf(user: number): number[] {
    const [group, member] = [Math.floor(user / USERS_OF_A_GROUP), String(user % USERS_OF_A_GROUP)];
    return [...MEMBERS].flatMap((of, slot) => (of === member ? [slot * this.groups + group] : []));
  }

  /** When the session of row 0 was created, in milliseconds. */
  private get beginning(): number {
    return this.now - 2 * MINUTE - this.filling.rows * this.step;
  }

  /** What is added to the row numbers of a user to get the random bits of the ids. */
  private shiftOf(user: number): number {
    return (this.restored.get(user) ?? 0) * this.filling.rows;
  }

  private insert(numbers: string, shift = 0): string {
    const words = wordsOf(this.dataSource);
    const { kid, expiredEvery } = this.filling;
    const front = words.hex('t', 12);
    const userFront = `concat(${words.hex(mixedSql('u', 0), 8)}, ${words.hex(`${mixedSql('u', 1)} % 65536`, 4)})`;
    const jti = `concat(${FACTORS.map((_, at) => words.hex(mixedSql('n', at), 8)).join()})`;
    const live = `${words.divide('t', 1000)} * 1000 + ${31 * DAY}`;
    const past = `${Math.floor((this.now - HOUR) / 1000) * 1000} - n % 1000 * 1000`;
    const expiresAt = expiredEvery ? `CASE WHEN n % ${expiredEvery} = 0 THEN ${past} ELSE ${live} END` : live;
    return `
      INSERT INTO user_session (id, user_id, type, generation, parent_generation, refresh_jti, parent_jti, refresh_kid,
        confirmed_generation, created_at, last_update, rotated_at, expires_at, cleanup_at, info, user_agent, ip_address)
      SELECT ${uuidSql(words, front, 7, `(n + ${shift})`)}, ${uuidSql(words, userFront, 4, 'u')},
        CASE (${words.integer(`substr('${TYPES}', slot + 1, 1)`)} + n % ${this.groups}) % 2 WHEN 0 THEN 'LONG' ELSE 'SHORT' END,
        1, 0, ${jti}, ${jti}, '${kid}', 1, t, t + ${MINUTE}, t + ${MINUTE}, ${expiresAt}, ${expiresAt},
        ${oneOfSql('n', INFOS)}, ${oneOfSql('n', USER_AGENTS)},
        concat(n % 223 + 1, '.', n % 251, '.', n % 241, '.', n % 239)
      FROM (
        SELECT n, t, slot, n % ${this.groups} * ${USERS_OF_A_GROUP} + ${words.integer(`substr('${MEMBERS}', slot + 1, 1)`)} AS u
        FROM (SELECT n, ${this.beginning} + n * ${this.step} AS t, ${words.integer(words.divide('n', this.groups))} AS slot FROM (${numbers}) AS numbers) AS placed
      ) AS owned`;
  }
}

/**
 * Adds blacklist entries of sessions that ended in the past day. They expire two days after they were created.
 * Every `expiredEvery`-th entry has expired already. Default: none.
 */
export async function fillBlacklist(
  dataSource: DataSource,
  { entries, expiredEvery = 0 }: { entries: number; expiredEvery?: number },
): Promise<void> {
  const words = wordsOf(dataSource);
  const now = Date.now();
  const step = Math.floor(DAY / entries);
  const id = uuidSql(words, words.hex('t', 12), 7, 'n');
  const expiresAt = expiredEvery
    ? `CASE WHEN n % ${expiredEvery} = 0 THEN t ELSE t + ${2 * DAY} END`
    : `t + ${2 * DAY}`;
  await inChunks(
    dataSource,
    entries,
    (numbers) => `
      INSERT INTO session_blacklist (id, kind, session_id, user_id, reason, created_at, expires_at)
      SELECT ${id}, 'session', ${id}, ${uuidSql(words, words.hex('t', 12), 4, 'n')}, 'logout', t, ${expiresAt}
      FROM (SELECT n, ${now - 2 * MINUTE - entries * step} + n * ${step} AS t FROM (${numbers}) AS numbers) AS timed`,
  );
}

/** Updates the planner's statistics, as the database does by itself after a while. */
export async function settle(dataSource: DataSource): Promise<void> {
  for (const statement of wordsOf(dataSource).settle) await dataSource.query(statement);
}
