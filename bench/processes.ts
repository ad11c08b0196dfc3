import { availableParallelism } from 'node:os';
import { createDatabase, selectedDatabases, type TestDatabase } from '../test/helpers/databases.js';
import { Child } from './child.js';
import { type Operation, OPERATIONS } from './clients.js';
import type { BenchOptions } from './options.js';
import type { Undisturbed } from './others.js';
import { median, percent, say, sayTitle, spread, table, whole } from './report.js';
import { inRounds } from './rounds.js';
import { type ServerName, serverTime } from './server-time.js';
import type { WorkerAnswer, WorkerQuestion } from './session-worker.js';

type Worker = Child<WorkerQuestion, WorkerAnswer>;

const CLIENTS = 16;
const PROCESSES = [1, 2, 4];

/** One operation on a number of processes. */
interface Contestant {
  readonly operation: Operation;
  readonly count: number;
}

interface Measurement {
  /** Operations per second of all processes together. */
  rate: number;
  /** CPU time per operation in microseconds: of all client processes together, and of the database server. */
  clientCost: number;
  serverCost: number;
}

const CONTESTANTS: readonly Contestant[] = OPERATIONS.flatMap((operation) =>
  PROCESSES.map((count) => ({ operation, count })),
);

/** Measures one, two and four processes on one database, to show what does not scale. */
export async function benchProcesses(options: BenchOptions): Promise<void> {
  const servers = selectedDatabases().filter((name) => name === 'postgres' || name === 'mariadb');
  for (const name of servers) await benchServer(name, options);
  if (servers.length === 0) {
    sayTitle('Several processes');
    say('Skipped: several processes need a database server. Name postgres or mariadb in TEST_DATABASES.');
  }
}

async function benchServer(server: ServerName, options: BenchOptions): Promise<void> {
  sayTitle(`Several processes on ${server}, ${CLIENTS} clients in total`);
  const seconds = options.isTrial ? 0.2 : options.seconds;
  const database = await createDatabase(server);
  const workers: Worker[] = [];
  try {
    await startWorkers(database, workers);
    const measures = CONTESTANTS.map((contestant) => () => measure(contestant, server, workers, seconds));
    report(await inRounds(measures, options));
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await database.drop();
  }
}

async function startWorkers({ options }: TestDatabase, workers: Worker[]): Promise<void> {
  const start = async (number: number) => {
    const worker: Worker = await Child.start('session-worker', [JSON.stringify(options)]);
    workers.push(worker);
    await worker.ask({ do: 'prepare', operation: 'verify', clients: [number], seconds: 0 });
  };
  // The first worker creates the tables.
  await start(0);
  await Promise.all([1, 2, 3].map(start));
}

async function measure(
  { operation, count }: Contestant,
  server: ServerName,
  workers: readonly Worker[],
  seconds: number,
): Promise<Measurement> {
  const each = CLIENTS / count;
  const askAll = (what: WorkerQuestion['do']) =>
    Promise.all(
      workers.slice(0, count).map((worker, at) => {
        const clients = Array.from({ length: each }, (_, client) => at * each + client);
        return worker.ask({ do: what, operation, clients, seconds });
      }),
    );
  await askAll('prepare');
  const before = serverTime(server);
  const answers = await askAll('run');
  const serverUsed = serverTime(server) - before;
  await askAll('check');
  const sum = (value: (answer: WorkerAnswer) => number) => answers.reduce((total, answer) => total + value(answer), 0);
  const done = sum((answer) => answer.done);
  return {
    rate: sum(({ rate }) => rate),
    clientCost: sum(({ processorTime }) => processorTime) / done,
    serverCost: serverUsed / done,
  };
}

function report(results: readonly Undisturbed<Measurement>[][]): void {
  const measured = CONTESTANTS.map((contestant, at) => ({ ...contestant, results: results[at] }));
  const rows = measured.map(({ operation, count, results: own }) => {
    const alone = measured.find((other) => other.operation === operation && other.count === 1)?.results ?? [];
    const of = (value: (result: Measurement) => number) => median(own.map(({ result }) => value(result)));
    return [
      operation,
      String(count),
      whole(of(({ rate }) => rate)),
      percent(spread(own.map(({ result }) => result.rate))),
      median(own.map(({ result }, round) => result.rate / alone[round].result.rate)).toFixed(2),
      whole(of(({ clientCost }) => clientCost)),
      whole(of(({ serverCost }) => serverCost)),
      of(({ rate, clientCost, serverCost }) => (rate * (clientCost + serverCost)) / 1e6).toFixed(2),
      median(own.map(({ others }) => others)).toFixed(2),
    ];
  });
  const cores = `of ${availableParallelism()} cores`;
  const head = ['', 'processes', 'per second', 'spread', 'vs one', 'client µs', 'server µs', cores, 'others'];
  say(table(head, rows));
}
