import { parseSetCookie } from 'cookie';
import type { Answer, TestApp } from './app.js';
import { ASKS_FOR_COOKIES } from './cookies.js';

interface Kept {
  readonly name: string;
  readonly value: string;
  readonly path: string;
}

/**
 * The cookies of a browser, with which it sends requests. It follows paths and deletions. It does not look at domains or
 * `Secure`: for those there are tests in a real browser.
 */
export class CookieJar {
  private kept: Kept[] = [];

  constructor(private readonly app: TestApp) {}

  /** Sends a POST with the browser's cookies, and keeps those of the answer. */
  async post(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const answer = await this.send('POST', path, body, headers);
    this.store(answer);
    return answer;
  }

  /** Sends a request with the browser's cookies, but does not keep those of the answer yet: see `store`. */
  send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const cookie = this.headerFor(path);
    return this.app.request(method, path, {
      body,
      headers: { ...ASKS_FOR_COOKIES, ...(cookie !== '' && { cookie }), ...headers },
    });
  }

  /** Keeps the cookies of an answer. */
  store({ headers }: Pick<Answer, 'headers'>): void {
    for (const text of headers.getSetCookie()) {
      const { name, value = '', path = '/', maxAge } = parseSetCookie(text);
      this.kept = this.kept.filter((cookie) => cookie.name !== name || cookie.path !== path);
      if (maxAge !== 0) this.kept.push({ name, value, path });
    }
  }

  /** Sets a cookie as a sibling host would: it comes first, and keeps company with the browser's own. */
  toss(name: string, value: string, path = '/'): void {
    this.kept.unshift({ name, value, path });
  }

  /** Drops the cookies of this name. */
  drop(name: string): void {
    this.kept = this.kept.filter((cookie) => cookie.name !== name);
  }

  /** Returns the value of a cookie. */
  valueOf(name: string): string | undefined {
    return this.kept.find((cookie) => cookie.name === name)?.value;
  }

  /** Returns the path of a cookie. */
  pathOf(name: string): string | undefined {
    return this.kept.find((cookie) => cookie.name === name)?.path;
  }

  /** The names of all cookies, sorted. */
  get names(): string[] {
    return this.kept.map(({ name }) => name).sort();
  }

  private headerFor(path: string): string {
    return this.kept
      .filter(
        (cookie) =>
          path === cookie.path || path.startsWith(cookie.path.endsWith('/') ? cookie.path : `${cookie.path}/`),
      )
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }
}
