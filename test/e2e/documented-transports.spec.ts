import { rmSync } from 'node:fs';
import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Module,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { Query, Resolver, Subscription } from '@nestjs/graphql';
import { type ClientProxy, ClientProxyFactory, Transport } from '@nestjs/microservices';
import { WsAdapter } from '@nestjs/platform-ws';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { type CloseCode, createClient } from 'graphql-ws';
import { CurrentSession, JwtAuthGuard, SessionConnections, SessionService, SHORT_AND_LONG } from 'nestjs-multisession';
import { lastValueFrom, type Observable } from 'rxjs';
import { WebSocket } from 'ws';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { selectedDatabases } from '../helpers/databases.js';
import { decoded, expired } from '../helpers/tokens.js';
import { until } from '../helpers/until.js';

const DOCUMENT = 'docs/guards.md';
const [databaseName] = selectedDatabases();
let folder: string;
beforeAll(() => {
  folder = folderForBlocks();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const block = async <T = Record<string, Type>>(file: string) => (await importBlock(folder, DOCUMENT, file)) as T;

describe('the documented microservice', () => {
  type Add = (client: ClientProxy, access: string, text: string) => Observable<unknown>;
  let app: TestApp;
  let client: ClientProxy;
  let add: Add;
  beforeAll(async () => {
    const { NotesHandlers } = await block('notes.handlers.ts');
    add = (await block<{ addByTcp: Add }>('notes.client.ts')).addByTcp;
    app = await startApp({ databaseName, controllers: [NotesHandlers] });
    const options = { host: '127.0.0.1', port: 0 };
    const microservice = app.app.connectMicroservice({ transport: Transport.TCP, options });
    await app.app.startAllMicroservices();
    const { port } = microservice.unwrap<Server>().address() as AddressInfo;
    client = ClientProxyFactory.create({ transport: Transport.TCP, options: { ...options, port } });
  });
  afterAll(async () => {
    await client.close();
    await app.close();
  });

  test('knows its caller, and refuses others', async () => {
    const { access, session } = await app.get(SessionService).create('alice', { type: 'LONG' });
    expect(await lastValueFrom(add(client, access, 'a note'))).toEqual({ userId: 'alice', text: 'a note' });
    await expect(lastValueFrom(add(client, expired(access), 'a note'))).rejects.toMatchObject({
      code: 'token_not_valid',
    });
    const forged = { text: 'a note', user: { userId: 'alice' } };
    await expect(lastValueFrom(client.send<unknown>('notes.add', forged))).rejects.toMatchObject({
      code: 'not_authenticated',
    });
    await app.get(SessionService).destroy(session.id);
    await expect(lastValueFrom(add(client, access, 'a note'))).rejects.toMatchObject({ statusCode: 401 });
  });
});

describe('the documented GraphQL module', () => {
  @Resolver()
  class NewsResolver {
    @Query(() => String)
    hello() {
      return 'hello';
    }

    @Subscription(() => String)
    @UseGuards(JwtAuthGuard)
    async *news(@CurrentSession('userId') userId: string) {
      yield { news: `for ${userId}` };
      // Goes on for ever: only the end of the connection ends it.
      for (;;) yield await new Promise<{ news: string }>((resolve) => setTimeout(resolve, 50, { news: 'more' }));
    }
  }

  let app: TestApp;
  beforeAll(async () => {
    const { GraphqlModule } = await block('graphql.module.ts');
    const { MeResolver } = await block('me.resolver.ts');
    @Module({ imports: [GraphqlModule], providers: [NewsResolver, MeResolver] })
    class ApplicationModule {}
    const BRIEF = { refreshTokenLifetime: '1d', accessTokenLifetime: '4s' } as const;
    app = await startApp({
      databaseName,
      imports: [ApplicationModule],
      options: { policies: { ...SHORT_AND_LONG, BRIEF } },
    });
  });
  afterAll(() => app.close());

  /** Subscribes. `closed` is the code with which the server closes the connection. */
  function subscribe(connectionParams: Record<string, unknown>) {
    const received: unknown[] = [];
    let onClose: (code: number) => void;
    let onFirst: () => void;
    let socket: WebSocket;
    const closed = new Promise<number>((resolve) => (onClose = resolve));
    const first = new Promise<void>((resolve) => (onFirst = resolve));
    const client = createClient({
      url: `${app.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams,
      on: {
        opened: (opened) => (socket = opened as WebSocket),
        closed: (event) => onClose((event as { code: CloseCode }).code),
      },
    });
    client.subscribe<{ news: string }>(
      { query: 'subscription { news }' },
      {
        next: ({ data }) => {
          received.push(data?.news);
          onFirst();
        },
        error: () => {},
        complete: () => {},
      },
    );
    const ping = (token: unknown) => socket.send(JSON.stringify({ type: 'ping', payload: { token } }));
    return { received, closed, first, ping, client, close: () => client.dispose() };
  }

  test('closes exactly the connections of a session that has ended', async () => {
    const sessions = app.get(SessionService);
    const [ended, kept] = [
      await sessions.create('alice', { type: 'LONG' }),
      await sessions.create('alice', { type: 'LONG' }),
    ];
    const connections = [ended, kept].map(({ access }) => subscribe({ token: access }));
    await Promise.all(connections.map(({ first }) => first));
    expect(connections.map(({ received }) => received[0])).toEqual(['for alice', 'for alice']);
    await sessions.destroy(ended.session.id);
    expect(await connections[0].closed).toBe(4403);
    const before = connections[1].received.length;
    while (connections[1].received.length < before + 2) await new Promise((resolve) => setTimeout(resolve, 20));
    await connections[1].close();
  });

  test('keeps a connection open with the token of a ping, for new operations too', async () => {
    const sessions = app.get(SessionService);
    const { access, refresh } = await sessions.create('alice', { type: 'BRIEF' });
    const [renewed, expiring] = [subscribe({ token: access }), subscribe({ token: access })];
    await Promise.all([renewed.first, expiring.first]);
    // A later token lives longer only from the next second on.
    const expiryOf = (token: string) => Number(decoded(token, 1).exp);
    let next = access;
    await until(async () => {
      ({ access: next } = await sessions.refresh(refresh));
      return expiryOf(next) >= expiryOf(access) + 2;
    });
    for (const token of [{}, 'a.b.c', (await sessions.create('bob', { type: 'LONG' })).access]) expiring.ping(token);
    renewed.ping(next);
    expect(await expiring.closed).toBe(4403);
    const before = renewed.received.length;
    await until(() => renewed.received.length > before + 2);
    // The guard reads the token of the ping.
    const answer = renewed.client.iterate<{ me: string }>({ query: '{ me }' });
    expect(await answer.next()).toMatchObject({ value: { data: { me: 'alice' } } });
    expect(await renewed.closed).toBe(4403);
  });

  test.each([{}, { token: 'a.b.c' }, { user: { userId: 'admin' } }])('refuses a connection with %j', async (params) => {
    const { received, closed } = subscribe(params);
    expect(await closed).toBe(4403);
    expect(received).toEqual([]);
  });
});

describe('the documented gateway of ws', () => {
  let app: TestApp;
  beforeAll(async () => {
    const { TicksGateway } = await block('ticks.gateway.ts');
    const configure = (one: INestApplication) => one.useWebSocketAdapter(new WsAdapter(one));
    app = await startApp({ databaseName, providers: [TicksGateway], configure });
  });
  afterAll(() => app.close());

  async function open(headers: Record<string, string>) {
    const socket = new WebSocket(app.url.replace('http', 'ws'), { headers });
    const closed = once(socket, 'close').then(([code]) => code as number);
    await once(socket, 'open');
    return { socket, closed };
  }

  test('closes the sockets of a session that ends, and refuses others', async () => {
    const sessions = app.get(SessionService);
    const { access, session } = await sessions.create('alice', { type: 'LONG' });
    const { socket, closed } = await open(bearer(access));
    socket.send(JSON.stringify({ event: 'whoami' }));
    const [text] = (await once(socket, 'message')) as [Buffer];
    expect(JSON.parse(String(text))).toEqual({ event: 'you', data: 'alice' });
    await sessions.destroy(session.id);
    expect(await closed).toBe(4403);
    for (const headers of [{}, bearer('a.b.c'), bearer(access)]) expect(await (await open(headers)).closed).toBe(4401);
    expect(app.get(SessionConnections).size).toBe(0);
  });
});

describe('the documented guards', () => {
  test('EditorGuard reads the claims of the caller', async () => {
    const { EditorGuard } = await block('editor.guard.ts');
    @Controller('edit')
    class EditController {
      @Get()
      @UseGuards(JwtAuthGuard, EditorGuard)
      edit() {
        return {};
      }
    }
    const app = await startApp({ databaseName, controllers: [EditController] });
    const status = async (claims: Record<string, string>) => {
      const { access } = await app.get(SessionService).create('alice', { type: 'LONG', claims });
      return (await app.request('GET', '/edit', { headers: bearer(access) })).status;
    };
    expect([await status({ role: 'editor' }), await status({ role: 'reader' }), await status({})]).toEqual([
      200, 403, 403,
    ]);
    await app.close();
  });

  test('ChatGuard finds the token in the first argument', async () => {
    const { ChatGuard } = await block('chat.guard.ts');
    const app = await startApp({ databaseName, providers: [ChatGuard] });
    const guard = app.get(ChatGuard) as JwtAuthGuard;
    const { access } = await app.get(SessionService).create('alice', { type: 'LONG' });
    const contextOf = (event: object): ExecutionContext => {
      const context = new ExecutionContextHost([event], class Chat {}, () => {});
      context.setType('chat');
      return context;
    };
    expect(await guard.canActivate(contextOf({ token: access }))).toBe(true);
    for (const event of [{}, { token: 'a.b.c' }, { headers: bearer(access) }])
      await expect(Promise.resolve().then(() => guard.canActivate(contextOf(event)))).rejects.toMatchObject({
        status: 401,
      });
    await app.close();
  });
});
