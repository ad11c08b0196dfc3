import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { Child } from './child.js';
import { type GuardName, GUARDS } from './guard-app.js';
import type { AdapterName, Callers, Credentials } from './guard-route.js';
import type { ServerAnswer, ServerQuestion } from './guard-server.js';
import type { Load, LoadResult } from './load.js';
import type { BenchOptions } from './options.js';
import type { Undisturbed } from './others.js';
import { median, percent, say, sayTarget, sayTitle, spread, table, whole } from './report.js';
import { type LoadGenerator, type Measurement, measureRequests } from './requests.js';
import { inRounds } from './rounds.js';

/** A running server and its measurements, one per round. */
interface Contestant {
  readonly guard: GuardName;
  readonly database: DatabaseName;
  readonly server: Child<ServerQuestion, ServerAnswer>;
  readonly load: Load;
  readonly results: Undisturbed<Measurement>[];
}

const LABELS: Record<GuardName, string> = {
  none: 'no guard',
  'accept-all': 'a guard that accepts everything',
  'passport-string': 'passport-jwt, secret as a string',
  'passport-key': 'passport-jwt, KeyObject',
  'hand-made': 'hand-made guard, KeyObject',
  'better-auth-cookie': 'better-auth, cookie cache',
  'better-auth-database': 'better-auth, database',
  'express-session': 'express-session, connect-pg-simple',
  signature: "JwtAuthGuard, 'signature'",
  blacklist: "JwtAuthGuard, 'blacklist' (default)",
  'blacklist-rs256': 'JwtAuthGuard, default check, RS256',
  'blacklist-es256': 'JwtAuthGuard, default check, ES256',
  session: "JwtAuthGuard, 'session'",
  'session-by-hand': "JwtAuthGuard, 'signature', and the row by hand with pg",
  strategy: "AuthGuard('jwt'), our strategy",
};

/** Contestants that let everybody pass. */
const OPEN = new Set<GuardName>(['none', 'accept-all']);
/** Guards that do not detect ended sessions, or only after their cache expires. */
const BLIND_TO_ENDINGS = new Set<GuardName>(['signature', 'better-auth-cookie']);
const NEED_POSTGRES = new Set<GuardName>([
  'better-auth-cookie',
  'better-auth-database',
  'express-session',
  'session-by-hand',
]);

/** Target of the default check, relative to the rate of the unguarded route. */
const TARGETS: Record<AdapterName, number> = { express: 0.92, fastify: 0.9 };

/** Measures the requests per second behind each guard, on Express and on Fastify. */
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
  const { seconds } = options;
  const contestants: Contestant[] = [];
  try {
    for (const guard of guardsOn(adapter, options.guards)) {
      for (const database of databasesOf(guard)) contestants.push(await enter(guard, adapter, database));
    }
    const measures = contestants.map(
      ({ server, load }) =>
        () =>
          measureRequests(server, generator, { ...load, seconds }),
    );
    const results = await inRounds(measures, { ...options, warmUps: 3 });
    contestants.forEach((contestant, at) => contestant.results.push(...results[at]));
  } finally {
    await Promise.all(contestants.map(({ server }) => server.stop()));
  }
  report(adapter, contestants);
}

/**
 * Returns the guards to measure on an adapter: always `none`, to which the others are compared. express-session works only on Express.
 * @throws Error if a chosen guard is unknown
 */
function guardsOn(adapter: AdapterName, chosen: readonly string[] = GUARDS): readonly GuardName[] {
  for (const name of chosen)
    if (!(GUARDS as readonly string[]).includes(name))
      throw new Error(`--guards ${name}: unknown guard; choose from ${GUARDS.join(', ')}`);
  const wanted = new Set(['none', ...chosen]);
  return GUARDS.filter((guard) => wanted.has(guard) && (guard !== 'express-session' || adapter === 'express'));
}

function databasesOf(guard: GuardName): readonly DatabaseName[] {
  const selected = selectedDatabases();
  if (guard === 'session') return selected;
  if (selected.includes('postgres')) return ['postgres'];
  return NEED_POSTGRES.has(guard) ? [] : ['sqlite'];
}

async function enter(guard: GuardName, adapter: AdapterName, database: DatabaseName): Promise<Contestant> {
  const server = await Child.start<ServerQuestion, ServerAnswer>('guard-server', [guard, adapter, database]);
  const { url, ...callers } = await server.ask('app');
  const expectBody = JSON.stringify({ user_id: OPEN.has(guard) ? 'nobody' : callers.userId });
  await assertRefusals(guard, url, callers);
  return {
    guard,
    database,
    server,
    load: { url, credentials: callers.credentials, expectBody, seconds: 0 },
    results: [],
  };
}

/** Makes sure that the guard refuses what it must refuse: a guard that accepts everything would be fast. */
async function assertRefusals(guard: GuardName, url: string, { credentials, ended }: Callers): Promise<void> {
  const expect = async (status: number, what: string, headers: Credentials) => {
    const answer = await fetch(url, { headers });
    if (answer.status !== status) throw new Error(`${guard}, ${what}: expected ${status}, got ${answer.status}`);
  };
  const refused = OPEN.has(guard) ? 200 : 401;
  await expect(200, 'its own credentials', credentials[0]);
  await expect(refused, 'no credentials', {});
  await expect(refused, 'forged credentials', forged(credentials[0], credentials[1]));
  if (ended) await expect(BLIND_TO_ENDINGS.has(guard) ? 200 : 401, 'an ended session', ended);
}

/** Combines credentials with the signature of another token or cookie. */
function forged(credentials: Credentials, other: Credentials): Credentials {
  const SIGNATURE = /\.[^.;]+(?=;|$)/;
  const [[name, value]] = Object.entries(credentials);
  const forgery = value.replace(SIGNATURE, SIGNATURE.exec(other[name])?.[0] ?? '');
  if (forgery === value) throw new Error(`${name} contains no signature to replace`);
  return { [name]: forgery };
}

function report(adapter: AdapterName, contestants: readonly Contestant[]): void {
  const [unguarded] = contestants;
  const rows = contestants.map((contestant) => {
    const of = (value: (result: Measurement) => number) =>
      median(contestant.results.map(({ result }) => value(result)));
    return [
      labelOf(contestant),
      whole(of(({ rate }) => rate)),
      percent(spread(contestant.results.map(({ result }) => result.rate))),
      ratio(contestant, unguarded).toFixed(2),
      of(({ cost }) => cost).toFixed(1),
      percent(of(({ serverBusy }) => serverBusy)),
      percent(of(({ loadBusy }) => loadBusy)),
      median(contestant.results.map(({ others }) => others)).toFixed(2),
    ];
  });
  say(table(['guard', 'requests/s', 'spread', 'vs no guard', 'server µs', 'server', 'load', 'others'], rows));

  const find = (guard: GuardName, database?: DatabaseName) =>
    contestants.find((entry) => entry.guard === guard && (database === undefined || entry.database === database));
  const [ours, byHand, session] = [find('blacklist'), find('session-by-hand'), find('session', 'postgres')];
  if (ours) sayTarget('default check, relative to no guard', TARGETS[adapter], ratio(ours, unguarded));
  if (byHand && session) sayTarget("check 'session' on PostgreSQL, relative to by hand", 0.95, ratio(session, byHand));
}

function labelOf({ guard, database }: Contestant): string {
  return LABELS[guard] + (guard === 'session' ? `, ${database}` : '');
}

/** Returns the median of the ratios within each round. */
function ratio({ results }: Contestant, other: Contestant): number {
  return median(results.map(({ result }, round) => result.rate / other.results[round].result.rate));
}
