import type { Child } from './child.js';
import type { Load, LoadResult } from './load.js';

/** A load on one server, and what it took. */
export interface Measurement {
  /** Requests answered in a second. */
  readonly rate: number;
  /** Microseconds of the server's processor time for one request. */
  readonly cost: number;
  /** How busy the server's and the load generator's main threads were; one of them at 1 is what limits the rate. */
  readonly serverBusy: number;
  readonly loadBusy: number;
}

export type LoadGenerator = Child<Load, LoadResult>;

/** A server process that can say how many microseconds of processor time it has used. */
interface Server {
  ask(question: 'processor time'): Promise<{ processorTime: number }>;
}

/** @throws where an answer is not what it must be, or there is none */
export async function measureRequests(server: Server, generator: LoadGenerator, load: Load): Promise<Measurement> {
  const before = (await server.ask('processor time')).processorTime;
  const result = await generator.ask(load);
  const serverTime = (await server.ask('processor time')).processorTime - before;
  if (result.wrong > 0 || result.requests === 0) {
    throw new Error(`${load.url}: ${result.wrong} of ${result.requests} answers were not those expected`);
  }
  const elapsed = result.seconds * 1e6;
  return {
    rate: result.requests / result.seconds,
    cost: serverTime / result.requests,
    serverBusy: serverTime / elapsed,
    loadBusy: result.processorTime / elapsed,
  };
}
