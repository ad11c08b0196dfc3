/**
 * Prints what a number of users needs, on PostgreSQL: `npm run capacity -- --users 100e6`. `docs/scaling.md` explains the formulas.
 */
import { parseArgs } from 'node:util';

/** What `docs/performance.md` measured. Sizes are in bytes, times in seconds of a core. */
const MEASURED = {
  /** A session with its indexes, and the indexes alone. */
  session: 617,
  sessionIndexes: 227,
  /** An entry of an ended session in the table, and in the memory of a process. */
  entry: 298,
  entryInMemory: 143,
  /** What an operation writes to the log, with the images of pages that a refresh made. */
  wal: { refresh: 588, login: 919, ending: 607 },
  /** In the process and in the database, without the hash of a password. */
  refresh: { process: 275e-6, database: 102e-6 },
  login: { process: 328e-6, database: 246e-6 },
  ending: { process: 200e-6, database: 100e-6 },
  poll: { process: 820e-6, database: 500e-6 },
};

const [MINUTE, DAY] = [60, 86_400];
/** How long an entry outlives the access token, in seconds: see `ENTRY_MARGIN` in `lib/engine/timing.ts`. */
const ENTRY_MARGIN = 70;
/** The client refreshes when this part of an access token's life is over, on average. */
const REFRESHED_AT = 0.8;

/** The options, their defaults, and what they mean. */
export const OPTIONS = {
  users: [1e6, 'users who are logged in'],
  sessions: [2.5, 'sessions of each of them'],
  days: [30, 'days that a session lasts, from login to its end'],
  active: [0.3, 'part of the sessions that are used on a day'],
  minutes: [60, 'minutes a day that such a session is used'],
  access: [5, 'lifetime of access tokens in minutes'],
  peak: [3, 'the busiest second, compared to the average'],
  processes: [4, 'processes of the application, with a core each'],
  pool: [10, 'connections in the pool of each process'],
  'poll-interval': [1, '`revocation.pollInterval` in seconds'],
  'max-entries': [1e6, '`revocation.maxEntries`'],
  'database-cores': [8, 'cores of the database server'],
  'database-memory': [32, 'memory of the database server in GB'],
  'max-connections': [100, '`max_connections` of the database server'],
  'wal-rate': [50, 'MB of log that the disk and the standby take in a second'],
};

/**
 * Calculates sizes, rates and loads. All rates are those of the busiest second.
 * @param given values by the names of `OPTIONS`; those that are left out have their defaults
 * @throws Error for a value that is not a positive number
 */
export function capacityOf(given = {}) {
  const o = Object.fromEntries(Object.entries(OPTIONS).map(([name, [value]]) => [name, given[name] ?? value]));
  for (const [name, value] of Object.entries(o))
    if (!(value > 0 && Number.isFinite(value))) throw new Error(`--${name}: must be a number above 0`);

  const sessions = o.users * o.sessions;
  const refreshesOfSession = Math.max(1, o.minutes / (o.access * REFRESHED_AT));
  const perSecond = (perDay) => (perDay / DAY) * o.peak;
  const rates = {
    refresh: perSecond(sessions * o.active * refreshesOfSession),
    login: perSecond(sessions / o.days),
    ending: perSecond(sessions / o.days),
    poll: o.processes / o['poll-interval'],
  };
  const entries = rates.ending * (o.access * MINUTE + ENTRY_MARGIN);
  const cores = (where) => Object.entries(rates).reduce((sum, [name, rate]) => sum + rate * MEASURED[name][where], 0);
  const wal = Object.entries(MEASURED.wal).reduce((sum, [name, bytes]) => sum + rates[name] * bytes, 0);
  const connections = o.processes * (o.pool + 1);
  const sizes = {
    sessions: sessions * MEASURED.session,
    indexes: sessions * MEASURED.sessionIndexes,
    entries: entries * MEASURED.entry,
    memory: entries * MEASURED.entryInMemory,
  };
  /** What is used of what there is: 1 is all of it. */
  const loads = {
    'cores of the processes': cores('process') / o.processes,
    'cores of the database': cores('database') / o['database-cores'],
    'connections of the database': connections / o['max-connections'],
    'log of the database': wal / (o['wal-rate'] * 1e6),
    'memory of the database, for the indexes': sizes.indexes / (o['database-memory'] * 1e9),
    'ended sessions in memory': entries / o['max-entries'],
  };
  return { sessions, rates, entries, wal, connections, sizes, loads };
}

/** Formats what `capacityOf` returns. */
export function report({ sessions, rates, entries, wal, connections, sizes, loads }) {
  const number = (value) => (value < 10 ? value.toPrecision(2) : Math.round(value).toLocaleString('en'));
  const bytes = (value) => {
    const power = Math.max(0, Math.min(4, Math.floor(Math.log10(value) / 3)));
    return `${number(value / 1000 ** power)} ${['bytes', 'kB', 'MB', 'GB', 'TB'][power]}`;
  };
  const lines = [
    ['sessions', number(sessions)],
    ['table of sessions, with indexes', bytes(sizes.sessions)],
    ['its indexes', bytes(sizes.indexes)],
    ['refreshes per second', number(rates.refresh)],
    ['logins per second', number(rates.login)],
    ['endings per second', number(rates.ending)],
    ['polls per second', number(rates.poll)],
    ['log per second', bytes(wal)],
    ['connections', number(connections)],
    ['ended sessions that are remembered', number(entries)],
    ['their table, with indexes', bytes(sizes.entries)],
    ['their memory in each process', bytes(sizes.memory)],
  ];
  const used = Object.entries(loads).sort(([, a], [, b]) => b - a);
  const [[first, most]] = used;
  const width = Math.max(...lines.map(([what]) => what.length), ...used.map(([what]) => what.length)) + 2;
  const show = ([what, value]) => `  ${what.padEnd(width)}${value}`;
  return [
    'At the busiest second:',
    ...lines.map(show),
    '',
    'Used of what there is:',
    ...used.map(([what, load]) => show([what, `${number(load * 100)} %`])),
    '',
    most > 1 ? `Not enough: ${first}.` : `The first limit is: ${first}.`,
  ].join('\n');
}

if (process.argv[1] === import.meta.filename) {
  const options = Object.fromEntries(Object.keys(OPTIONS).map((name) => [name, { type: 'string' }]));
  try {
    const { help, ...given } = parseArgs({ options: { ...options, help: { type: 'boolean' } } }).values;
    const numbers = Object.fromEntries(Object.entries(given).map(([name, text]) => [name, Number(text)]));
    if (!help) console.log(report(capacityOf(numbers)));
    else
      for (const [name, [value, meaning]] of Object.entries(OPTIONS))
        console.log(`  --${name.padEnd(18)}${meaning}. Default: ${value}`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 2;
  }
}
