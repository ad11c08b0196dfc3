import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SessionService } from 'nestjs-multisession';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { answerParent, processorTime } from './child.js';
import { type Client, Clients, type Operation, POLICIES } from './clients.js';
import { multiSessionImports } from './session-app.js';

/** `prepare` has each client take one step, so that its session and its connection are there; `check` looks at what `run` has left. */
export interface WorkerQuestion {
  do: 'prepare' | 'run' | 'check';
  operation: Operation;
  /** Their numbers, which no other process has at the same time. */
  clients: readonly number[];
  /** How long `run` takes. */
  seconds: number;
}

export interface WorkerAnswer {
  /** Steps taken. */
  done: number;
  /** Steps taken in a second. */
  rate: number;
  /** Microseconds of processor time that they have taken of this process. */
  processorTime: number;
}

/** One for each client, however many of them are here: TypeORM's own bound would be ten for a process. */
const CONNECTIONS = 16;

// Started by processes.ts as one of several processes on one database.
const database = JSON.parse(process.argv[2]) as DataSourceOptions;
// So rare a poll that none falls into a measurement.
const revocation = { pollInterval: '1h', maxStaleness: '2h' } as const;
const options = { ...database, poolSize: CONNECTIONS } as DataSourceOptions;

@Module({ imports: multiSessionImports(options, {}, { revocation, policies: POLICIES }) })
class AppModule {}

const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
const clients = new Clients(app.get(SessionService), app.get(DataSource));

async function run(running: readonly Client[], seconds: number): Promise<WorkerAnswer> {
  const [startedAt, before] = [performance.now(), processorTime()];
  const endAt = startedAt + seconds * 1000;
  let done = 0;
  const runOne = async (client: Client) => {
    do {
      await client.step();
      done++;
    } while (performance.now() < endAt);
  };
  await Promise.all(running.map(runOne));
  const elapsed = (performance.now() - startedAt) / 1000;
  return { done, rate: done / elapsed, processorTime: processorTime() - before };
}

async function answer({ do: what, operation, clients: numbers, seconds }: WorkerQuestion): Promise<WorkerAnswer> {
  const asked = await Promise.all(numbers.map((number) => clients.of(operation, number)));
  if (what === 'check') await Promise.all(asked.map(async (client) => client.check?.()));
  return run(what === 'check' ? [] : asked, what === 'run' ? seconds : 0);
}

answerParent(answer, () => app.close());
