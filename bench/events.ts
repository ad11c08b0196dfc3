import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { DataSourceOptions } from 'typeorm';
import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
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
  private readonly server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString()));
    request.on('end', () => {
      const { timestamp } = JSON.parse(body) as { timestamp: string };
      const id = request.headers['webhook-id'] as string;
      if (this.lags.has(id)) this.repeated++;
      else this.lags.set(id, Date.now() - Date.parse(timestamp));
      response.writeHead(204).end();
    });
  });

  async start(): Promise<string> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  /** @throws Error if so many events have not arrived in time */
  async received(count: number): Promise<void> {
    for (const until = performance.now() + LIMIT; this.lags.size < count; await sleep(50))
      if (performance.now() > until) throw new Error(`${this.lags.size} of ${count} events have arrived`);
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

/** Measures how old an event is when its webhook arrives, while two processes begin and end sessions. */
async function measure(database: DataSourceOptions): Promise<void> {
  const receiver = new Receiver();
  const secret = `whsec_${randomBytes(32).toString('base64')}`;
  const argument = JSON.stringify([database, await receiver.start(), secret]);
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
    receiver.stop();
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
