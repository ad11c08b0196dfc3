import { SessionError } from '../errors.js';
import { expiryOf, type SessionCookies } from './cookies.js';

/** A token that expires within this time is not used any more, in milliseconds. */
const MARGIN = 2000;

/** How long a renewal may take, in milliseconds. */
const TIME_LIMIT = 8000;

/** How many access tokens are kept at most. */
const MAX_KEPT = 1000;

const BY_THE_WAY = 'nestjs-multisession-client:';

/** Whether an access token is good for another request, by this server's clock. The API verifies it anyway. */
export function isFresh(access: string): boolean {
  return expiryOf(access) - MARGIN > Date.now();
}

/**
 * Renews access tokens with `POST renew/`. Requests with the same cookies share a renewal, and its access token until that
 * expires.
 */
export class Renewals {
  private readonly kept = new Map<string, Promise<string | undefined>>();
  private hasWarned = false;

  /** @param url of the session routes, without a slash at the end */
  constructor(
    private readonly url: string,
    private readonly backendKey: string,
    private readonly send: typeof globalThis.fetch,
  ) {}

  /**
   * Returns an access token for the cookies of a browser, or undefined if they are not, or no longer, those of a session.
   * @param refused an access token that the API has just refused, so that it is not returned again
   * @throws SessionError if the server cannot tell now
   */
  async accessFor(
    cookies: SessionCookies,
    userAgent: string | undefined,
    refused?: string,
  ): Promise<string | undefined> {
    if (!cookies.hasRefresh) {
      this.explain(cookies);
      return undefined;
    }
    const key = cookies.header;
    // Without an `await` in between, so that requests at the same time share a renewal.
    const running = this.kept.get(key);
    const kept = running && (await running);
    if (kept !== undefined && kept !== refused && isFresh(kept)) return kept;
    const next = this.kept.get(key);
    if (next && next !== running) return next;
    if (this.kept.size >= MAX_KEPT) this.kept.delete(this.kept.keys().next().value as string);
    const renewal = this.renew(cookies, userAgent);
    this.kept.set(key, renewal);
    // A refusal is not kept: the next page of the same browser may have other rights.
    renewal.then((access) => access ?? this.kept.delete(key)).catch(() => this.kept.delete(key));
    return renewal;
  }

  private async renew(cookies: SessionCookies, userAgent: string | undefined): Promise<string | undefined> {
    const headers = {
      accept: 'application/json',
      cookie: cookies.header,
      'x-session-transport': 'cookie',
      'x-secret-key': this.backendKey,
      ...(userAgent !== undefined && { 'x-client-user-agent': userAgent }),
    };
    let response: Response;
    try {
      const signal = AbortSignal.timeout(TIME_LIMIT);
      // A redirect would carry the key to another server.
      response = await this.send(`${this.url}/renew`, {
        method: 'POST',
        headers,
        redirect: 'error',
        cache: 'no-store',
        signal,
      });
    } catch {
      throw new SessionError('unreachable', `${BY_THE_WAY} ${this.url} cannot be reached`);
    }
    const body = (await response.json().catch(() => ({}))) as { access?: unknown; code?: string; message?: string };
    if (response.ok && typeof body.access === 'string') return body.access;
    if (body.code === 'secret_key_invalid')
      throw new SessionError(
        'secret_key_invalid',
        `${BY_THE_WAY} backendKey is not one of the server's backendKeys`,
        401,
      );
    if (response.status === 401 || response.status === 403) return undefined;
    const what = `${BY_THE_WAY} ${this.url}/renew answered ${response.status}`;
    throw new SessionError(body.code ?? 'unavailable', `${what} ${body.message ?? ''}`.trim(), response.status);
  }

  /** Tells the developer why a user who is logged in is not logged in for the pages. */
  private explain({ hasProof }: SessionCookies): void {
    if (!hasProof || this.hasWarned) return;
    this.hasWarned = true;
    console.warn(
      `${BY_THE_WAY} the browser sends no refresh cookie to this page, so its session cannot be renewed here. ` +
        'Set cookies.serverRendering of the server to true, and serve pages and API under one host',
    );
  }
}
