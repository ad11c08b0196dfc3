import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type ExecutionContext, Injectable, UseGuards } from '@nestjs/common';
import { APP_GUARD, ExternalContextCreator } from '@nestjs/core';
import {
  CurrentSession,
  JwtAuthGuard,
  OptionalSession,
  Public,
  type SessionClaims,
  SessionService,
} from 'nestjs-multisession';
import { startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';

/** What a library for chat bots gives to its handlers. */
interface Update {
  chat: { token?: string };
  user?: unknown;
}

/** Finds the token of a chat. */
@Injectable()
class ChatGuard extends JwtAuthGuard {
  protected override getRequest(context: ExecutionContext) {
    return { auth: { token: context.getArgByIndex<Update>(0).chat.token } };
  }
}

@Injectable()
class BotHandlers {
  required() {
    return 'passed';
  }

  @OptionalSession()
  optional() {
    return 'passed';
  }

  @Public()
  public(_update: Update, @CurrentSession() session?: SessionClaims) {
    return session ?? 'nobody';
  }

  @UseGuards(ChatGuard)
  @Public()
  publicChat() {
    return 'passed';
  }
}

@Injectable()
@UseGuards(ChatGuard)
class ChatHandlers {
  whoami(_update: Update, @CurrentSession('userId') userId: string) {
    return userId;
  }

  @OptionalSession()
  perhaps(_update: Update, @CurrentSession('userId') userId?: string) {
    return userId ?? 'nobody';
  }
}

const PARAMS = 'bot:params';

/** Injects the parameters of `@CurrentSession()` as such a library does. */
class BotParams {
  exchangeKeyForValue(): undefined {
    return undefined;
  }
}

describe.each(['bot', 'http'])('a transport that the library does not know, which calls itself %s', (type) => {
  let app: TestApp;
  const closers: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    app = await startApp({ databaseName: selectedDatabases()[0], providers: [ChatHandlers] });
  });
  afterAll(async () => {
    for (const close of closers) await close();
    await app.close();
  });

  /** Calls a handler as a library with a transport of its own does. */
  function call(
    application: TestApp,
    controller: new () => object,
    method: string,
    ...args: unknown[]
  ): Promise<unknown> {
    const instance = application.get(controller) as Record<string, (...args: unknown[]) => unknown>;
    const metadata = Reflect.getMetadata('__routeArguments__', controller, method) as object | undefined;
    if (metadata) Reflect.defineMetadata(PARAMS, metadata, controller, method);
    const creator = application.app.get(ExternalContextCreator);
    const options = { guards: true, interceptors: true, filters: false };
    const handler = creator.create(
      instance,
      instance[method],
      method,
      PARAMS,
      new BotParams(),
      undefined,
      undefined,
      options,
      type,
    );
    return handler(...args).catch((error: unknown) => error);
  }

  test('is closed under a global guard, except for public handlers', async () => {
    const guarded = await startApp({
      databaseName: selectedDatabases()[0],
      providers: [BotHandlers, { provide: APP_GUARD, useExisting: JwtAuthGuard }],
    });
    closers.push(() => guarded.close());
    guarded.app.useLogger(false);
    for (const args of [[], [undefined], [{ chat: {}, user: { userId: 'admin' } }]]) {
      for (const method of ['required', 'optional']) {
        const outcome = await call(guarded, BotHandlers, method, ...args);
        const isRequest = type === 'http' && typeof args[0] === 'object';
        if (isRequest && method === 'optional') expect(outcome).toBe('passed');
        else if (isRequest) expect(outcome).toMatchObject({ code: 'not_authenticated' });
        else
          expect(outcome).toMatchObject({
            message: expect.stringContaining(`BotHandlers.${method}: JwtAuthGuard does not know`),
          });
      }
      expect(await call(guarded, BotHandlers, 'public', ...args)).toBe('nobody');
    }
  });

  test('works with a subclass that finds the token, and its handlers know the caller', async () => {
    const { access, session } = await app.get(SessionService).create('alice', { type: 'LONG' });
    expect(await call(app, ChatHandlers, 'whoami', { chat: { token: access } })).toBe('alice');
    expect(await call(app, ChatHandlers, 'perhaps', { chat: { token: access } })).toBe('alice');
    expect(await call(app, ChatHandlers, 'perhaps', { chat: {}, user: { userId: 'admin' } })).toBe('nobody');
    expect(await call(app, ChatHandlers, 'whoami', { chat: {} })).toMatchObject({ code: 'not_authenticated' });
    await app.get(SessionService).destroy(session.id);
    expect(await call(app, ChatHandlers, 'whoami', { chat: { token: access } })).toMatchObject({
      code: 'token_not_valid',
    });
  });
});
