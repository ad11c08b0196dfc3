import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { DataSourceOptions } from 'typeorm';
import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { type Inbox, startInbox } from '../test/helpers/event-inbox.js';
import { until } from '../test/helpers/until.js';
import { Child } from './child.js';
import type { EventAnswer, EventQuestion } from './event-worker.js';
import { inOwnDatabase } from './growth-app.js';
import { wholeNumber } from './options.js';
import { percentile, say, sayTarget, sayTitle, table, whole, writeReport } from './report.js';

/** Several processes need a database server. */
const MEASURED: readonly DatabaseName[] = ['postgres', 'mariadb'];
const PROCESSES = 2;
/** The target for the 99th percentile, in seconds. */
const MAX_LAG = 2;
/** How long the last events may take, in milliseconds. */
const LIMIT = 60_000;

const { values } = parseArgs({
  options: { rate: { type: 'string', default: '200' }, seconds: { type: 'string', default: '30' } },
});
const options = { rate: wholeNumber('rate', values.rate, 4), seconds: wholeNumber('seconds', values.seconds, 1) };

/** Receives webhooks, and notes how old each event is when it arrives. */
class Receiver {
  /** Milliseconds, by the ids of the events. */
  readonly lags = new Map<string, number>();
  repeated = 0;

  private constructor(private readonly inbox: Inbox) {
    inbox.answer = ({ headers, body }) => {
      const id = headers['webhook-id'] as string;
      if (this.lags.has(id)) this.repeated++;
      else this.lags.set(id, Date.now() - Date.parse((body as { timestamp: string }).timestamp));
      return undefined;
    };
  }

  static async start(): Promise<Receiver> {
    return new Receiver(await startInbox());
  }

  get url(): string {
    return this.inbox.url;
  }

  /** @throws Error if so many events have not arrived in time */
  async received(count: number): Promise<void> {
    await until(() => this.lags.size >= count, LIMIT);
  }

  stop(): Promise<void> {
    return this.inbox.close();
  }
}

/** Measures how old an event is when its webhook arrives, while two processes begin and end sessions. */
async function measure(database: DataSourceOptions): Promise<void> {
  const receiver = await Receiver.start();
  const secret = `whsec_${randomBytes(32).toString('base64')}`;
  const argument = JSON.stringify([database, receiver.url, secret]);
  const workers: Child<EventQuestion, EventAnswer>[] = [];
  const ask = (seconds: number) =>
    Promise.all(workers.map((worker) => worker.ask({ logins: options.rate / 2 / PROCESSES, seconds })));
  try {
    for (let number = 0; number < PROCESSES; number++) {
      workers.push(await Child.start('event-worker', [argument]));
      // The first process creates the tables.
      await workers[number].ask({ logins: 1, seconds: 1 });
    }
    await receiver.received(2 * PROCESSES);
    receiver.lags.clear();
    const sent = (await ask(options.seconds)).reduce((sum, { events }) => sum + events, 0);
    await receiver.received(sent);
    report([...receiver.lags.values()], receiver.repeated);
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await receiver.stop();
  }
}

function report(lags: readonly number[], repeated: number): void {
  const cells = [50, 99, 99.9, 100].map((percent) => whole(percentile(lags, percent)));
  const head = ['events', 'median, ms', 'p99', 'p99.9', 'longest', 'delivered twice'];
  say(table(head, [[whole(lags.length), ...cells, whole(repeated)]]));
  sayTarget('99th percentile of the lag, in seconds', MAX_LAG, percentile(lags, 99) / 1000, 'at most');
}

for (const name of selectedDatabases().filter((each) => MEASURED.includes(each))) {
  sayTitle(`Lag of webhooks at ${options.rate} events a second, two processes on ${name}`);
  await inOwnDatabase(name, measure);
}
writeReport('events', options);
