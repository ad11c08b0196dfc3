/// <reference lib="dom" />
import { existsSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { basename } from 'node:path';
import type { SessionClient, SessionState } from 'nestjs-multisession-client';
import { until } from './browser.js';
import type { TestBrowser, TestPage } from './browsers/index.js';

const DIST = 'client/dist';

/** How long a condition may take, in seconds. A busy machine is slow, which is no failure. */
const PATIENCE = 60;

/** How a page uses the client. */
export interface PageOptions {
  readonly transport: 'cookie' | 'body';
  /** URL of the session routes. Default: those of the page's own origin. */
  readonly api?: string;
  /** How far the clock of the page is wrong, in milliseconds. Default: 0. */
  readonly wrongBy?: number;
  /** Where the client keeps its record. Default: `localStorage`. */
  readonly storage?: 'indexedDB' | 'tab';
  /** Binds the session to a key. */
  readonly dpop?: boolean;
  /** Takes Web Locks, BroadcastChannel and storage events away from the page. */
  readonly bare?: boolean;
}

/** What an action in a page came to: the state afterwards, and a result or the code of an error. */
export interface Outcome {
  readonly state: SessionState;
  readonly result?: any;
  readonly error?: string;
}

/** What the page's own script offers. */
interface PageWindow {
  readonly client: SessionClient;
  readonly outcomes: Outcome[];
  readonly start: (action: string, argument?: unknown) => number;
  wrongBy: number;
}

/** Runs before every module. */
const SETUP = `
  const query = new URLSearchParams(location.search);
  window.wrongBy = Number(query.get('wrongBy') ?? 0);
  const RightDate = Date;
  window.Date = class extends RightDate {
    constructor(...given) { given.length ? super(...given) : super(RightDate.now() + wrongBy); }
    static now() { return RightDate.now() + wrongBy; }
  };
  if (query.has('bare')) {
    Object.defineProperty(navigator, 'locks', { value: undefined });
    delete window.BroadcastChannel;
    addEventListener('storage', (event) => event.stopImmediatePropagation());
  }
`;

const MODULE = `
  import { browserStorage, createSessionClient, indexedDBStorage, tabStorage } from '/client/index.js';
  const transport = query.get('transport');
  const url = query.get('api') ?? '/api/session';
  const storages = { indexedDB: indexedDBStorage, tab: tabStorage };
  const named = storages[query.get('storage')] ?? (transport === 'body' ? browserStorage : undefined);
  const storage = named?.();
  const client = createSessionClient({ url, transport, storage, dpop: query.has('dpop') });
  const actions = {
    login: (session) => client.login({ username: 'alice', password: 'alice-password', session }),
    logout: () => client.logout(),
    // Another tab has the turn for as long as this page exists.
    leave: async () => {
      const turn = 'multisession.' + new URL(url, location.href).href.replace(/[^\\w.-]+/g, '_');
      await new Promise((resolve) => {
        void navigator.locks.request(turn, () => { resolve(); return new Promise(() => undefined); });
      });
      client.subscribe(() => {
        if (client.getSnapshot().status === 'ended') location.replace('/left');
      });
      void client.logout();
    },
    refresh: () => client.refresh(),
    sessions: () => client.sessions(),
    stored: async () => ({ ...localStorage }),
    read: async () => {
      const response = await client.fetch(new URL('/notes', new URL(url, location.href)));
      return { status: response.status, text: await response.text() };
    },
  };
  const outcomes = [];
  const start = (action, argument) => {
    const number = outcomes.length++;
    const done = (outcome) => { outcomes[number] = { ...outcome, state: client.getSnapshot() }; };
    actions[action](argument).then(
      (result) => done({ result }),
      (error) => done({ error: error.code ?? error.name }),
    );
    return number;
  };
  Object.assign(window, { client, outcomes, start });
`;

/** Removes what an earlier test has left in the browser. Scripts see no cookie, so the server removes them. */
const FRESH = '<!doctype html><title>fresh</title><script>localStorage.clear(); sessionStorage.clear();</script>';
const COOKIES = [
  ['session-access', '/'],
  ['session-proof', '/'],
  ['session-refresh', '/api/session'],
];

/**
 * Serves a page that uses the built client with `<script type="module">`, and the client's files.
 * @returns false if the request is for something else
 * @throws if the client has not been built
 */
export function servePages(request: IncomingMessage, response: ServerResponse): boolean {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost');
  const send = (type: string, text: string) => void response.setHeader('Content-Type', type).end(text);
  if (pathname === '/page') {
    send(
      'text/html',
      `<!doctype html><title>a page</title><script>${SETUP}</script><script type="module">${MODULE}</script>`,
    );
  } else if (pathname === '/fresh') {
    response.setHeader(
      'Set-Cookie',
      COOKIES.map(([name, path]) => `${name}=; Path=${path}; Max-Age=0; HttpOnly`),
    );
    send('text/html', FRESH);
  } else if (pathname === '/left') {
    send('text/html', '<!doctype html><title>another page</title>');
  } else if (pathname === '/favicon.ico') {
    response.writeHead(404).end();
  } else if (pathname.startsWith('/client/')) {
    const file = `${DIST}/${basename(pathname)}`;
    if (!existsSync(file)) throw new Error(`${file} does not exist. Run: npm run build:client`);
    send('text/javascript', readFileSync(file, 'utf8'));
  } else {
    return false;
  }
  return true;
}

/** A tab whose page uses the client. */
export class ClientTab {
  private constructor(
    private readonly page: TestPage,
    private readonly url: string,
  ) {}

  /** Opens a tab, and waits until its client knows whether there is a session. */
  static async open(browser: TestBrowser, origin: string, options: PageOptions): Promise<ClientTab> {
    const { transport, api, storage, wrongBy, bare, dpop } = options;
    const query = new URLSearchParams({
      ...{ transport, ...(api && { api }), ...(storage && { storage }) },
      ...(bare && { bare: '' }),
      ...(dpop && { dpop: '' }),
    });
    if (wrongBy !== undefined) query.set('wrongBy', String(wrongBy));
    const url = `${origin}/page?${query}`;
    const tab = new ClientTab(await browser.open(url), url);
    await tab.loaded();
    return tab;
  }

  async reload(): Promise<void> {
    await this.page.goto(this.url);
    await this.loaded();
  }

  /** Starts an action, and does not wait for its end. */
  async start(action: string, argument?: unknown): Promise<{ outcome(): Promise<Outcome> }> {
    const number = await this.page.evaluate(([name, given]) => (window as unknown as PageWindow).start(name, given), [
      action,
      argument ?? null,
    ] as [string, unknown]);
    const outcome = () =>
      until(async () => {
        const found = await this.page.evaluate(
          (index) => (window as unknown as PageWindow).outcomes[index] ?? null,
          number,
        );
        return found ?? undefined;
      }, PATIENCE);
    return { outcome };
  }

  /** Does an action, and returns what it came to. */
  async act(action: string, argument?: unknown): Promise<Outcome> {
    return (await this.start(action, argument)).outcome();
  }

  state(): Promise<SessionState> {
    return this.page.evaluate(() => (window as unknown as PageWindow).client.getSnapshot());
  }

  /** Waits for a status of the session. */
  reaches(status: SessionState['status']): Promise<SessionState> {
    return until(async () => {
      const state = await this.state();
      return state.status === status ? state : undefined;
    }, PATIENCE);
  }

  /** Waits until the page has gone to another one. */
  async leaves(): Promise<void> {
    await until(async () => {
      // Chromium refuses to evaluate anything in the moment in which it changes the page.
      const path = await this.page.evaluate(() => location.pathname).catch(() => undefined);
      return path === '/left' || undefined;
    }, PATIENCE);
  }

  /** Sets the clock of the page wrong. */
  async setClock(wrongBy: number): Promise<void> {
    await this.page.evaluate((by) => {
      (window as unknown as PageWindow).wrongBy = by;
    }, wrongBy);
  }

  /** The user comes back to the tab. */
  async comeBack(): Promise<void> {
    await this.page.show();
    // If other windows do not cover each other, the page has been visible all along.
    await this.page.evaluate(() => void window.dispatchEvent(new Event('focus')));
  }

  async clearStorage(): Promise<void> {
    await this.page.evaluate(() => {
      localStorage.clear();
      sessionStorage.clear();
    });
  }

  /** Everything that scripts of the page can read in the storage. */
  stored(): Promise<string> {
    return this.page.evaluate(() => JSON.stringify(localStorage));
  }

  close(): Promise<void> {
    return this.page.close();
  }

  private async loaded(): Promise<void> {
    await until(
      () =>
        this.page
          .evaluate(() => {
            const { client } = window as unknown as Partial<PageWindow>;
            return client && client.getSnapshot().status !== 'loading' ? true : null;
          })
          .then((isLoaded) => isLoaded ?? undefined),
      PATIENCE,
    );
  }
}
