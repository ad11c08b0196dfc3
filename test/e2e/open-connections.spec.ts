import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Module, type Type } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { SessionService } from 'nestjs-multisession';
import { io, type Socket } from 'socket.io-client';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const DOCUMENT = 'docs/custom-flows.md';

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
      const options = { revocation: { pollInterval: '100 ms' } } as const;
      const configure: NonNullable<Parameters<typeof startApp>[0]>['configure'] = (app) =>
        app.useWebSocketAdapter(new IoAdapter(app));
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

  const createOn = (app: TestApp) => app.get(SessionService).create('alice', { type: 'LONG' });

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
