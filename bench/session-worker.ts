import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SessionService } from 'nestjs-multisession';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { answerParent, processorTime } from './child.js';
import { type Client, Clients, type Operation, POLICIES } from './clients.js';
import { multiSessionImports } from './session-app.js';

/**
 * A question that the parent asks a worker. `prepare` lets each client take one step, which creates its session and connection.
 * `check` verifies what `run` has left in the database.
 */
export interface WorkerQuestion {
  do: 'prepare' | 'run' | 'check';
  operation: Operation;
  /** The numbers of the clients. No other process uses them at the same time. */
  clients: readonly number[];
  /** Duration of `run`. */
  seconds: number;
}

export interface WorkerAnswer {
  /** Number of steps. */
  done: number;
  /** Steps per second. */
  rate: number;
  /** CPU time that this process used for them, in microseconds. */
  processorTime: number;
}

/** Pool size: one connection per client, even if all clients are in this process. */
const CONNECTIONS = 16;

// processes.ts starts this script several times on one database.
const database = JSON.parse(process.argv[2]) as DataSourceOptions;
// Polls are too rare to disturb a measurement.
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
