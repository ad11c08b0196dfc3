import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { Child, processorTime } from './child.js';
import { type AdapterName, type GuardName, GUARDS } from './guard-app.js';
import type { ServerAnswer, ServerQuestion } from './guard-server.js';
import type { Load, LoadResult } from './load.js';
import type { BenchOptions } from './options.js';
import { machineTime, Patience } from './others.js';
import { median, percent, spread, table, whole } from './report.js';
import { USER_ID } from './session-app.js';

/** A running server and what was measured of it, one entry a round. */
interface Contestant {
  readonly label: string;
  readonly guard: GuardName;
  readonly usesDatabaseServer: boolean;
  readonly server: Child<ServerQuestion, ServerAnswer>;
  readonly load: Load;
  readonly results: Measurement[];
}

interface Measurement {
  /** Requests answered in a second. */
  rate: number;
  /** Microseconds of the server's processor time for one request. */
  cost: number;
  /** How busy the server's and the load generator's main threads were; one of them at 1 is what limits the rate. */
  serverBusy: number;
  loadBusy: number;
  /** Processor time of everybody else, in cores. */
  others: number;
}

type LoadGenerator = Child<Load, LoadResult>;

const LABELS: Record<GuardName, string> = {
  none: 'no guard',
  'passport-string': 'passport-jwt, secret as a string',
  'passport-key': 'passport-jwt, KeyObject',
  'hand-made': 'hand-made guard, KeyObject',
  signature: "JwtAuthGuard, 'signature'",
  blacklist: "JwtAuthGuard, 'blacklist' (default)",
  session: "JwtAuthGuard, 'session'",
  'session-by-hand': 'JwtAuthGuard, and the row with pg by hand',
  strategy: "AuthGuard('jwt'), our strategy",
};

/** What the default check must reach of the unguarded route's rate. */
const TARGETS: Record<AdapterName, number> = { express: 0.85, fastify: 0.8 };

/** Requests a second behind each kind of guard, on Express and on Fastify. */
export async function benchGuards(options: BenchOptions): Promise<void> {
  const patience = new Patience(options.patience);
  const generator = await Child.start<Load, LoadResult>('load');
  try {
    for (const adapter of ['express', 'fastify'] as const) {
      await benchAdapter(adapter, generator, options, patience);
    }
  } finally {
    await generator.stop();
  }
}

async function benchAdapter(
  adapter: AdapterName,
  generator: LoadGenerator,
  { seconds, rounds }: BenchOptions,
  patience: Patience,
): Promise<void> {
  const contestants: Contestant[] = [];
  let thrownAway = 0;
  try {
    for (const guard of GUARDS) {
      const databases = databasesOf(guard);
      for (const database of databases) contestants.push(await enter(guard, adapter, database));
    }
    for (const contestant of contestants) await measure(contestant, generator, seconds);
    for (let round = 0; round < rounds; round++) {
      // Each round begins with another, so that none always runs after the same one.
      const order = contestants.map((_, at) => contestants[(at + round) % contestants.length]);
      for (const contestant of order) {
        const undisturbed = await patience.undisturbed(
          () => measure(contestant, generator, seconds),
          contestant.usesDatabaseServer,
        );
        contestant.results.push(undisturbed.result);
        thrownAway += undisturbed.thrownAway;
      }
    }
  } finally {
    await Promise.all(contestants.map(({ server }) => server.stop()));
  }
  report(adapter, contestants, thrownAway);
}

function databasesOf(guard: GuardName): readonly DatabaseName[] {
  if (guard === 'session') return selectedDatabases();
  return guard === 'session-by-hand' ? selectedDatabases().filter((name) => name === 'postgres') : ['sqlite'];
}

async function enter(guard: GuardName, adapter: AdapterName, database: string): Promise<Contestant> {
  const server = await Child.start<ServerQuestion, ServerAnswer>('guard-server', [guard, adapter, database]);
  const { url, tokens, endedToken } = await server.ask('app');
  const expectBody = JSON.stringify({ user_id: guard === 'none' ? 'nobody' : USER_ID });
  await assertRefusals(guard, url, tokens[0], endedToken);
  return {
    label: LABELS[guard] + (guard === 'session' ? `, ${database}` : ''),
    guard,
    usesDatabaseServer: database === 'postgres' || database === 'mariadb',
    server,
    load: { url, tokens, expectBody, seconds: 0 },
    results: [],
  };
}

/** A guard that lets everything pass would be fast. */
async function assertRefusals(guard: GuardName, url: string, token: string, endedToken?: string): Promise<void> {
  const expect = async (status: number, given?: string) => {
    const headers: Record<string, string> = given === undefined ? {} : { authorization: `Bearer ${given}` };
    const answer = await fetch(url, { headers });
    if (answer.status !== status) throw new Error(`${guard}: ${answer.status} where ${status} was expected`);
  };
  const [head, claims, signature] = token.split('.');
  const forged = Buffer.from(claims, 'base64url').toString().replace(USER_ID, 'admins');
  const refused = guard === 'none' ? 200 : 401;
  await expect(200, token);
  await expect(refused);
  await expect(refused, [head, Buffer.from(forged).toString('base64url'), signature].join('.'));
  if (endedToken !== undefined) await expect(guard === 'signature' ? 200 : 401, endedToken);
}

async function measure(
  { label, server, load }: Contestant,
  generator: LoadGenerator,
  seconds: number,
): Promise<Measurement> {
  const before = {
    server: (await server.ask('processor time')).processorTime,
    own: processorTime(),
    all: machineTime(),
  };
  const result = await generator.ask({ ...load, seconds });
  const all = machineTime() - before.all;
  const own = processorTime() - before.own;
  const serverTime = (await server.ask('processor time')).processorTime - before.server;
  if (result.wrong > 0 || result.requests === 0) {
    throw new Error(`${label}: ${result.wrong} of ${result.requests} answers were not those expected`);
  }
  const elapsed = result.seconds * 1e6;
  return {
    rate: result.requests / result.seconds,
    cost: serverTime / result.requests,
    serverBusy: serverTime / elapsed,
    loadBusy: result.processorTime / elapsed,
    others: Math.max(0, (all - own - serverTime - result.processorTime) / elapsed),
  };
}

function report(adapter: AdapterName, contestants: readonly Contestant[], thrownAway: number): void {
  const [unguarded] = contestants;
  const ratios = ({ results }: Contestant, of: (result: Measurement) => number) =>
    results.map((result, round) => of(result) / of(unguarded.results[round]));
  const rows = contestants.map((contestant) => {
    const of = (value: (result: Measurement) => number) => median(contestant.results.map(value));
    const rates = contestant.results.map(({ rate }) => rate);
    return [
      contestant.label,
      whole(median(rates)),
      percent(spread(rates)),
      median(ratios(contestant, ({ rate }) => rate)).toFixed(2),
      of(({ cost }) => cost).toFixed(1),
      percent(of(({ serverBusy }) => serverBusy)),
      percent(of(({ loadBusy }) => loadBusy)),
      of(({ others }) => others).toFixed(2),
    ];
  });
  const head = ['guard', 'requests/s', 'spread', 'of no guard', 'server µs', 'server', 'load', 'others'];
  console.log(`\n${adapter}\n\n${table(head, rows)}\n`);
  if (thrownAway > 0) console.log(`${thrownAway} measurements were thrown away: other processes took the processor.`);

  const byHand = contestants.find(({ guard }) => guard === 'session-by-hand');
  const session = contestants.find(({ label }) => label === `${LABELS.session}, postgres`);
  if (byHand && session) {
    const ratio = median(session.results.map(({ rate }, round) => rate / byHand.results[round].rate));
    console.log(`the check 'session' on PostgreSQL, of the same by hand: ${ratio.toFixed(2)}`);
  }
  const ours = contestants.find(({ guard }) => guard === 'blacklist') as Contestant;
  const reached = median(ratios(ours, ({ rate }) => rate));
  const met = reached >= TARGETS[adapter];
  console.log(
    `target of the default check: ${TARGETS[adapter].toFixed(2)}, reached: ${reached.toFixed(2)}${met ? '' : ', MISSED'}`,
  );
}
