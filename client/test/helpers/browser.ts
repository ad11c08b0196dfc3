import { CookieJar } from 'tough-cookie';
import {
  browserStorage,
  createSessionClient,
  type SessionClient,
  type SessionClientOptions,
  type SessionStorage,
} from 'nestjs-multisession-client';
import type { Platform } from '../../src/platform.js';

/** A request that a tab has sent. */
export interface Sent {
  readonly method: string;
  /** The path, without the origin. */
  readonly path: string;
  readonly headers: Headers;
  readonly body: unknown;
  /** 0 until the answer is there, and if there is none. */
  status: number;
}

/** Sends a request. A test may put something in between. */
export type Network = (url: string, init: RequestInit, send: typeof fetch) => Promise<Response>;

/** What the browser has. By default it has everything. */
export interface Features {
  locks?: boolean;
  channels?: boolean;
  storageEvents?: boolean;
}

/** A test may replace the global one. */
const realFetch = globalThis.fetch;

const straight: Network = (url, init, send) => send(url, init);

/**
 * The parts of a browser that Node does not have: cookies around `fetch`, `localStorage`, storage events, Web Locks, visibility,
 * and clocks that can be set. Its tabs are in one process and send real requests.
 */
export class Browser {
  jar = new CookieJar();
  readonly local = new Map<string, string>();
  readonly tabs: Tab[] = [];
  readonly sent: Sent[] = [];
  /** Cookies that do not arrive in the jar, as in a browser that blocks them. */
  blocksCookies = false;
  network: Network = straight;
  /** Access tokens, each with an expired one that is sent in its place. */
  readonly expired = new Map<string, string>();
  /** How far the clock of the device is wrong, in milliseconds. */
  wrongBy = 0;
  private readonly held = new Map<string, Promise<unknown>>();

  constructor(readonly features: Features = {}) {}

  /** Opens a tab with a client. */
  open(options: Omit<SessionClientOptions, 'storage'> & { storage?: SessionStorage | 'browser' }): Tab {
    return new Tab(this, options);
  }

  /** The requests to a route of the session, in order. */
  requests(route: string): Sent[] {
    return this.sent.filter(({ path }) => path.endsWith(`/api/session/${route}`));
  }

  close(): void {
    for (const tab of this.tabs) tab.kill();
  }

  /** Web Locks, as far as they are used. */
  readonly locks = {
    request: async (name: string, { signal }: { signal: AbortSignal }, work: () => Promise<unknown>) => {
      const before = this.held.get(name) ?? Promise.resolve();
      let release!: () => void;
      this.held.set(name, Promise.all([before, new Promise<void>((resolve) => (release = resolve))]));
      const aborted = new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
      });
      try {
        await Promise.race([before, aborted]);
        return await work();
      } finally {
        release();
      }
    },
  } as unknown as LockManager;
}

/** A tab of a browser. */
export class Tab {
  readonly client: SessionClient;
  readonly states: string[] = [];
  isVisible = true;
  network: Network = straight;
  private readonly listeners = new Map<string, Set<(event: never) => void>>();
  private readonly timers = new Set<{ due: number; fire: () => void; stop: () => void }>();
  private readonly session = new Map<string, string>();
  private skipped = 0;

  constructor(
    readonly browser: Browser,
    options: Omit<SessionClientOptions, 'storage'> & { storage?: SessionStorage | 'browser' },
  ) {
    browser.tabs.push(this);
    const storage = options.storage === 'browser' ? browserStorage(this.page) : options.storage;
    this.client = createSessionClient({ fetch: this.fetch, ...options, storage }, this.platform);
    this.states.push(this.client.getSnapshot().status);
    this.client.subscribe(() => {
      const { status } = this.client.getSnapshot();
      if (this.states.at(-1) !== status) this.states.push(status);
    });
  }

  /** Fires an event of the window or the document. */
  fire(type: string, event: object = {}): void {
    for (const listener of this.listeners.get(type) ?? []) listener({ type, ...event } as never);
  }

  /** Lets time pass, and fires the timers that are due. */
  advance(milliseconds: number): void {
    this.skipped += milliseconds;
    for (const timer of [...this.timers]) if (timer.due <= this.monotonic()) timer.fire();
  }

  /** How long until the next timer fires, in milliseconds. */
  nextTimerIn(): number {
    return Math.min(...[...this.timers].map(({ due }) => due - this.monotonic()));
  }

  /** The tab is closed without a chance to do anything: its timers do not fire any more, and its requests are cancelled. */
  kill(): void {
    this.client.close();
    for (const { stop } of this.timers) stop();
    this.listeners.clear();
  }

  private monotonic(): number {
    return performance.now() + this.skipped;
  }

  /** Sends a request with the cookies of the browser, and keeps those of the answer. */
  readonly fetch: typeof globalThis.fetch = async (input, init = {}) => {
    const request = new Request(input, { ...init, ...(init.body instanceof ReadableStream && { duplex: 'half' }) });
    const body = await request.clone().text();
    const sent: Sent = {
      method: request.method,
      path: new URL(request.url).pathname,
      headers: request.headers,
      body: body && JSON.parse(body),
      status: 0,
    };
    this.browser.sent.push(sent);
    const headers = new Headers(request.headers);
    headers.set('sec-fetch-site', 'same-origin');
    const [, token = ''] = headers.get('authorization')?.split(' ') ?? [];
    const instead = this.browser.expired.get(token);
    if (instead) headers.set('authorization', `Bearer ${instead}`);
    const withCookies = init.credentials === 'include';
    if (withCookies) headers.set('cookie', await this.browser.jar.getCookieString(request.url));
    const send: typeof fetch = async (url, given) => {
      const response = await realFetch(url, given);
      if (withCookies && !this.browser.blocksCookies)
        for (const cookie of response.headers.getSetCookie()) await this.browser.jar.setCookie(cookie, request.url);
      return response;
    };
    const all: RequestInit = { ...init, method: request.method, headers, body: body || undefined };
    const through: typeof fetch = (url, given) => this.browser.network(url as string, given ?? {}, send);
    const response = await this.network(request.url, all, through);
    sent.status = response.status;
    return response;
  };

  private get platform(): Platform {
    const { features, locks, tabs } = this.browser;
    return {
      base: undefined,
      isPage: true,
      locks: features.locks === false ? undefined : locks,
      now: () => {
        const wall = Date.now() + this.skipped + this.browser.wrongBy;
        return { wall, monotonic: this.monotonic() };
      },
      random: Math.random,
      after: (delay, work) => {
        const stop = () => {
          clearTimeout(real);
          this.timers.delete(timer);
        };
        const fire = () => {
          stop();
          work();
        };
        const timer = { due: this.monotonic() + delay, fire, stop };
        const real = setTimeout(fire, Math.min(delay, 2 ** 31 - 1));
        real.unref();
        this.timers.add(timer);
        return stop;
      },
      isVisible: () => this.isVisible,
      on: (event, listener) => {
        this.page.addEventListener(event, listener);
        return () => this.page.removeEventListener(event, listener);
      },
      ...(features.channels !== false && {
        channel: (name: string, listener: () => void) => {
          const channel = { name, tab: this, listener };
          channels.add(channel);
          return {
            post: () => {
              for (const other of channels)
                if (other !== channel && other.name === name && tabs.includes(other.tab))
                  setImmediate(() => channels.has(other) && other.listener());
            },
            close: () => channels.delete(channel),
          };
        },
      }),
    };
  }

  /** The parts of the window that the storage uses. */
  get page() {
    return {
      localStorage: this.storageOf(this.browser.local, true),
      sessionStorage: this.storageOf(this.session, false),
      addEventListener: (type: string, listener: (event: never) => void) => {
        this.listeners.set(type, (this.listeners.get(type) ?? new Set()).add(listener));
      },
      removeEventListener: (type: string, listener: (event: never) => void) => {
        this.listeners.get(type)?.delete(listener);
      },
    } as unknown as typeof globalThis;
  }

  private storageOf(values: Map<string, string>, isShared: boolean): Storage {
    const changed = (key: string | null) => {
      if (!isShared || this.browser.features.storageEvents === false) return;
      for (const tab of this.browser.tabs) if (tab !== this) setImmediate(() => tab.fire('storage', { key }));
    };
    return {
      getItem: (key: string) => values.get(key) ?? null,
      setItem: (key: string, value: string) => {
        values.set(key, value);
        changed(key);
      },
      removeItem: (key: string) => {
        if (values.delete(key)) changed(key);
      },
    } as Storage;
  }
}

const channels = new Set<{ name: string; tab: Tab; listener: () => void }>();
