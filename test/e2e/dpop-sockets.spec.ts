import { once } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module, UseGuards } from '@nestjs/common';
import { GraphQLModule, Query, Resolver, Subscription } from '@nestjs/graphql';
import { MercuriusDriver, type MercuriusDriverConfig } from '@nestjs/mercurius';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  ConnectedSocket,
  MessageBody,
  type OnGatewayConnection,
  SubscribeMessage,
  WebSocketGateway,
} from '@nestjs/websockets';
import { createClient } from 'graphql-ws';
import { CurrentSession, JwtAuthGuard, Public } from 'nestjs-multisession';
import { io, type Socket } from 'socket.io-client';
import { WebSocket } from 'ws';
import { SECRET_KEY, startApp, type TestApp, type TestAppOptions } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { ProvingClient } from '../helpers/dpop.js';

abstract class Messages {
  @SubscribeMessage('whoami')
  @UseGuards(JwtAuthGuard)
  whoami(@CurrentSession('userId') userId: string) {
    return { event: 'you', data: userId };
  }
}

@WebSocketGateway()
class IoGateway extends Messages {}

type KeptRequest = WebSocket & { request?: unknown; auth?: object };

@WebSocketGateway()
class WsGateway extends Messages implements OnGatewayConnection {
  handleConnection(client: KeptRequest, request: unknown) {
    client.request = request;
  }

  @SubscribeMessage('authenticate')
  @Public()
  authenticate(@ConnectedSocket() client: KeptRequest, @MessageBody() auth: object) {
    client.auth = auth;
    return { event: 'authenticated' };
  }
}

@Resolver()
class NewsResolver {
  @Query(() => String)
  @UseGuards(JwtAuthGuard)
  me(@CurrentSession('userId') userId: string) {
    return userId;
  }

  @Subscription(() => String)
  @UseGuards(JwtAuthGuard)
  async *news(@CurrentSession('userId') userId: string) {
    yield await Promise.resolve({ news: `for ${userId}` });
  }
}

@Module({
  imports: [
    GraphQLModule.forRoot<ApolloDriverConfig>({
      driver: ApolloDriver,
      autoSchemaFile: true,
      subscriptions: { 'graphql-ws': true },
    }),
  ],
  providers: [NewsResolver],
})
class ApolloNews {}

@Module({
  imports: [
    GraphQLModule.forRoot<MercuriusDriverConfig>({ driver: MercuriusDriver, autoSchemaFile: true, subscription: true }),
  ],
  providers: [NewsResolver],
})
class MercuriusNews {}

const POLICIES = { LONG: { refreshTokenLifetime: '30d', binding: 'prefer' } } as const;
const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'LONG' };

describe('a proof at the handshake', () => {
  let app: TestApp;
  let client: ProvingClient;
  let token: string;
  const closers: (() => unknown)[] = [];
  const start = async (given: TestAppOptions) => {
    app = await startApp({ databaseName: selectedDatabases()[0], options: { policies: POLICIES }, ...given });
    client = new ProvingClient(app);
    token = (await client.post('login/', LOGIN)).body.access as string;
  };
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
    await app.close();
  });

  describe('of Socket.IO', () => {
    @Module({ providers: [IoGateway] })
    class GatewayModule {}
    const connect = async (options: Parameters<typeof io>[1]): Promise<Socket> => {
      const socket = io(app.url, { transports: ['websocket'], reconnection: false, forceNew: true, ...options });
      closers.push(() => socket.disconnect());
      await new Promise((resolve) => socket.once('connect', () => resolve(undefined)));
      return socket;
    };
    const ask = (socket: Socket): Promise<unknown> =>
      new Promise((resolve) => {
        socket.off('you').once('you', resolve);
        socket.off('exception').once('exception', resolve);
        socket.emit('whoami');
      });

    test('in `auth` or in a header serves all messages of its socket, and no other one', async () => {
      await start({ imports: [GatewayModule], configure: (nest) => nest.useWebSocketAdapter(new IoAdapter(nest)) });
      for (const credentials of [
        () => ({ auth: { token, dpop: client.proof('GET', '/socket.io/', token) } }),
        () => ({ extraHeaders: client.headers('GET', '/socket.io/', token) }),
      ]) {
        const options = credentials();
        const socket = await connect(options);
        for (let message = 0; message < 2; message++) expect(await ask(socket)).toBe('alice');
        expect(await ask(await connect(options))).toMatchObject({ code: 'invalid_dpop_proof' });
      }
    });

    test('is demanded, with a nonce in the exception', async () => {
      await start({ imports: [GatewayModule], configure: (nest) => nest.useWebSocketAdapter(new IoAdapter(nest)) });
      expect(await ask(await connect({ auth: { token } }))).toMatchObject({ code: 'device_proof_required' });
      const { nonce } = client;
      client.nonce = undefined;
      const auth = { token, dpop: client.proof('GET', '/socket.io/', token) };
      expect(await ask(await connect({ auth }))).toMatchObject({ code: 'use_dpop_nonce', nonce });
    });
  });

  test('of `ws` serves all messages, and a later message may have another token and proof', async () => {
    @Module({ providers: [WsGateway] })
    class GatewayModule {}
    await start({ imports: [GatewayModule], configure: (nest) => nest.useWebSocketAdapter(new WsAdapter(nest)) });
    const ask = async (socket: WebSocket, event: string, data?: unknown): Promise<unknown> => {
      socket.send(JSON.stringify({ event, data }));
      const [answer] = (await once(socket, 'message')) as [Buffer];
      return (JSON.parse(answer.toString()) as { data: unknown }).data;
    };
    const connect = async (headers: Record<string, string>): Promise<WebSocket> => {
      const socket = new WebSocket(app.url.replace('http', 'ws'), { headers });
      closers.push(() => socket.terminate());
      await once(socket, 'open');
      return socket;
    };
    const socket = await connect(client.headers('GET', '/', token));
    for (let message = 0; message < 2; message++) expect(await ask(socket, 'whoami')).toBe('alice');
    await ask(socket, 'authenticate', { token });
    expect(await ask(socket, 'whoami')).toMatchObject({ code: 'device_proof_required' });
    await ask(socket, 'authenticate', { token, dpop: client.proof('GET', '/', token) });
    for (let message = 0; message < 2; message++) expect(await ask(socket, 'whoami')).toBe('alice');
    // A client names the URL that it has opened.
    const htu = `${app.url.replace('http', 'ws')}/`;
    const dpop = client.proof('GET', '/', token, { htu });
    expect(await ask(await connect({ authorization: `DPoP ${token}`, dpop }), 'whoami')).toBe('alice');
  });

  describe.each([
    ['Apollo', ApolloNews, 'express'],
    ['Mercurius', MercuriusNews, 'fastify'],
  ] as const)('of GraphQL with %s', (_, module, adapter) => {
    const results = async (connectionParams: Record<string, unknown>): Promise<unknown> => {
      const socket = createClient({
        url: `${app.url.replace('http', 'ws')}/graphql`,
        connectionParams,
        // Otherwise, each operation opens a socket of its own.
        lazy: false,
        onNonLazyError: () => {},
        retryAttempts: 0,
        webSocketImpl: WebSocket,
      });
      try {
        const found: unknown[] = [];
        for (let operation = 0; operation < 2; operation++)
          for await (const { errors, data } of socket.iterate({ query: 'subscription { news }' }))
            found.push(errors ?? data);
        return found;
      } catch (error) {
        return error;
      } finally {
        await socket.dispose();
      }
    };

    test('serves the operations of its socket', async () => {
      await start({ adapter, imports: [module] });
      const authorization = `DPoP ${token}`;
      const proof = () => client.proof('GET', '/graphql', token);
      const expected = [{ news: 'for alice' }, { news: 'for alice' }];
      for (const parameters of [
        { authorization, dpop: proof() },
        { headers: { Authorization: authorization, DPoP: proof() } },
        { token, dpop: proof() },
      ]) {
        expect(await results(parameters)).toEqual(expected);
        expect(JSON.stringify(await results(parameters))).not.toContain('alice');
      }
      for (const parameters of [{ token }, { authorization }, { authorization: `Bearer ${token}`, dpop: proof() }])
        expect(JSON.stringify(await results(parameters))).not.toContain('alice');
    });

    test('serves all fields of an operation over HTTP', async () => {
      await start({ adapter, imports: [module] });
      const body = { query: '{ me other: me }' };
      expect((await client.send('POST', '/graphql', { token, body })).body).toEqual({
        data: { me: 'alice', other: 'alice' },
      });
    });
  });
});
