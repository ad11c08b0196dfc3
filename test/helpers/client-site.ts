import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import {
  createServer,
  type IncomingMessage,
  request as sendRequest,
  type Server,
  type ServerResponse,
} from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startApp, type TestApp } from './app.js';
import { portOf, until } from './browser.js';
import { servePages } from './client-pages.js';
import { PagesController } from './pages.js';

/** The session types of the site, by how long an access token lives. */
const POLICIES = { LONG: '5m', BRIEF: '10s', MOMENT: '3s' } as const;

/** A request to the application, and what became of it. */
export interface Passed {
  readonly method: string;
  readonly path: string;
  /** The headers with which the browser has shown who it is. */
  readonly credentials: Record<string, string>;
  /** 0 as long as there is no answer. */
  status: number;
}

/**
 * An application and the proxy through which browsers reach it. The proxy serves the pages, can be stopped, and can hold answers
 * back. The origin and the database stay the same if the application starts again.
 */
export class ClientSite {
  readonly passed: Passed[] = [];
  /** The largest number of refreshes that were on their way at once. */
  refreshesAtOnce = 0;
  private refreshing = 0;
  /** Logouts wait for it before they reach the application, which gets only those that the browser has not cancelled by then. */
  logoutsWaitFor: Promise<unknown> | undefined;
  private held: Promise<void> | undefined;
  private release: () => void = () => undefined;

  private constructor(
    readonly url: string,
    private readonly proxy: Server,
    private readonly folder: string,
    private running: TestApp | undefined,
  ) {}

  static async start(): Promise<ClientSite> {
    const folder = mkdtempSync(join(tmpdir(), 'client-site-'));
    const proxy = createServer((request, response) => {
      if (!servePages(request, response)) void site.pass(request, response);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const site = new ClientSite(`http://localhost:${portOf(proxy)}`, proxy, folder, undefined);
    await site.startApp();
    return site;
  }

  get app(): TestApp {
    return this.running as TestApp;
  }

  /** Starts the application, with the sessions that it had. */
  async startApp(): Promise<void> {
    this.running = await startApp({
      database: {
        name: 'sqlite',
        options: { type: 'better-sqlite3', database: join(this.folder, 'database') },
        drop: async () => {},
      },
      controllers: [PagesController],
      options: {
        secretKey: false,
        cookies: { secure: 'auto' },
        policies: {
          ...Object.fromEntries(
            Object.entries(POLICIES).map(([name, accessTokenLifetime]) => [
              name,
              { refreshTokenLifetime: '30d' as const, accessTokenLifetime, extendSession: 'every-refresh' as const },
            ]),
          ),
          BOUND: { refreshTokenLifetime: '30d', accessTokenLifetime: '5m', binding: 'prefer' },
        },
        publicOrigin: this.url,
      },
    });
  }

  /** Stops the application. The proxy answers with 502 and HTML then. */
  async stopApp(): Promise<void> {
    const { running } = this;
    this.running = undefined;
    (running?.app.getHttpServer() as Server | undefined)?.closeAllConnections();
    await running?.close();
  }

  /** From now on, browsers cannot connect. */
  async goOffline(): Promise<void> {
    const closed = once(this.proxy, 'close');
    this.proxy.close();
    this.proxy.closeAllConnections();
    await closed;
  }

  async goOnline(): Promise<void> {
    const { port } = new URL(this.url);
    await new Promise<void>((resolve) => this.proxy.listen(Number(port), '127.0.0.1', resolve));
  }

  /** Holds the answers to refreshes back, until the function that is returned is called. The server has done its work by then. */
  hold(): () => void {
    this.held = new Promise((resolve) => {
      this.release = () => {
        this.held = undefined;
        resolve();
      };
    });
    return this.release;
  }

  /** Undoes what a test that failed has left. */
  async restore(): Promise<void> {
    this.release();
    this.logoutsWaitFor = undefined;
    if (!this.proxy.listening) await this.goOnline();
    if (!this.running) await this.startApp();
  }

  /** The refreshes, in order. */
  get refreshes(): Passed[] {
    return this.passed.filter(({ path }) => path === '/api/session/refresh');
  }

  /** Forgets the requests that have been sent so far. */
  forget(): void {
    this.passed.length = 0;
    this.refreshesAtOnce = 0;
  }

  /** Waits until the server refuses the access token that the browser has shown last. */
  async accessExpires(): Promise<void> {
    // A browser that has the answer in its cache gets a 304.
    const { credentials } = this.passed
      .filter(({ path, status }) => path === '/notes' && status < 400)
      .at(-1) as Passed;
    await until(async () => {
      const { status } = await this.app.request('GET', '/notes', { headers: credentials });
      return status === 401 ? true : undefined;
    }, 60);
  }

  /** The ids of the user's sessions that have not ended, as another device of the user sees them. */
  async otherDevice() {
    const { body } = await this.app.post('login', { username: 'alice', password: 'alice-password', session: 'LONG' });
    const headers = { authorization: `Bearer ${body.access}` };
    const sessions = async () => {
      const answer = await this.app.request('GET', '/api/session/sessions', { headers });
      return (answer.body as { id: string; current: boolean }[]).filter(({ current }) => !current).map(({ id }) => id);
    };
    const end = (id: string) => this.app.request('DELETE', `/api/session/sessions/${id}`, { headers });
    const endOthers = () => this.app.request('DELETE', '/api/session/sessions', { headers });
    return { sessions, end, endOthers };
  }

  async close(): Promise<void> {
    await this.goOffline();
    await this.stopApp();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url: path = '/', headers } = request;
    const { cookie, authorization } = headers;
    const credentials = { ...(cookie && { cookie }), ...(authorization && { authorization }) };
    const passed: Passed = { method, path, credentials, status: 0 };
    this.passed.push(passed);
    if (path === '/api/session/logout') await this.logoutsWaitFor;
    if (response.closed) return;
    const isRefresh = path === '/api/session/refresh';
    if (isRefresh) {
      this.refreshesAtOnce = Math.max(this.refreshesAtOnce, ++this.refreshing);
      response.on('close', () => this.refreshing--);
    }
    try {
      const answer = await this.send(request);
      passed.status = answer.status;
      if (isRefresh) await this.held;
      response.writeHead(answer.status, answer.headers).end(answer.body);
    } catch {
      passed.status = 502;
      response.writeHead(502, { 'Content-Type': 'text/html' }).end('<!doctype html><h1>Bad Gateway</h1>');
    }
  }

  private async send(request: IncomingMessage) {
    const body = Buffer.concat(await request.toArray());
    if (!this.running) throw new Error('the application does not run');
    const { port } = new URL(this.running.url);
    const { method, url, headers } = request;
    const upstream = sendRequest({ host: '127.0.0.1', port, method, path: url, headers, agent: false });
    upstream.end(body);
    const [answer] = (await once(upstream, 'response')) as [IncomingMessage];
    return {
      status: answer.statusCode ?? 500,
      headers: answer.rawHeaders,
      body: Buffer.concat(await answer.toArray()),
    };
  }
}
