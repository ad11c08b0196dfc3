import { setTimeout as sleep } from 'node:timers/promises';
import { bearer } from '../helpers/app.js';
import type { SampleApp } from '../helpers/sample-app.js';

/** A route of the application that clients use. */
export type Operation = 'login' | 'refresh' | 'me' | 'logout';

/** One answer, as a client saw it. Times are in milliseconds on the monotonic clock. */
export interface Seen {
  readonly operation: Operation;
  readonly type: string;
  readonly status: number;
  readonly retryAfter: string | null;
  readonly askedAt: number;
  readonly took: number;
}

/** The tokens that a client has stored. */
interface Stored {
  access: string;
  refresh: string;
}

export const SECRET_KEY = 'the secret key of the tests';
export const PASSWORD = 'a password';
/** The guard checks access tokens of LONG against the memory of ended sessions, and those of STRICT against the row. */
export const TYPES = ['LONG', 'STRICT'] as const;

/** A user with one session, who stores its tokens as a client should. */
export class Client {
  readonly seen: Seen[] = [];
  stored?: Stored;

  constructor(
    private readonly apps: () => readonly SampleApp[],
    readonly username: string,
    readonly type: string,
  ) {}

  /** @returns whether a session began */
  async login(): Promise<boolean> {
    const body = { username: this.username, password: PASSWORD, session: this.type, info: 'a test' };
    const answer = await this.ask<Stored>('login', body);
    if (answer) this.stored = answer;
    return answer !== undefined;
  }

  /**
   * Refreshes the session, and stores the new tokens before they are used.
   * @returns whether the request was granted
   */
  async refresh(): Promise<boolean> {
    const answer = await this.ask<Partial<Stored>>('refresh', { refresh: this.stored?.refresh, session: this.type });
    if (answer && this.stored) this.stored = { ...this.stored, ...answer };
    return answer !== undefined;
  }

  async me(): Promise<boolean> {
    return (await this.ask('me')) !== undefined;
  }

  async logout(): Promise<boolean> {
    return (await this.ask('logout', { refresh: this.stored?.refresh })) !== undefined;
  }

  private async ask<T>(operation: Operation, body?: object): Promise<T | undefined> {
    const apps = this.apps();
    const { url } = apps[Math.floor(Math.random() * apps.length)];
    const askedAt = performance.now();
    const response = await (operation === 'me'
      ? fetch(`${url}/api/me/`, { headers: bearer(this.stored?.access ?? '') })
      : fetch(`${url}/api/session/${operation}/`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ ...body, secret_key: SECRET_KEY }),
        }));
    const answer = (await response.json()) as T;
    const { status, headers } = response;
    const took = performance.now() - askedAt;
    this.seen.push({ operation, type: this.type, status, retryAfter: headers.get('retry-after'), askedAt, took });
    return status === 200 ? answer : undefined;
  }
}

/** A client that sends requests until it is stopped. */
export interface Running {
  readonly client: Client;
  /**
   * Stops the client and waits for the answer to its last request.
   * @throws what a request threw that got no answer
   */
  stop(): Promise<void>;
}

/** Refreshes again and again, and uses each new access token. */
export function keepUsing(client: Client): Running {
  return repeat(client, async () => {
    await client.refresh();
    for (let uses = 0; uses < 3; uses++) await client.me();
  });
}

/** Only shows its access token, which takes no statement while memory is fresh. */
export function keepLooking(client: Client): Running {
  return repeat(client, async () => void (await client.me()));
}

/** Logs in and shows its access token. Logs out every other time, and otherwise leaves the session to be evicted. */
export function keepVisiting(client: Client): Running {
  let visits = 0;
  return repeat(client, async () => {
    if (!(await client.login())) return;
    await client.me();
    if (visits++ % 2) await client.logout();
  });
}

function repeat(client: Client, turn: () => Promise<void>): Running {
  let stopped = false;
  const done = (async () => {
    while (!stopped) {
      await turn();
      await sleep(20);
    }
  })();
  // `stop` passes the error on. Until then it must not count as unhandled.
  done.catch(() => undefined);
  return {
    client,
    stop: () => {
      stopped = true;
      return done;
    },
  };
}
