import { afterEach, describe, expect, test } from '@jest/globals';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Injectable,
  type ModuleMetadata,
  Req,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import {
  CurrentSession,
  JwtAuthGuard,
  MultiSessionConfigurationError,
  OptionalSession,
  Public,
  RequireRecentLogin,
  RequireSession,
  type SessionClaims,
  SessionService,
  SessionTypes,
  sessionOf,
} from 'nestjs-multisession';
import { MultiSessionPassportModule } from 'nestjs-multisession/passport';
import { ADAPTERS, bearer, startApp, type TestApp } from '../helpers/app.js';
import { selectedDatabases } from '../helpers/databases.js';
import { resigned } from '../helpers/tokens.js';

const [databaseName] = selectedDatabases();

/** A guard of the application that lets everybody pass and knows nothing of sessions. */
@Injectable()
class AnyoneGuard implements CanActivate {
  canActivate() {
    return true;
  }
}

/** A guard of the application that asks who is calling. */
@Injectable()
class AliceGuard implements CanActivate {
  canActivate(context: ExecutionContext) {
    return sessionOf(context)?.userId === 'alice';
  }
}

/** A subclass whose tokens are in a header of their own, without a scheme. */
@Injectable()
class TokenGuard extends JwtAuthGuard {
  protected override getRequest(context: ExecutionContext) {
    const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string | undefined> }>();
    const { 'x-token': token } = headers;
    return token === undefined ? undefined : { headers: { authorization: `Bearer ${token}` } };
  }
}

/** A subclass that demands more: only bob may pass. */
@Injectable()
class OnlyBobGuard extends JwtAuthGuard {
  protected override async sessionOf(carrier: object): Promise<SessionClaims> {
    const session = await super.sessionOf(carrier);
    if (session?.userId !== 'bob') throw new Error('not bob');
    return session;
  }
}

describe.each(ADAPTERS)('on %s', (adapter) => {
  let app: TestApp;
  const start = async (controller: Type, more: Partial<ModuleMetadata> = {}) =>
    (app = await startApp({
      databaseName,
      adapter,
      controllers: [controller],
      imports: [MultiSessionPassportModule.forRoot(), ...(more.imports ?? [])],
      providers: more.providers,
    }));
  const create = (type = 'LONG', userId = 'alice') => app.get(SessionService).create(userId, { type });
  const get = (path: string, token?: string) => app.request('GET', path, { headers: token ? bearer(token) : {} });
  const statuses = async (path: string) => [
    (await get(path)).status,
    (await get(path, (await create('SHORT')).access)).status,
    (await get(path, (await create('LONG')).access)).status,
  ];
  afterEach(() => app.close());

  describe('@SessionTypes and @RequireRecentLogin bring their own check', () => {
    @Controller()
    class RestrictedController {
      @Get('alone')
      @SessionTypes('LONG')
      alone(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('passport-above')
      @UseGuards(AuthGuard('jwt'))
      @SessionTypes('LONG')
      passportAbove(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('passport-below')
      @SessionTypes('LONG')
      @UseGuards(AuthGuard('jwt'))
      passportBelow(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('anyone')
      @SessionTypes('LONG')
      @UseGuards(AnyoneGuard)
      anyone(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('recent-alone')
      @RequireRecentLogin('10m')
      recent(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('recent-passport')
      @RequireRecentLogin('10m')
      @UseGuards(AuthGuard('jwt'))
      recentPassport(@CurrentSession('userId') userId: string) {
        return { userId };
      }
    }

    @Controller('class')
    @SessionTypes('LONG')
    @RequireRecentLogin('10m')
    class RestrictedClass {
      @Get()
      get() {
        return {};
      }

      @Get('passport')
      @UseGuards(AuthGuard('jwt'))
      passport() {
        return {};
      }
    }

    test.each([
      ['without a guard', '/alone'],
      ['under `AuthGuard` of Passport above', '/passport-above'],
      ['under `AuthGuard` of Passport below', '/passport-below'],
      ['under a guard that lets everybody pass', '/anyone'],
    ])('of the types, %s', async (_, path) => {
      await start(RestrictedController);
      expect(await statuses(path)).toEqual([401, 403, 200]);
      expect((await get(path, (await create()).access)).body).toEqual({ userId: 'alice' });
    });

    test.each([
      ['without a guard', '/recent-alone'],
      ['under `AuthGuard` of Passport', '/recent-passport'],
    ])('of the last login, %s', async (_, path) => {
      await start(RestrictedController);
      const { access } = await create();
      const claims = { auth_time: Math.floor(Date.now() / 1000) - 700 };
      expect((await get(path)).status).toBe(401);
      expect(await get(path, resigned(access, { claims }))).toMatchObject({
        status: 401,
        body: { code: 'reauthentication_required' },
      });
      expect((await get(path, access)).status).toBe(200);
    });

    test.each(['/class', '/class/passport'])('on a class, at %s', async (path) => {
      await start(RestrictedClass);
      expect(await statuses(path)).toEqual([401, 403, 200]);
    });

    test('under a global guard of the application', async () => {
      await start(RestrictedController, { providers: [{ provide: APP_GUARD, useClass: AnyoneGuard }] });
      expect(await statuses('/alone')).toEqual([401, 403, 200]);
    });

    test('after the session has ended', async () => {
      await start(RestrictedController);
      const { access, session } = await create();
      await app.get(SessionService).destroy(session.id);
      for (const path of ['/alone', '/passport-above', '/passport-below', '/anyone', '/recent-passport'])
        expect({ path, status: (await get(path, access)).status }).toEqual({ path, status: 401 });
    });
  });

  describe('@CurrentSession', () => {
    @Controller()
    class SessionController {
      @Get('unguarded')
      unguarded(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('anyone')
      @UseGuards(AnyoneGuard)
      anyone(@CurrentSession() session: SessionClaims) {
        return session;
      }

      @Get('optional')
      @OptionalSession()
      optional(@CurrentSession('userId') userId?: string) {
        return { userId: userId ?? null };
      }

      @Get('public')
      @Public()
      @UseGuards(JwtAuthGuard)
      public(@CurrentSession('userId') userId?: string) {
        return { userId: userId ?? null };
      }

      @Get('public-passport')
      @Public()
      @UseGuards(AuthGuard('jwt'))
      publicPassport(@CurrentSession('userId') userId?: string) {
        return { userId: userId ?? null };
      }

      @Get('subclass')
      @UseGuards(TokenGuard)
      subclass(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('subclass/long')
      @SessionTypes('LONG')
      @UseGuards(TokenGuard)
      subclassLong(@CurrentSession('userId') userId: string) {
        return { userId };
      }

      @Get('alice')
      @UseGuards(JwtAuthGuard, AliceGuard)
      alice(@CurrentSession('userId') userId: string, @Req() { user }: { user: SessionClaims }) {
        return { userId, user: user.userId };
      }

      @Get('bob')
      @UseGuards(JwtAuthGuard, OnlyBobGuard)
      bob(@CurrentSession('userId') userId: string) {
        return { userId };
      }
    }

    test.each(['/unguarded', '/anyone'])('fails if no guard of ours has identified the caller: %s', async (path) => {
      await start(SessionController);
      app.app.useLogger(false);
      for (const token of [undefined, (await create()).access])
        expect(await get(path, token)).toMatchObject({ status: 500, body: { statusCode: 500 } });
    });

    test('is undefined on optional and public routes without a session', async () => {
      await start(SessionController);
      const { access } = await create();
      expect((await get('/optional', access)).body).toEqual({ userId: null });
      expect((await get('/public', access)).body).toEqual({ userId: null });
      expect((await get('/public-passport', access)).body).toEqual({ userId: null });
    });

    test('reads what a subclass with its own `getRequest` has verified', async () => {
      await start(SessionController);
      const { access } = await create();
      const short = (await create('SHORT')).access;
      const getWith = (path: string, token: string) => app.request('GET', path, { headers: { 'x-token': token } });
      expect((await getWith('/subclass', access)).body).toEqual({ userId: 'alice' });
      expect((await get('/subclass')).body.code).toBe('not_authenticated');
      expect((await get('/subclass', access)).status).toBe(401);
      expect((await getWith('/subclass/long', access)).body).toEqual({ userId: 'alice' });
      expect((await getWith('/subclass/long', short)).status).toBe(403);
    });

    test('is what `sessionOf` gives to guards of the application, and `request.user`', async () => {
      await start(SessionController);
      expect((await get('/alice', (await create()).access)).body).toEqual({ userId: 'alice', user: 'alice' });
      expect((await get('/alice', (await create('LONG', 'bob')).access)).status).toBe(403);
    });

    test('does not spare a caller the check of a stricter guard', async () => {
      await start(SessionController);
      app.app.useLogger(false);
      expect((await get('/bob', (await create('LONG', 'bob')).access)).body).toEqual({ userId: 'bob' });
      expect((await get('/bob', (await create()).access)).status).toBe(500);
    });
  });
});

describe('decorators that contradict each other stop the start', () => {
  @Controller()
  class PublicLong {
    @Get()
    @Public()
    @SessionTypes('LONG')
    get() {
      return {};
    }
  }

  @Controller()
  class OptionalRecent {
    @Get()
    @OptionalSession()
    @RequireRecentLogin('10m')
    get() {
      return {};
    }
  }

  @Controller()
  @Public()
  class PublicClass {
    @Get()
    @SessionTypes('LONG')
    get() {
      return {};
    }
  }

  @Controller()
  @RequireRecentLogin('10m')
  class OptionalMethod {
    @Get()
    @OptionalSession()
    get() {
      return {};
    }
  }

  @Controller()
  @Public()
  class Resolved {
    @Get()
    @RequireSession()
    @SessionTypes('LONG')
    get() {
      return {};
    }
  }

  @Controller()
  @SessionTypes('LONG')
  class Exception {
    @Get()
    @Public()
    get() {
      return {};
    }
  }

  test.each([
    ['@Public on the method', PublicLong, 'PublicLong.get: @SessionTypes() needs a session, but @Public()'],
    ['@Public on the class', PublicClass, 'PublicClass.get: @SessionTypes() needs a session, but @Public()'],
    [
      '@OptionalSession on the method',
      OptionalRecent,
      'OptionalRecent.get: @RequireRecentLogin() needs a session, but @OptionalSession()',
    ],
    [
      '@OptionalSession in a restricted class',
      OptionalMethod,
      'OptionalMethod.get: @RequireRecentLogin() needs a session, but @OptionalSession()',
    ],
  ])('%s', async (_, controller, message) => {
    const started = startApp({ databaseName, controllers: [controller] });
    await expect(started).rejects.toThrow(MultiSessionConfigurationError);
    await expect(started).rejects.toThrow(message);
    await expect(started).rejects.toThrow('add @RequireSession() to the method');
  });

  test.each([
    ['@RequireSession resolves it', Resolved, 401],
    ['a public method is the exception of a restricted class', Exception, 200],
  ])('%s', async (_, controller, status) => {
    const app = await startApp({ databaseName, controllers: [controller] });
    expect((await app.request('GET', '/')).status).toBe(status);
    await app.close();
  });
});
