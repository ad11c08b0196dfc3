import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Module, type Type } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { SessionService, SHORT_AND_LONG } from 'nestjs-multisession';
import type { Server } from 'socket.io';
import { io, type Socket } from 'socket.io-client';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';
import { decoded, expired } from '../helpers/tokens.js';
import { until } from '../helpers/until.js';

const DOCUMENT = 'docs/guards.md';

/** Keeps the servers that it opens. */
class KnownIoAdapter extends IoAdapter {
  static readonly servers: Server[] = [];

  override createIOServer(...args: Parameters<IoAdapter['createIOServer']>): Server {
    const server = super.createIOServer(...args);
    KnownIoAdapter.servers.push(server);
    return server;
  }
}

onEachDatabaseAndAdapter((name, adapter) => {
  let folder: string;
  let database: TestDatabase;
  let apps: TestApp[];
  const sockets: Socket[] = [];

  beforeEach(async () => {
    folder = folderForBlocks();
    const { NotesGateway } = (await importBlock(folder, DOCUMENT, 'notes.gateway.ts')) as Record<string, Type>;
    const { NewsController } = (await importBlock(folder, DOCUMENT, 'news.controller.ts')) as Record<string, Type>;
    database = await sharedDatabase();
    const start = () => {
      @Module({ providers: [NotesGateway], controllers: [NewsController] })
      class Connections {}
      const RENEWED = { refreshTokenLifetime: '1d', accessTokenLifetime: '4s' } as const;
      const BRIEF = { refreshTokenLifetime: '8s', accessTokenLifetime: '8s', reuseGrace: 0 } as const;
      const options = {
        revocation: { pollInterval: '100 ms' },
        policies: { ...SHORT_AND_LONG, BRIEF, RENEWED },
      } as const;
      const configure: NonNullable<Parameters<typeof startApp>[0]>['configure'] = (app) =>
        app.useWebSocketAdapter(new KnownIoAdapter(app));
      return startApp({ database, adapter, imports: [Connections], options, configure });
    };
    const one = await start();
    // Each DataSource of sql.js has its own database.
    apps = [one, name === 'sqljs' ? one : await start()];
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.disconnect();
    for (const app of new Set(apps)) await app.close();
    await database.drop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('an ending on one application closes exactly the sockets and streams of that session on the other', async () => {
    const [one, other] = apps;
    const [ended, kept] = [await createOn(one), await createOn(one)];
    const connections = [await openSocket(other, ended), await openSocket(other, kept)];
    const streams = [await openStream(other, ended), await openStream(other, kept)];
    const closed = [next(connections[0], 'disconnect'), streams[0].ended];

    await one.get(SessionService).destroy(ended.session.id);
    await Promise.all(closed);

    expect(connections.map((socket) => socket.connected)).toEqual([false, true]);
    expect(streams.map((stream) => stream.isOpen())).toEqual([false, true]);
    expect(streams[0].text()).toContain('data: ');
    streams[1].close();
  });

  test('a socket has no message handled once its session has ended, or its token has expired', async () => {
    const [app] = apps;
    const sessions = app.get(SessionService);
    const ended = await createOn(app);
    const socket = await openSocket(app, ended);
    const answers: unknown[] = [];
    const closed = next(socket, 'disconnect');
    const ending = sessions.destroy(ended.session.id);
    // Messages that arrive before the socket is closed.
    for (let at = 0; at < 3; at++)
      socket.timeout(10_000).emit('whoami', (_: unknown, answer: unknown) => answers.push(answer));
    await ending;
    const late: unknown[] = [];
    for (let at = 0; at < 3; at++) socket.emit('whoami', (answer: unknown) => late.push(answer));
    await closed;
    expect(late).not.toContain('alice');

    const other = await createOn(app);
    const open = await openSocket(app, other);
    const [onServer] = KnownIoAdapter.servers.flatMap(({ sockets }) => sockets.sockets.get(open.id!) ?? []);
    onServer.handshake.auth.token = expired(other.access);
    const refused = next(open, 'exception');
    open.emit('whoami', () => answers.push('handled'));
    expect(await refused).toMatchObject({ code: 'token_not_valid' });
    expect(answers).not.toContain('handled');
  });

  test('a socket continues with the next token of its session, and with no other', async () => {
    const [app] = apps;
    const sessions = app.get(SessionService);
    const [own, bob] = [await createOn(app), await sessions.create('bob', { type: 'LONG' })];
    const socket = await openSocket(app, own);
    for (const token of [bob.access, (await createOn(app)).access, 'a.b.c', own.refresh, null, { token: own.access }]) {
      const refused = next(socket, 'exception');
      socket.emit('token', token);
      expect(await refused).toMatchObject({ message: 'Not a valid token of this session' });
      expect(await socket.emitWithAck('whoami')).toBe('alice');
    }
    const { access } = await sessions.refresh(own.refresh);
    expect(await socket.emitWithAck('token', access)).toBe(true);
    expect(await socket.emitWithAck('whoami')).toBe('alice');
  });

  test.each(['', 'a.b.c'])('a socket with the token "%s" does not open', async (token) => {
    const socket = io(apps[0].url, { transports: ['websocket'], reconnection: false, auth: { token } });
    sockets.push(socket);
    await next(socket, 'connect_error');
    expect(socket.connected).toBe(false);
  });

  // The databases make no difference here, and the test takes as long as a session.
  if (name === 'sqlite')
    test('sockets and streams do not outlive an expired session', async () => {
      const [app] = apps;
      const brief = await createOn(app, 'BRIEF');
      const [socket, stream] = [await openSocket(app, brief), await openStream(app, brief)];
      await Promise.all([next(socket, 'disconnect'), stream.ended]);
      expect(Date.now()).toBeGreaterThanOrEqual(brief.session.expiresAt.getTime() - 1000);
      expect(await statusOfStream(app, brief)).toBe(401);
    });

  test('a stream goes on after a refresh that the server was told of', async () => {
    const [app] = apps;
    const [told, silent] = [await createOn(app, 'RENEWED'), await createOn(app, 'RENEWED')];
    const streams = [await openStream(app, told), await openStream(app, silent)];
    const { iat } = decoded(told.access, 1) as { iat: number };
    await until(() => Date.now() > (iat + 2) * 1000);
    const { access } = await app.get(SessionService).refresh(told.refresh);
    const renewed = await fetch(`${app.url}/news/renew`, { method: 'POST', headers: bearer(access) });
    expect(renewed.status).toBe(204);
    await streams[1].ended;
    const before = streams[0].text().length;
    await until(() => streams[0].text().length > before || !streams[0].isOpen());
    expect(streams[0].isOpen()).toBe(true);
    await streams[0].ended;
  });

  const createOn = (app: TestApp, type = 'LONG') => app.get(SessionService).create('alice', { type });

  async function statusOfStream(app: TestApp, { access }: { access: string }): Promise<number> {
    const aborter = new AbortController();
    const { status } = await fetch(`${app.url}/news`, { headers: bearer(access), signal: aborter.signal });
    aborter.abort();
    return status;
  }

  const next = (socket: Socket, event: string) => new Promise((resolve) => socket.once(event, resolve));

  async function openSocket(app: TestApp, { access }: { access: string }): Promise<Socket> {
    const socket = io(app.url, { transports: ['websocket'], reconnection: false, auth: { token: access } });
    sockets.push(socket);
    await next(socket, 'connect');
    // An answer to a message shows that the session has been verified.
    expect(await socket.emitWithAck('whoami')).toBe('alice');
    return socket;
  }

  /** Resolves once the first event has arrived. */
  async function openStream(app: TestApp, { access }: { access: string }) {
    const aborter = new AbortController();
    const response = await fetch(`${app.url}/news`, { headers: bearer(access), signal: aborter.signal });
    expect(response.status).toBe(200);
    let [text, isOpen] = ['', true];
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    const readOn = async () => {
      const { value, done } = await reader.read();
      text += value ?? '';
      return !done;
    };
    const untilEnd = async () => {
      while (await readOn()) continue;
      isOpen = false;
    };
    while (!text.includes('data: ')) expect(await readOn()).toBe(true);
    const ended = untilEnd().catch(() => undefined);
    return { ended, isOpen: () => isOpen, text: () => text, close: () => aborter.abort() };
  }

  /** Loads a code block of the document as a module. */
  /** SQLite in a file, so that two applications can open it. */
  async function sharedDatabase(): Promise<TestDatabase> {
    if (name !== 'sqlite') return createDatabase(name);
    const options = { type: 'better-sqlite3' as const, database: join(folder, 'sessions.sqlite') };
    return { name, options, drop: async () => {} };
  }
});
