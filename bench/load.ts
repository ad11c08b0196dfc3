import autocannon from 'autocannon';
import { answerParent, processorTime } from './child.js';
import type { Credentials } from './guard-route.js';

/** One measurement: what to ask for, and what must be answered. */
export interface Load {
  url: string;
  seconds: number;
  /** One request bears one of these, in turn. */
  credentials: readonly Credentials[];
  expectBody: string;
}

export interface LoadResult {
  requests: number;
  seconds: number;
  /** Answers that were not 200 with the expected body, and requests without any answer. */
  wrong: number;
  /** Microseconds of processor time of the load generator. */
  processorTime: number;
}

/** Enough to keep one core busy with either adapter; more of either changes the latencies and not the rates. */
const CONNECTIONS = Number(process.env.CONNECTIONS ?? 32);
const PIPELINING = Number(process.env.PIPELINING ?? 8);

async function run({ url, seconds, credentials, expectBody }: Load): Promise<LoadResult> {
  const before = processorTime();
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    pipelining: PIPELINING,
    duration: seconds,
    requests: credentials.map((headers) => ({ headers })),
    verifyBody: (body) => body === expectBody,
  });
  return {
    requests: result.requests.total,
    seconds: result.duration,
    wrong: result.non2xx + result.mismatches + result.errors + result.timeouts,
    processorTime: processorTime() - before,
  };
}

answerParent(run);
