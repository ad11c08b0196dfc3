import type { Child } from './child.js';
import type { Load, LoadResult } from './load.js';

/** The result of a load test on one server. */
export interface Measurement {
  /** Requests per second. */
  readonly rate: number;
  /** CPU time of the server per request in microseconds. */
  readonly cost: number;
  /** CPU usage of the server and of the load generator, 0 to 1. The one that reaches 1 limits the rate. */
  readonly serverBusy: number;
  readonly loadBusy: number;
}

export type LoadGenerator = Child<Load, LoadResult>;

/** A server process that reports its CPU time in microseconds. */
interface Server {
  ask(question: 'processor time'): Promise<{ processorTime: number }>;
}

/**
 * Measures a server under load.
 * @throws Error if a response is wrong or missing
 */
export async function measureRequests(server: Server, generator: LoadGenerator, load: Load): Promise<Measurement> {
  const before = (await server.ask('processor time')).processorTime;
  const result = await generator.ask(load);
  const serverTime = (await server.ask('processor time')).processorTime - before;
  if (result.wrong > 0 || result.requests === 0) {
    throw new Error(`${load.url}: ${result.wrong} of ${result.requests} responses were wrong or missing`);
  }
  const elapsed = result.seconds * 1e6;
  return {
    rate: result.requests / result.seconds,
    cost: serverTime / result.requests,
    serverBusy: serverTime / elapsed,
    loadBusy: result.processorTime / elapsed,
  };
}
