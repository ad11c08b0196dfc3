import { randomBytes } from 'node:crypto';
import type { AddressInfo, Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  Controller,
  type ExecutionContext,
  Injectable,
  type PipeTransform,
  UseGuards,
  ValidationPipe,
} from '@nestjs/common';
import {
  type ClientProxy,
  ClientProxyFactory,
  MessagePattern,
  type MicroserviceOptions,
  Payload,
  RmqRecordBuilder,
  Transport,
} from '@nestjs/microservices';
import { Allow, IsObject, IsOptional, IsString } from 'class-validator';
import {
  CurrentSession,
  JwtAuthGuard,
  OptionalSession,
  Public,
  type SessionClaims,
  SessionService,
  SessionTypes,
} from 'nestjs-multisession';
import { lastValueFrom, timeout } from 'rxjs';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { RABBITMQ_URL } from '../helpers/rabbitmq.js';
import { REDIS_URL } from '../helpers/redis.js';
import { expired } from '../helpers/tokens.js';

/** A payload whose class names every member that may be there. */
class NoteDto {
  @IsString()
  text!: string;

  /** The access token of the caller. */
  @IsOptional()
  @IsObject()
  headers?: Record<string, string>;
}

class AnyDto {
  @Allow()
  user?: unknown;
}

/** A subclass for callers that have no headers: their token is in the payload, under a name of its own. */
@Injectable()
class TicketGuard extends JwtAuthGuard {
  protected override getRequest(context: ExecutionContext) {
    return { auth: { token: context.switchToRpc().getData<{ ticket?: string }>().ticket } };
  }
}

/** Takes its time, so that another message overtakes this one between the guard and the handler. */
@Injectable()
class SlowPipe implements PipeTransform {
  async transform(value: { delay?: number }) {
    await new Promise((resolve) => setTimeout(resolve, value.delay ?? 0));
    return value;
  }
}

@Controller()
@UseGuards(JwtAuthGuard)
class NotesController {
  @MessagePattern('whoami')
  whoami(@CurrentSession() { userId, sessionType }: SessionClaims) {
    return { userId, sessionType };
  }

  @MessagePattern('write')
  write(
    @Payload(new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true })) note: NoteDto,
    @CurrentSession('userId') userId: string,
  ) {
    return { userId, text: note.text };
  }

  @MessagePattern('members')
  members(@Payload() payload: object, @CurrentSession('userId') userId: string) {
    return { userId, members: Object.keys(payload) };
  }

  @MessagePattern('long')
  @SessionTypes('LONG')
  long(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @MessagePattern('optional')
  @OptionalSession()
  optional(@Payload() _: AnyDto, @CurrentSession('userId') userId?: string) {
    return { userId: userId ?? null };
  }

  @MessagePattern('public')
  @Public()
  public(@Payload() _: AnyDto, @CurrentSession() session?: SessionClaims) {
    return { session: session ?? null };
  }

  @MessagePattern('slow')
  slow(@Payload(SlowPipe) _: unknown, @CurrentSession('userId') userId: string) {
    return { userId };
  }
}

@Controller()
class OtherController {
  @MessagePattern('ticket')
  @UseGuards(TicketGuard)
  ticket(@CurrentSession('userId') userId: string) {
    return { userId };
  }

  @MessagePattern('unguarded')
  unguarded(@CurrentSession() session: SessionClaims) {
    return { session };
  }
}

const name = `ms_test_${randomBytes(6).toString('hex')}`;
const { hostname, port } = new URL(REDIS_URL);
const redis = { host: hostname, port: Number(port || 6379) };

interface Kind {
  readonly options: () => MicroserviceOptions;
  /** A client of the server that listens. */
  readonly client: (server: Server) => ClientProxy;
  /** The data of a message that carries a token. */
  readonly carrying: (headers: Record<string, string>, payload: object) => unknown;
}

const inPayload = (headers: Record<string, string>, payload: object) => ({ ...payload, headers });

const rabbit = () => ({
  transport: Transport.RMQ as const,
  options: { urls: [RABBITMQ_URL], queue: name, queueOptions: { durable: false, autoDelete: true } },
});

const KINDS: Readonly<Record<string, Kind>> = {
  TCP: {
    options: () => ({ transport: Transport.TCP, options: { host: '127.0.0.1', port: 0 } }),
    client: (server) => {
      const options = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
      return ClientProxyFactory.create({ transport: Transport.TCP, options });
    },
    carrying: inPayload,
  },
  Redis: {
    options: () => ({ transport: Transport.REDIS, options: redis }),
    client: () => ClientProxyFactory.create({ transport: Transport.REDIS, options: redis }),
    carrying: inPayload,
  },
  'RabbitMQ, in the headers of the message': {
    options: rabbit,
    client: () => ClientProxyFactory.create(rabbit()),
    carrying: (headers, payload) => new RmqRecordBuilder(payload).setOptions({ headers }).build(),
  },
  'RabbitMQ, in the payload': {
    options: rabbit,
    client: () => ClientProxyFactory.create(rabbit()),
    carrying: inPayload,
  },
};

const hasServers = selectedDatabases().some((database) => database === 'postgres' || database === 'mariadb');
const selected = Object.keys(KINDS).filter((kind) => hasServers || kind === 'TCP');

describe.each(selected)('a microservice behind %s', (kind) => {
  const { options, client: createClient, carrying } = KINDS[kind];
  let app: TestApp;
  let client: ClientProxy;
  beforeAll(async () => {
    app = await startApp({
      databaseName: selectedDatabases()[0],
      controllers: [NotesController, OtherController],
      options: { cookies: true },
    });
    const microservice = app.app.connectMicroservice(options());
    await app.app.startAllMicroservices();
    client = createClient(microservice.unwrap<Server>());
    await client.connect();
  });
  afterAll(async () => {
    await client.close();
    await app.close();
  });

  const create = (userId = 'alice', type = 'LONG') => app.get(SessionService).create(userId, { type });
  const send = (pattern: string, data: unknown) =>
    lastValueFrom(client.send<unknown>(pattern, data).pipe(timeout(20_000))).catch((error: unknown) => error);
  const sendAs = (token: string, pattern: string, payload: object = {}) =>
    send(pattern, carrying(bearer(token), payload));

  test('knows the caller', async () => {
    expect(await sendAs((await create()).access, 'whoami')).toEqual({ userId: 'alice', sessionType: 'LONG' });
    expect(await sendAs((await create()).access, 'optional')).toEqual({ userId: 'alice' });
    const { access } = await create();
    expect(await send('whoami', carrying({ Authorization: `Bearer ${access}` }, {}))).toMatchObject({
      userId: 'alice',
    });
  });

  test('refuses with the body of the HTTP answer', async () => {
    expect(await send('whoami', {})).toEqual({
      statusCode: 401,
      error: 'Unauthorized',
      message: expect.any(String),
      code: 'not_authenticated',
    });
    const { access, session } = await create();
    expect(await sendAs(expired(access), 'whoami')).toMatchObject({ code: 'token_not_valid' });
    expect(await sendAs((await create('alice', 'SHORT')).access, 'long')).toMatchObject({
      statusCode: 403,
      code: 'session_type_not_allowed',
    });
    expect(await sendAs(access, 'long')).toEqual({ userId: 'alice' });
    await app.get(SessionService).destroy(session.id);
    for (const pattern of ['whoami', 'long', 'optional'])
      expect(await sendAs(access, pattern)).toMatchObject({ statusCode: 401, code: 'token_not_valid' });
  });

  test('takes no identity from the payload', async () => {
    const payload = { user: { userId: 'admin' }, session: { userId: 'admin' } };
    expect(await send('optional', payload)).toEqual({ userId: null });
    expect(await send('public', payload)).toEqual({ session: null });
    expect(await send('whoami', payload)).toMatchObject({ code: 'not_authenticated' });
    const { access } = await create();
    expect(await sendAs(access, 'optional', payload)).toEqual({ userId: 'alice' });
    expect(await sendAs(access, 'public', payload)).toEqual({ session: null });
  });

  test('writes nothing into the payload', async () => {
    const { access } = await create();
    expect(await sendAs(access, 'write', { text: 'a note' })).toEqual({ userId: 'alice', text: 'a note' });
    const answer = (await sendAs(access, 'members', { text: 'a note' })) as { members: string[] };
    expect(answer.members.filter((member) => member !== 'headers')).toEqual(['text']);
  });

  test('reads no cookies', async () => {
    const { access } = await create();
    const headers = { cookie: `__Host-session-access=${access}`, origin: 'https://app.example', host: 'app.example' };
    expect(await send('whoami', carrying(headers, {}))).toMatchObject({ code: 'not_authenticated' });
  });

  test('does not mix up messages that overtake each other', async () => {
    const [alice, bob] = [await create('alice'), await create('bob')];
    const slow = sendAs(alice.access, 'slow', { delay: 300 });
    const fast = await sendAs(bob.access, 'slow', { delay: 0 });
    expect([await slow, fast]).toEqual([{ userId: 'alice' }, { userId: 'bob' }]);
  });

  test('reads the token where a subclass finds it', async () => {
    const { access } = await create();
    expect(await send('ticket', { ticket: access })).toEqual({ userId: 'alice' });
    expect(await send('ticket', {})).toMatchObject({ statusCode: 401, code: 'not_authenticated' });
  });

  test('fails if no guard has identified the caller', async () => {
    app.app.useLogger(false);
    const { access } = await create();
    expect(await sendAs(access, 'unguarded')).toEqual({ status: 'error', message: 'Internal server error' });
  });
});
