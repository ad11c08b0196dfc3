import type { SessionPolicyOptions } from 'nestjs-multisession';
import { createDatabase, type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { handOn, listByHand, loginAtLimitByHand, loginByHand, refreshByHand } from './by-hand.js';
import { processorTime } from './child.js';
import { fillSessions } from './fill-sessions.js';
import type { BenchOptions } from './options.js';
import { databaseTime } from './others.js';
import { median, percent, say, sayTarget, sayTitle, spread, table, whole } from './report.js';
import { inRounds } from './rounds.js';
import { type SessionApp, startSessionApp, type Step, USER_ID } from './session-app.js';

/** Creates the step that one client repeats. */
type ClientOf = (app: SessionApp, client: number) => Promise<Step>;

/** One operation to measure, and the hand-written code to compare it with. */
interface Benchmark {
  readonly title: string;
  readonly policy: Partial<SessionPolicyOptions>;
  readonly ours: ClientOf;
  /** Minimal hand-written code for the same tables, by database. */
  readonly byHand?: Partial<Record<DatabaseName, ClientOf>>;
  /** Target on PostgreSQL, relative to the hand-written code. */
  readonly target?: number;
  /** Runs before the measurements. */
  readonly prepare?: (app: SessionApp) => Promise<void>;
  /** Default: all selected databases. */
  readonly databases?: readonly DatabaseName[];
}

/** One implementation that is measured. */
interface Contestant {
  readonly label: string;
  /** The steps of the concurrent clients, one each. */
  readonly clients: readonly Step[];
  /** Statements per step; undefined if they bypass TypeORM's logger. */
  readonly statements?: number;
  /** The label of the hand-written code that it is compared with. */
  readonly byHand?: string;
}

interface Measurement {
  /** Steps per second. */
  readonly rate: number;
  /** CPU time per step in microseconds, of this process and of the database server. */
  readonly cost: number;
  readonly databaseCost: number;
}

const CLIENTS = 32;
const LISTED = 50;
const LIMIT = 5;

/** Measures refreshes that rotate. */
export async function benchRefresh(options: BenchOptions): Promise<void> {
  const byHand = { sqlite: refreshByHand, postgres: refreshByHand, mariadb: refreshByHand };
  await bench(
    { title: 'refresh that rotates', policy: { reuseGrace: 0 }, ours: refreshing, byHand, target: 0.85 },
    options,
  );
}

/** Measures logins, without a limit and at a limit, where each login evicts a session. */
export async function benchLogin(options: BenchOptions): Promise<void> {
  const byHand = { sqlite: loginByHand, postgres: loginByHand, mariadb: loginByHand };
  await bench({ title: 'login, no limit', policy: {}, ours: loggingIn(ofManyUsers()), byHand }, options);
  const atLimit = { policy: { maxActiveSessions: LIMIT }, target: 0.75 };
  for (const [title, userOf] of [
    [`login at a limit of ${LIMIT}, 32 users`, ofTheirOwn],
    [`login at a limit of ${LIMIT}, one user`, ofOne],
  ] as const) {
    const postgres = loginAtLimitByHand(LIMIT, userOf);
    await bench({ title, ...atLimit, ours: loggingIn(userOf, LIMIT), byHand: { postgres } }, options);
  }
  const users = options.isTrial ? 1000 : 1_000_000;
  const userOf = () => `user ${Math.floor(Math.random() * users)}`;
  await bench(
    {
      title: `login at a limit of ${LIMIT}, ${whole(users)} users with ${LIMIT} sessions each`,
      ...atLimit,
      ours: loggingIn(userOf),
      byHand: { postgres: loginAtLimitByHand(LIMIT, userOf) },
      prepare: ({ dataSource }) => fillSessions(dataSource, users * LIMIT, users),
      databases: ['postgres'],
    },
    options,
  );
}

/** Measures lists of 50 sessions of one user in a large table. */
export async function benchList(options: BenchOptions): Promise<void> {
  const others = options.isTrial ? 1000 : 1_000_000;
  await bench(
    {
      title: `list of ${LISTED} sessions, ${whole(others)} rows of others`,
      policy: {},
      ours: listing,
      byHand: { postgres: async (app, client) => (await listing(app, client), listByHand(LISTED)(app, client)) },
      // At most 1.3 times as long.
      target: 1 / 1.3,
      prepare: ({ dataSource }) => fillSessions(dataSource, others, others / 10),
    },
    options,
  );
}

async function bench(benchmark: Benchmark, options: BenchOptions): Promise<void> {
  sayTitle(`${benchmark.title}, ${CLIENTS} at a time`);
  const contestants: Contestant[] = [];
  const closing: (() => Promise<void>)[] = [];
  try {
    for (const name of selectedDatabases()) {
      if (benchmark.databases?.includes(name) === false) continue;
      const database = await createDatabase(name);
      closing.unshift(() => database.drop());
      const app = await startSessionApp(database.options, benchmark.policy);
      closing.unshift(() => app.close());
      await benchmark.prepare?.(app);
      contestants.push(...(await enter(benchmark, name, app)));
    }
    const measures = contestants.map((contestant) => () => measure(contestant, options.seconds));
    const results = await inRounds(measures, options);
    const found = new Map(contestants.map(({ label }, at) => [label, results[at].map(({ result }) => result)]));
    if (contestants.length > 0) report(benchmark, contestants, found);
    else say('Skipped: this benchmark needs PostgreSQL. Set TEST_DATABASES=postgres.');
  } finally {
    for (const close of closing) await close();
  }
}

/** Creates the contestants: the hand-written code if it exists, and the library. */
async function enter({ ours, byHand }: Benchmark, name: DatabaseName, app: SessionApp): Promise<Contestant[]> {
  const clientOfHand = byHand?.[name];
  const hand = clientOfHand && { label: `by hand, ${handOn(name)}`, clients: await clientsOf(clientOfHand, app) };
  const clients = await clientsOf(ours, app);
  const statements = await app.countStatements(clients[0]);
  const contestant = { label: `this library, ${name}`, clients, statements, byHand: hand?.label };
  return hand ? [hand, contestant] : [contestant];
}

async function clientsOf(clientOf: ClientOf, app: SessionApp): Promise<Step[]> {
  const clients: Step[] = [];
  for (let client = 0; client < CLIENTS; client++) clients.push(await clientOf(app, client));
  // The first step on a connection also sends statements that later steps do not need.
  for (const step of clients) await step();
  return clients;
}

/** Runs all clients concurrently. */
async function measure({ clients }: Contestant, seconds: number): Promise<Measurement> {
  const [cpuBefore, databaseBefore, startedAt] = [processorTime(), databaseTime(), performance.now()];
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
  return {
    rate: (done * 1000) / (performance.now() - startedAt),
    cost: (processorTime() - cpuBefore) / done,
    databaseCost: (databaseTime() - databaseBefore) / done,
  };
}

function report(
  { title, target }: Benchmark,
  contestants: readonly Contestant[],
  results: ReadonlyMap<string, readonly Measurement[]>,
): void {
  const of = (label: string) => results.get(label) ?? [];
  const ratioOf = ({ label, byHand = '' }: Contestant) =>
    median(of(label).map(({ rate }, round) => rate / of(byHand)[round].rate));
  const rows = contestants.map((contestant) => {
    const { label, byHand, statements } = contestant;
    return [
      label,
      whole(median(of(label).map(({ rate }) => rate))),
      percent(spread(of(label).map(({ rate }) => rate))),
      byHand ? ratioOf(contestant).toFixed(2) : '',
      median(of(label).map(({ cost }) => cost)).toFixed(0),
      label.includes('sqlite') ? '' : median(of(label).map(({ databaseCost }) => databaseCost)).toFixed(0),
      statements === undefined ? '' : String(statements),
    ];
  });
  say(table(['', 'per second', 'spread', 'vs by hand', 'client µs', 'database µs', 'statements'], rows));
  const compared = contestants.find(({ label, byHand }) => byHand && label.endsWith('postgres'));
  if (compared && target) sayTarget(`${title}, PostgreSQL, relative to by hand`, target, ratioOf(compared));
}

// ─── This library ───────────────────────────────────────────────────────────────────────────────────────────────────────

const ofTheirOwn = (client: number) => `${USER_ID}-${client}`;
const ofOne = () => USER_ID;

/** Returns another user after every eight logins: the library counts the sessions of a user even without a limit. */
function ofManyUsers(): () => string {
  let logins = 0;
  return () => `user ${logins++ >> 3}`;
}

const refreshing: ClientOf = async ({ sessions }) => {
  let { refresh } = await sessions.create(USER_ID, { type: 'LONG' });
  return async () => {
    const answer = await sessions.refresh(refresh, { type: 'LONG' });
    if (answer.refresh === undefined || answer.refresh === refresh)
      throw new Error('the refresh did not rotate the token');
    refresh = answer.refresh;
  };
};

const loggingIn =
  (userOf: (client: number) => string, before = 0): ClientOf =>
  async ({ sessions }, client) => {
    const step = async () => {
      const userId = userOf(client);
      const { session, access, refresh } = await sessions.create(userId, { type: 'LONG', info: 'a benchmark' });
      if (session.userId !== userId || !access || !refresh) throw new Error('the login returned a wrong session');
    };
    for (let count = 0; count < before; count++) await step();
    return step;
  };

const listing: ClientOf = async ({ sessions }, client) => {
  const userId = ofTheirOwn(client);
  const [{ sessions: there }] = await sessions.list(userId);
  for (let count = there.length; count < LISTED; count++)
    await sessions.create(userId, { type: 'LONG', info: 'a benchmark' });
  return async () => {
    const [{ sessions: listed }] = await sessions.list(userId);
    if (listed.length !== LISTED) throw new Error(`expected ${LISTED} sessions, found ${listed.length}`);
  };
};
