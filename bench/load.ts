import autocannon from 'autocannon';
import { answerParent, processorTime } from './child.js';
import type { Credentials } from './guard-route.js';

/** One measurement: the requests to send and the response to expect. */
export interface Load {
  url: string;
  seconds: number;
  /** The requests use these credentials in turn. */
  credentials: readonly Credentials[];
  expectBody: string;
}

export interface LoadResult {
  requests: number;
  seconds: number;
  /** Number of responses other than 200 with the expected body, plus requests without a response. */
  wrong: number;
  /** CPU time of the load generator in microseconds. */
  processorTime: number;
}

/** Enough to keep one core busy with either adapter. Higher values change the latencies but not the rates. */
const CONNECTIONS = Number(process.env.CONNECTIONS ?? 32);
const PIPELINING = Number(process.env.PIPELINING ?? 8);

/** A server on a busy machine may need longer than a measurement for its first response, in seconds. */
const LONGEST = 60;

async function run(load: Load): Promise<LoadResult> {
  let result = await measure(load);
  for (let seconds = load.seconds * 2; result.requests + result.wrong === 0 && seconds <= LONGEST; seconds *= 2)
    result = await measure({ ...load, seconds });
  return result;
}

async function measure({ url, seconds, credentials, expectBody }: Load): Promise<LoadResult> {
  const before = processorTime();
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    pipelining: PIPELINING,
    duration: seconds,
    sampleInt: 50,
    requests: credentials.map((headers) => ({ headers })),
    verifyBody: (body) => body === expectBody,
  });
  return {
    // `result.requests` counts by samples of a second, of which a busy machine can miss one.
    requests: result['2xx'] + result.non2xx,
    seconds: result.duration,
    wrong: result.non2xx + result.mismatches + result.errors + result.timeouts,
    processorTime: processorTime() - before,
  };
}

answerParent(run);
