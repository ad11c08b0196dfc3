import type { FeedAnswer } from '../feed/feed-answer.js';
import type { Jwk } from '../token/issuer-keys.js';
import type { VerifierConfig } from './options.js';

/** A request for `GET revocations`. */
export interface FeedParameters {
  readonly after?: string | undefined;
  /** In milliseconds. */
  readonly wait?: number | undefined;
  readonly page?: number | undefined;
}

/** Calls the routes of the issuer. Each call gives up after a time. The backend key goes nowhere else: redirects are errors. */
export class IssuerApi {
  private readonly calls = new Set<AbortController>();

  constructor(private readonly config: Pick<VerifierConfig, 'issuer' | 'backendKey'>) {}

  /**
   * Asks which sessions have ended.
   * @param timeout in milliseconds
   * @throws Error if the issuer does not answer as it should
   */
  async revocations({ after, wait, page }: FeedParameters, timeout: number): Promise<FeedAnswer> {
    const query = new URLSearchParams();
    if (after !== undefined) query.set('after', after);
    if (wait !== undefined) query.set('wait', String(Math.floor(wait) / 1000));
    if (page !== undefined) query.set('page', String(page));
    const answer = (await this.ask(`revocations?${query.toString()}`, timeout)) as Partial<FeedAnswer> | null;
    if (!isFeedAnswer(answer)) throw new Error('the issuer answered something else than its ended sessions');
    return answer;
  }

  /**
   * Asks for the public keys.
   * @throws Error if the issuer does not answer as it should
   */
  async keys(timeout: number): Promise<readonly Jwk[]> {
    // Caches on the way must not answer with old keys.
    const answer = await this.ask('jwks.json', timeout, { headers: { 'cache-control': 'no-cache' } });
    const { keys } = (answer ?? {}) as { keys?: unknown };
    if (!Array.isArray(keys)) throw new Error('the issuer answered something else than its public keys');
    return keys as Jwk[];
  }

  /**
   * Asks whether an access token is valid now. The issuer reads the session's row.
   * @throws Error if the issuer does not answer as it should
   */
  async isActive(token: string, timeout: number): Promise<boolean> {
    const headers = { 'content-type': 'application/json' };
    const answer = await this.ask('verify', timeout, { method: 'POST', headers, body: JSON.stringify({ token }) });
    const { active, token_use: use } = (answer ?? {}) as { active?: unknown; token_use?: unknown };
    if (typeof active !== 'boolean') throw new Error('the issuer answered something else than a verdict');
    return active && use === 'access';
  }

  /** Ends all calls. */
  close(): void {
    for (const call of this.calls) call.abort();
  }

  private async ask(path: string, timeout: number, init: RequestInit = {}): Promise<unknown> {
    const call = new AbortController();
    const timer = setTimeout(() => call.abort(new Error(`no answer within ${timeout} ms`)), timeout);
    // Not AbortSignal.any: it leaks memory in some versions of Node.js if one of its signals lives on.
    this.calls.add(call);
    try {
      return await this.send(path, { ...init, signal: call.signal });
    } finally {
      clearTimeout(timer);
      this.calls.delete(call);
    }
  }

  private async send(path: string, init: RequestInit): Promise<unknown> {
    const { issuer, backendKey } = this.config;
    const headers = { ...init.headers, accept: 'application/json', 'x-secret-key': backendKey };
    const response = await fetch(`${issuer}/${path}`, { ...init, headers, redirect: 'error' });
    if (response.ok) return response.json();
    await response.body?.cancel();
    throw new Error(`${path.split('?')[0]}: the issuer answered ${response.status}${remedies[response.status] ?? ''}`);
  }
}

const remedies: Partial<Record<number, string>> = {
  401: '; check that backendKey is one of its backendKeys',
  404: '; check that issuer is the URL of its session routes, and that its option management is on',
};

function isFeedAnswer(answer: Partial<FeedAnswer> | null): answer is FeedAnswer {
  const isObject = (value: unknown) => typeof value === 'object' && value !== null;
  return (
    answer !== null &&
    [answer.now, answer.polled_at, answer.waited, answer.size].every(Number.isFinite) &&
    typeof answer.cursor === 'string' &&
    [answer.ended, answer.announced, answer.epoch, answer.tokens, answer.types].every(isObject)
  );
}
