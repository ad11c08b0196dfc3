import { once } from 'node:events';
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../helpers/random.js';

/** Longest random delay of a request or an answer, in milliseconds. Far below the grace of the policies. */
const LONGEST_DELAY = 40;

/** The header that tells whose request it is. The proxy removes it. */
export const LANE_HEADER = 'x-lane';

/** An HTTP proxy in front of several processes, which loses and delays requests and answers. */
export interface LossyProxy {
  readonly url: string;
  /** How many requests of a lane are on their way. */
  inFlight(lane: string): number;
  /** What was lost. */
  readonly lost: { requests: number; answers: number; byRestart: number };
  close(): Promise<void>;
}

/**
 * Starts a proxy.
 * @param pick chooses the process for a request
 * @param isReliable whether everything arrives, for routes whose loss would change what the test expects
 */
export async function openLossyProxy(
  random: Random,
  pick: () => string,
  isReliable: (path: string) => boolean,
): Promise<LossyProxy> {
  const agent = new Agent({ keepAlive: true, timeout: 2000 });
  const lanes = new Map<string, number>();
  const lost = { requests: 0, answers: 0, byRestart: 0 };
  const delay = () => (random.once(3) ? sleep(random.below(LONGEST_DELAY)) : undefined);
  const server = createServer((request, response) => {
    const { [LANE_HEADER]: lane = '', ...headers } = request.headers;
    const count = (by: number) => lanes.set(String(lane), (lanes.get(String(lane)) ?? 0) + by);
    count(1);
    response.on('close', () => count(-1));
    const { method, url: path = '' } = request;
    const losesRequest = !isReliable(path) && random.once(12);
    const losesAnswer = !isReliable(path) && random.once(7);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => void forward());
    const forward = async () => {
      await delay();
      if (losesRequest) {
        lost.requests++;
        return response.destroy();
      }
      const upstream = httpRequest(pick() + path, { method, headers, agent }, (answer) => {
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.on('error', () => response.destroy());
        answer.on('end', () => {
          if (losesAnswer) {
            lost.answers++;
            return response.destroy();
          }
          void Promise.resolve(delay()).then(() => {
            response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
            response.end(Buffer.concat(parts));
          });
        });
      });
      // A client that gives up closes its side, and the server goes on.
      count(1);
      upstream.on('close', () => count(-1));
      upstream.on('error', () => {
        lost.byRestart++;
        response.destroy();
      });
      upstream.end(Buffer.concat(chunks));
    };
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    inFlight: (lane) => lanes.get(lane) ?? 0,
    lost,
    close: async () => {
      agent.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
