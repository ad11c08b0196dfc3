import { setTimeout as sleep } from 'node:timers/promises';
import { bearer } from '../helpers/app.js';
import type { SampleApp } from '../helpers/sample-app.js';

/** What is asked of the application. */
export type Operation = 'login' | 'refresh' | 'me' | 'logout';

/** One answer, as a client saw it. Times are of the monotonic clock, in milliseconds. */
export interface Seen {
  readonly operation: Operation;
  readonly type: string;
  readonly status: number;
  readonly retryAfter: string | null;
  readonly askedAt: number;
  readonly took: number;
}

/** A login, as the client has stored it. */
interface Stored {
  access: string;
  refresh: string;
}

export const SECRET_KEY = 'the secret key of the tests';
export const PASSWORD = 'a password';
/** LONG checks against the blacklist in memory, STRICT by the row. */
export const TYPES = ['LONG', 'STRICT'] as const;

/** Who uses the application: one user with one long session, stored as a client should store it. */
export class Client {
  readonly seen: Seen[] = [];
  stored?: Stored;

  constructor(
    private readonly apps: () => readonly SampleApp[],
    readonly username: string,
    readonly type: string,
  ) {}

  /** @returns whether the session was begun */
  async login(): Promise<boolean> {
    const body = { username: this.username, password: PASSWORD, session: this.type, info: 'a test' };
    const answer = await this.ask<Stored>('login', body);
    if (answer) this.stored = answer;
    return answer !== undefined;
  }

  /** @returns whether it was granted; what it hands out is stored before it is used */
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

/** A client that goes on until it is told to stop. */
export interface Running {
  readonly client: Client;
  /** Settles when its last request has been answered. @throws what a request threw: one that was not answered */
  stop(): Promise<void>;
}

/** Refreshes, and uses what it got. */
export function keepUsing(client: Client): Running {
  return repeat(client, async () => {
    await client.refresh();
    for (let uses = 0; uses < 3; uses++) await client.me();
  });
}

/** Only shows its access token, which says nothing to the database where memory is enough. */
export function keepLooking(client: Client): Running {
  return repeat(client, async () => void (await client.me()));
}

/** Logs in, looks, and logs out or leaves it: the limit then evicts the oldest. */
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
  // It is looked at when it is stopped.
  done.catch(() => undefined);
  return {
    client,
    stop: () => {
      stopped = true;
      return done;
    },
  };
}
