import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { WsAdapter } from '@nestjs/platform-ws';
import type { AdapterName, TestApp } from './app.js';
import { portOf, selfSigned } from './browser.js';
import { createDatabase, type DatabaseName, type TestDatabase } from './databases.js';
import { BoundRoutes, startBoundApp } from './dbsc-app.js';
import { NotesModule, PagesController } from './pages.js';
import { ShiftedTime } from './shifted-time.js';

/** What happens to a request: the server fails, the network loses the request, or the answer of a finished request. */
export type Fault = 'error' | 'lost request' | 'lost answer';

/** An application behind a server with TLS, which keeps its origin when the application starts again. */
export class BoundSite {
  /** The requests that were answered, with their status. 0 for those whose answer was lost. */
  readonly seen: string[] = [];
  /** What happens to the next requests whose path ends so. */
  readonly faults: { path: string; fault: Fault }[] = [];
  private readonly certificate = selfSigned();
  private readonly server: Server;
  private running?: TestApp;

  private constructor(
    private readonly adapter: AdapterName,
    private readonly time: ShiftedTime | undefined,
    private readonly database: TestDatabase,
  ) {
    this.server = createServer(this.certificate, (request, response) => this.pass(request, response));
    this.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.seen.push(`UPGRADE ${request.url}`);
      (this.app.app.getHttpServer() as Server).emit('upgrade', request, socket, head);
    });
  }

  static async start(adapter: AdapterName, name: DatabaseName): Promise<BoundSite> {
    const time = name === 'sqlite' ? new ShiftedTime() : undefined;
    const site = new BoundSite(adapter, time, time?.database ?? (await createDatabase(name)));
    await site.startApp();
    await new Promise<void>((resolve) => site.server.listen(0, '127.0.0.1', resolve));
    return site;
  }

  get app(): TestApp {
    if (!this.running) throw new Error('the application is not running');
    return this.running;
  }

  get origin(): string {
    return `https://app.test:${portOf(this.server)}`;
  }

  get cert(): string {
    return this.certificate.cert;
  }

  async startApp(): Promise<void> {
    this.running = await startBoundApp({
      adapter: this.adapter,
      database: this.database,
      controllers: [BoundRoutes, PagesController],
      imports: [NotesModule],
      configure: (nest) => void nest.useWebSocketAdapter(new WsAdapter(nest)),
    });
  }

  async stopApp(): Promise<void> {
    const app = this.app;
    this.running = undefined;
    await app.close();
  }

  /** Lets so many milliseconds pass, if the database can show another time. */
  async advance(milliseconds: number): Promise<void> {
    await this.time?.advance(this.app, milliseconds);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await this.running?.close();
    this.time?.end();
    await this.database.drop();
  }

  private pass(request: IncomingMessage, response: ServerResponse): void {
    const { method, url = '' } = request;
    const at = this.faults.findIndex(({ path }) => url.endsWith(path));
    const fault = at === -1 ? undefined : this.faults.splice(at, 1)[0].fault;
    response.on('close', () => this.seen.push(`${method} ${url} ${fault === 'lost answer' ? 0 : response.statusCode}`));
    if (fault === 'lost request') response.destroy();
    else if (fault === 'error' || !this.running) response.writeHead(500).end();
    else {
      if (fault === 'lost answer') loseAnswer(response);
      (this.running.app.getHttpServer() as Server).emit('request', request, response);
    }
  }
}

/** Closes the connection as soon as the application has finished its answer. */
function loseAnswer(response: ServerResponse): void {
  response.writeHead = () => response;
  response.write = () => true;
  response.end = () => response.destroy();
}
