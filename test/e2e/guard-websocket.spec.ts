import { once } from 'node:events';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  type CallHandler,
  type ExecutionContext,
  Injectable,
  Module,
  type NestInterceptor,
  UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { WsAdapter } from '@nestjs/platform-ws';
import {
  ConnectedSocket,
  MessageBody,
  type OnGatewayConnection,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
} from '@nestjs/websockets';
import {
  CurrentSession,
  type SessionClaims,
  JwtAuthGuard,
  OptionalSession,
  Public,
  SessionEvents,
  SessionService,
  SessionTypes,
} from 'nestjs-multisession';
import type { Server, Socket as ServerSocket } from 'socket.io';
import { io, type Socket } from 'socket.io-client';
import { WebSocket } from 'ws';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { expired } from '../helpers/tokens.js';

/** Holds the first message back until the second one has been answered. */
@Injectable()
class Gate implements NestInterceptor {
  static arrived = 0;
  static open: () => void = () => {};
  static readonly opened = new Promise<void>((resolve) => (Gate.open = resolve));

  async intercept(_context: ExecutionContext, next: CallHandler) {
    if (Gate.arrived++ === 0) await Gate.opened;
    return next.handle();
  }
}

@UseGuards(JwtAuthGuard)
abstract class Messages {
  @SubscribeMessage('whoami')
  whoami(@CurrentSession() { userId, sessionType }: SessionClaims) {
    return { event: 'you', data: { userId, sessionType } };
  }

  @SubscribeMessage('long')
  @SessionTypes('LONG')
  long(@CurrentSession('userId') userId: string) {
    return { event: 'you', data: { userId } };
  }

  @SubscribeMessage('optional')
  @OptionalSession()
  optional(@CurrentSession('userId') userId?: string) {
    return { event: 'you', data: { userId: userId ?? null } };
  }

  @SubscribeMessage('public')
  @Public()
  public(@CurrentSession('userId') userId?: string) {
    return { event: 'you', data: { userId: userId ?? null } };
  }

  @SubscribeMessage('leave')
  @Public()
  leave(@ConnectedSocket() client: { handshake?: { auth: object }; auth?: object }) {
    if (client.handshake) client.handshake.auth = {};
    else client.auth = {};
    return { event: 'you', data: { userId: null } };
  }

  @SubscribeMessage('switch')
  @Public()
  switch(@ConnectedSocket() client: { handshake: { auth: object } }, @MessageBody() { token }: { token: string }) {
    client.handshake.auth = { token };
    return { event: 'you', data: { userId: null } };
  }

  /** Waits before its parameters are read, so that later messages overtake it. */
  @SubscribeMessage('slow')
  @UseInterceptors(Gate)
  slow(@CurrentSession('userId') userId: string) {
    return { userId };
  }
}

/** A gateway without the guard, on the same sockets. */
@WebSocketGateway()
class UnguardedGateway {
  @SubscribeMessage('unguarded')
  unguarded(@CurrentSession() session: SessionClaims) {
    return { event: 'you', data: session };
  }
}

/** Closes the sockets of ended sessions, on every process. Each session is a room of Socket.IO. */
@WebSocketGateway()
@UseGuards(JwtAuthGuard)
class ClosingGateway extends Messages implements OnGatewayConnection {
  @WebSocketServer() private readonly server!: Server;

  constructor(
    private readonly sessions: SessionService,
    events: SessionEvents,
  ) {
    super();
    events.on('session.revoked', ({ sessionId }) => this.server.in(sessionId).disconnectSockets());
  }

  async handleConnection(client: ServerSocket) {
    try {
      await client.join((await this.sessions.verify(client.handshake.auth.token as string)).sessionId);
    } catch {
      client.disconnect();
    }
  }
}

/** Leaves the sockets open, so that the guard answers. */
@WebSocketGateway()
@UseGuards(JwtAuthGuard)
class PlainGateway extends Messages {}

type KeptRequest = WebSocket & { request?: unknown; auth?: { token: string } };

/** With `ws`, a gateway must keep the request that opened the socket, or a token from a message. */
@WebSocketGateway()
@UseGuards(JwtAuthGuard)
class WsGateway extends Messages implements OnGatewayConnection {
  handleConnection(client: KeptRequest, request: unknown) {
    client.request = request;
  }

  @SubscribeMessage('authenticate')
  @Public()
  authenticate(@ConnectedSocket() client: KeptRequest, @MessageBody() token: string) {
    client.auth = { token };
    return { event: 'authenticated' };
  }
}

describe('WebSockets', () => {
  let app: TestApp;
  const closers: (() => void)[] = [];
  const start = async (
    gateway: typeof PlainGateway | typeof WsGateway | typeof ClosingGateway,
    Adapter: typeof IoAdapter | typeof WsAdapter,
  ) => {
    @Module({ providers: [gateway, UnguardedGateway] })
    class GatewayModule {}
    app = await startApp({
      databaseName: selectedDatabases()[0],
      imports: [GatewayModule],
      configure: (application) => application.useWebSocketAdapter(new Adapter(application)),
    });
  };
  const create = (userId: string, type = 'LONG') => app.get(SessionService).create(userId, { type });
  afterEach(async () => {
    for (const close of closers.splice(0)) close();
    await app.close();
  });

  describe('of Socket.IO', () => {
    const connect = async (options: Parameters<typeof io>[1]): Promise<Socket> => {
      const socket = io(app.url, { transports: ['websocket'], reconnection: false, forceNew: true, ...options });
      closers.push(() => socket.disconnect());
      await new Promise((resolve) => socket.once('connect', () => resolve(undefined)));
      return socket;
    };
    /** Waits for the answer to a message: `you`, or the `exception` that refuses it. */
    const ask = (socket: Socket, message: string, data?: object): Promise<unknown> =>
      new Promise((resolve) => {
        socket.off('you').once('you', resolve);
        socket.off('exception').once('exception', resolve);
        socket.emit(message, data);
      });

    test.each([
      ['`auth.token`', (token: string) => ({ auth: { token } })],
      ['the headers of the handshake', (token: string) => ({ extraHeaders: bearer(token) })],
    ])('reads the token from %s', async (_, credentials) => {
      await start(PlainGateway, IoAdapter);
      const { access } = await create('alice');
      const socket = await connect(credentials(access));
      expect(await ask(socket, 'whoami')).toEqual({ userId: 'alice', sessionType: 'LONG' });
      expect(await ask(socket, 'optional')).toEqual({ userId: 'alice' });
    });

    test('refuses with an exception that has the body of the HTTP answer', async () => {
      await start(PlainGateway, IoAdapter);
      const nobody = await connect({});
      expect(await ask(nobody, 'whoami')).toEqual({
        statusCode: 401,
        error: 'Unauthorized',
        message: expect.any(String),
        code: 'not_authenticated',
      });
      expect(await ask(nobody, 'optional')).toEqual({ userId: null });
      const { access } = await create('alice');
      for (const token of ['a.b.c', expired(access), { token: access }]) {
        const code = typeof token === 'string' ? 'token_not_valid' : 'not_authenticated';
        expect(await ask(await connect({ auth: { token } }), 'whoami')).toMatchObject({ statusCode: 401, code });
      }
      const short = await connect({ auth: { token: (await create('alice', 'SHORT')).access } });
      expect(await ask(short, 'long')).toMatchObject({ statusCode: 403, code: 'session_type_not_allowed' });
    });

    test('refuses the next message after the session has ended, even if a session is optional', async () => {
      await start(PlainGateway, IoAdapter);
      const { access, session } = await create('alice');
      const socket = await connect({ auth: { token: access } });
      expect(await ask(socket, 'whoami')).toMatchObject({ userId: 'alice' });
      await app.get(SessionService).destroy(session.id);
      expect(await ask(socket, 'whoami')).toMatchObject({ code: 'token_not_valid' });
      expect(await ask(socket, 'optional')).toMatchObject({ code: 'token_not_valid' });
    });

    test('gives a later message no identity of an earlier one', async () => {
      await start(PlainGateway, IoAdapter);
      const { access, session } = await create('alice');
      const socket = await connect({ auth: { token: access } });
      for (const message of ['whoami', 'optional'])
        expect(await ask(socket, message)).toMatchObject({ userId: 'alice' });
      expect(await ask(socket, 'public')).toEqual({ userId: null });
      app.app.useLogger(false);
      expect(await ask(socket, 'unguarded')).toMatchObject({ status: 'error', message: 'Internal server error' });
      await app.get(SessionService).destroy(session.id);
      expect(await ask(socket, 'public')).toEqual({ userId: null });
      for (const message of ['whoami', 'optional', 'long'])
        expect(await ask(socket, message)).toMatchObject({ code: 'token_not_valid' });
      await ask(socket, 'leave');
      expect(await ask(socket, 'optional')).toEqual({ userId: null });
      expect(await ask(socket, 'whoami')).toMatchObject({ code: 'not_authenticated' });
    });

    test('does not mix up messages of one socket that overtake each other', async () => {
      await start(PlainGateway, IoAdapter);
      const [alice, bob] = [await create('alice'), await create('bob')];
      const socket = await connect({ auth: { token: alice.access } });
      const first = socket.emitWithAck('slow');
      const second = ask(socket, 'switch', { token: bob.access }).then(() => socket.emitWithAck('slow'));
      expect(await second).toEqual({ userId: 'bob' });
      Gate.open();
      expect(await first).toEqual({ userId: 'alice' });
    });

    test('closes the sockets of a session on `session.revoked`, and no others', async () => {
      await start(ClosingGateway, IoAdapter);
      const [ending, staying] = [await create('alice'), await create('alice')];
      const connectTo = ({ access }: typeof ending) => connect({ auth: { token: access } });
      const sockets = await Promise.all([connectTo(ending), connectTo(ending), connectTo(staying)]);
      for (const socket of sockets) await ask(socket, 'whoami');
      const closed = Promise.all(
        sockets.slice(0, 2).map((socket) => new Promise((resolve) => socket.once('disconnect', resolve))),
      );
      await app.get(SessionService).destroy(ending.session.id);
      expect(await closed).toEqual(['io server disconnect', 'io server disconnect']);
      expect(await ask(sockets[2], 'whoami')).toMatchObject({ userId: 'alice' });
    });
  });

  describe('of `ws`', () => {
    const connect = async (headers: Record<string, string> = {}): Promise<WebSocket> => {
      const socket = new WebSocket(app.url.replace('http', 'ws'), { headers });
      closers.push(() => socket.terminate());
      await once(socket, 'open');
      return socket;
    };
    const ask = async (socket: WebSocket, event: string, data?: unknown): Promise<{ event: string; data: unknown }> => {
      socket.send(JSON.stringify({ event, data }));
      const [answer] = (await once(socket, 'message')) as [Buffer];
      return JSON.parse(answer.toString());
    };

    test('reads the token from the request that opened the socket', async () => {
      await start(WsGateway, WsAdapter);
      const { access, session } = await create('alice');
      const socket = await connect(bearer(access));
      expect(await ask(socket, 'whoami')).toEqual({ event: 'you', data: { userId: 'alice', sessionType: 'LONG' } });
      await app.get(SessionService).destroy(session.id);
      expect(await ask(socket, 'whoami')).toEqual({
        event: 'exception',
        data: expect.objectContaining({ statusCode: 401, code: 'token_not_valid' }),
      });
    });

    test('accepts the token of a browser in a message, and a new one after it expires', async () => {
      await start(WsGateway, WsAdapter);
      const { access } = await create('alice');
      const socket = await connect();
      expect(await ask(socket, 'whoami')).toMatchObject({ event: 'exception', data: { code: 'not_authenticated' } });
      await ask(socket, 'authenticate', expired(access));
      expect(await ask(socket, 'whoami')).toMatchObject({ event: 'exception', data: { code: 'token_not_valid' } });
      await ask(socket, 'authenticate', access);
      expect(await ask(socket, 'whoami')).toMatchObject({ event: 'you', data: { userId: 'alice' } });
    });

    test('gives a later message no identity of an earlier one', async () => {
      await start(WsGateway, WsAdapter);
      const { access, session } = await create('alice');
      const socket = await connect();
      await ask(socket, 'authenticate', access);
      for (const message of ['whoami', 'optional'])
        expect(await ask(socket, message)).toMatchObject({ data: { userId: 'alice' } });
      expect(await ask(socket, 'public')).toMatchObject({ data: { userId: null } });
      await app.get(SessionService).destroy(session.id);
      expect(await ask(socket, 'public')).toMatchObject({ data: { userId: null } });
      for (const message of ['whoami', 'optional'])
        expect(await ask(socket, message)).toMatchObject({ data: { code: 'token_not_valid' } });
      await ask(socket, 'leave');
      expect(await ask(socket, 'optional')).toMatchObject({ data: { userId: null } });
      expect(await ask(socket, 'whoami')).toMatchObject({ data: { code: 'not_authenticated' } });
    });

    test('prefers a token from a message to the request that opened the socket', async () => {
      await start(WsGateway, WsAdapter);
      const socket = await connect(bearer((await create('alice')).access));
      await ask(socket, 'authenticate', (await create('bob', 'SHORT')).access);
      expect(await ask(socket, 'whoami')).toMatchObject({ data: { userId: 'bob', sessionType: 'SHORT' } });
      expect(await ask(socket, 'long')).toMatchObject({ data: { statusCode: 403, code: 'session_type_not_allowed' } });
    });
  });
});
