import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import type { LookupFunction } from 'node:net';
import type { DeliveryOutcome } from './destination.js';
import { addressOf, PrivateAddressError } from './public-address.js';

type ResolveAll = Parameters<typeof addressOf>[2];

/** Where to send requests, and how. */
export interface PostTarget {
  readonly url: URL;
  /** For the whole request, in milliseconds. */
  readonly timeout: number;
  readonly allowPrivateNetwork: boolean;
}

/** What a server has answered. */
export interface PostAnswer {
  readonly status: number;
  /** In milliseconds; 0 if the answer does not say. */
  readonly retryAfter: number;
  /** The beginning of the content. Empty if it was not asked for. */
  readonly content: string;
}

/** Answers after which other events should wait too. */
const DOWN = [408, 425, 429, 500, 502, 503, 504];

/** How much of the content is read, in bytes. */
const MAX_CONTENT = 2048;

/**
 * Sends POST requests to the server of somebody else.
 *
 * The address of the host is looked up and checked for each try, and the connection goes to exactly that address. A name that
 * resolves to another address a moment later therefore does not help anybody to reach an internal server. Redirects are not
 * followed: they count as failures.
 */
export class GuardedPost {
  private readonly requests = new Set<ClientRequest>();

  /** @param resolveAll resolves the name of the host. Default: the system's resolver */
  constructor(
    private readonly target: PostTarget,
    private readonly resolveAll?: ResolveAll,
  ) {}

  /**
   * Sends one request.
   * @param readsContent whether the beginning of an answer's content is read if its status is 400. Default: false
   * @throws any error of the network. `failureOf` describes it
   */
  async send(headers: Readonly<Record<string, string>>, body: string, readsContent = false): Promise<PostAnswer> {
    const { url, timeout, allowPrivateNetwork } = this.target;
    // One deadline for everything, from the look-up of the name to the last byte of the answer.
    const signal = AbortSignal.timeout(timeout);
    const { address, family } = await withSignal(addressOf(url.hostname, allowPrivateNetwork, this.resolveAll), signal);
    const lookup: LookupFunction = (_, options, callback) =>
      options.all ? callback(null, [{ address, family }]) : callback(null, address, family);
    const isHttps = url.protocol === 'https:';
    const options = {
      method: 'POST',
      signal,
      lookup,
      // No connection outlives its request: the next try checks the address again.
      agent: isHttps ? new HttpsAgent({ keepAlive: false }) : new HttpAgent({ keepAlive: false }),
      headers: { 'content-length': Buffer.byteLength(body), 'user-agent': 'nestjs-multisession', ...headers },
    };
    return new Promise((resolve, reject) => {
      const onAnswer = (answer: IncomingMessage) => {
        const { statusCode: status = 0, headers: answered } = answer;
        const retryAfter = readRetryAfter(answered['retry-after']);
        if (readsContent && status === 400)
          void contentOf(answer).then((content) => resolve({ status, retryAfter, content }));
        else {
          // The content of the answer does not matter, so it is not read.
          answer.on('error', () => undefined).destroy();
          resolve({ status, retryAfter, content: '' });
        }
      };
      const request = isHttps ? requestHttps(url, options, onAnswer) : requestHttp(url, options, onAnswer);
      this.requests.add(request);
      request.on('error', reject);
      request.on('close', () => this.requests.delete(request));
      request.end(body);
    });
  }

  /** Breaks off the requests that are under way. They count as failures. */
  close(): void {
    for (const request of this.requests) request.destroy();
  }
}

/** Returns the outcome of an answer that does not accept an event. */
export function refusalOf({ status, retryAfter }: PostAnswer, more = ''): DeliveryOutcome {
  return { kind: 'failed', error: `answered ${status}${more}`, isDown: DOWN.includes(status), retryAfter };
}

/** Returns the outcome of a request that failed. Describes it without the URL, which may contain a secret. */
export function failureOf(error: unknown): DeliveryOutcome {
  return { kind: 'failed', error: describe(error), isDown: true };
}

/** Reads the beginning of an answer. Whatever goes wrong, the status is enough. */
async function contentOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of answer) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size >= MAX_CONTENT) break;
    }
  } catch {
    // What has arrived may still help.
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Reads `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3). Returns milliseconds; 0 if it says nothing. */
function readRetryAfter(header: string | undefined): number {
  if (header === undefined) return 0;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const time = Date.parse(header);
  return Number.isNaN(time) ? 0 : Math.max(0, time - Date.now());
}

function describe(error: unknown): string {
  if (error instanceof PrivateAddressError) return error.message;
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  if (name === 'AbortError' || name === 'TimeoutError') return 'did not answer in time';
  return typeof code === 'string' ? `could not be reached: ${code}` : 'could not be reached';
}

function withSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    work.then(resolve, reject);
  });
}
