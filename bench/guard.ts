import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { Child } from './child.js';
import { type AdapterName, type GuardName, GUARDS } from './guard-app.js';
import type { ServerAnswer, ServerQuestion } from './guard-server.js';
import type { Load, LoadResult } from './load.js';
import type { BenchOptions } from './options.js';
import type { Undisturbed } from './others.js';
import { median, percent, say, sayTarget, sayTitle, spread, table, whole } from './report.js';
import { inRounds } from './rounds.js';
import { USER_ID } from './session-app.js';

/** A running server and what was measured of it, one entry a round. */
interface Contestant {
  readonly label: string;
  readonly guard: GuardName;
  readonly server: Child<ServerQuestion, ServerAnswer>;
  readonly load: Load;
  readonly results: Undisturbed<Measurement>[];
}

interface Measurement {
  /** Requests answered in a second. */
  rate: number;
  /** Microseconds of the server's processor time for one request. */
  cost: number;
  /** How busy the server's and the load generator's main threads were; one of them at 1 is what limits the rate. */
  serverBusy: number;
  loadBusy: number;
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
  const generator = await Child.start<Load, LoadResult>('load');
  try {
    for (const adapter of ['express', 'fastify'] as const) {
      await benchAdapter(adapter, generator, options);
    }
  } finally {
    await generator.stop();
  }
}

async function benchAdapter(adapter: AdapterName, generator: LoadGenerator, options: BenchOptions): Promise<void> {
  sayTitle(`A guarded route on ${adapter}`);
  const contestants: Contestant[] = [];
  try {
    for (const guard of GUARDS) {
      for (const database of databasesOf(guard)) contestants.push(await enter(guard, adapter, database));
    }
    const measures = contestants.map((contestant) => () => measure(contestant, generator, options.seconds));
    // Long enough for the compiler to have seen all of it.
    for (const warmUp of measures) await warmUp();
    const results = await inRounds(measures, options);
    contestants.forEach((contestant, at) => contestant.results.push(...results[at]));
  } finally {
    await Promise.all(contestants.map(({ server }) => server.stop()));
  }
  report(adapter, contestants);
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
  const before = (await server.ask('processor time')).processorTime;
  const result = await generator.ask({ ...load, seconds });
  const serverTime = (await server.ask('processor time')).processorTime - before;
  if (result.wrong > 0 || result.requests === 0) {
    throw new Error(`${label}: ${result.wrong} of ${result.requests} answers were not those expected`);
  }
  const elapsed = result.seconds * 1e6;
  return {
    rate: result.requests / result.seconds,
    cost: serverTime / result.requests,
    serverBusy: serverTime / elapsed,
    loadBusy: result.processorTime / elapsed,
  };
}

function report(adapter: AdapterName, contestants: readonly Contestant[]): void {
  const [unguarded] = contestants;
  const rows = contestants.map((contestant) => {
    const of = (value: (result: Measurement) => number) =>
      median(contestant.results.map(({ result }) => value(result)));
    return [
      contestant.label,
      whole(of(({ rate }) => rate)),
      percent(spread(contestant.results.map(({ result }) => result.rate))),
      ratio(contestant, unguarded).toFixed(2),
      of(({ cost }) => cost).toFixed(1),
      percent(of(({ serverBusy }) => serverBusy)),
      percent(of(({ loadBusy }) => loadBusy)),
      median(contestant.results.map(({ others }) => others)).toFixed(2),
    ];
  });
  say(table(['guard', 'requests/s', 'spread', 'of no guard', 'server µs', 'server', 'load', 'others'], rows));

  const find = (guard: GuardName, database = '') =>
    contestants.find((contestant) => contestant.guard === guard && contestant.label.endsWith(database));
  const [ours, byHand, session] = [find('blacklist'), find('session-by-hand'), find('session', 'postgres')];
  if (ours) sayTarget('the default check, of no guard', TARGETS[adapter], ratio(ours, unguarded));
  if (byHand && session)
    sayTarget("the check 'session' on PostgreSQL, of the same by hand", 0.9, ratio(session, byHand));
}

/** The median of the ratios within a round. */
function ratio({ results }: Contestant, other: Contestant): number {
  return median(results.map(({ result }, round) => result.rate / other.results[round].result.rate));
}
