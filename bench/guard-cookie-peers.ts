import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  Post,
  Session,
  UnauthorizedException,
} from '@nestjs/common';
import { betterAuth } from 'better-auth';
import { getMigrations } from 'better-auth/db/migration';
import { fromNodeHeaders } from 'better-auth/node';
import connectPgSimple from 'connect-pg-simple';
import session from 'express-session';
import { Pool } from 'pg';
import {
  type Callers,
  controllerWith,
  cookiesOf,
  type Credentials,
  type GuardedRequest,
  type GuardedRoute,
  SESSIONS,
} from './guard-route.js';
import { SECRET } from './engine.js';
import { USER_ID } from './session-app.js';

/** Whether better-auth reads its database on each request or trusts a signed cookie with a copy of the session. */
export type BetterAuthCheck = 'cookie cache' | 'database';

/**
 * Sets up better-auth as documented at https://better-auth.com/docs, on a pool of `pg`. The cookie cache lasts longer than the
 * documented five minutes, because the load generator would not store the next cookie.
 */
function createBetterAuth(pool: Pool, check: BetterAuthCheck) {
  return betterAuth({
    database: pool,
    secret: SECRET,
    baseURL: 'http://127.0.0.1',
    emailAndPassword: { enabled: true },
    session: { cookieCache: { enabled: check === 'cookie cache', maxAge: 60 * 60 } },
    // Reads the session and its user with one statement instead of two.
    advanced: { database: { joins: true } },
    telemetry: { enabled: false },
  });
}

type BetterAuth = ReturnType<typeof createBetterAuth>;

/** A route behind better-auth's `getSession`. */
export async function betterAuthRoute(connectionString: string, check: BetterAuthCheck): Promise<GuardedRoute> {
  const pool = new Pool({ connectionString });
  const auth = createBetterAuth(pool, check);
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();

  @Injectable()
  class BetterAuthGuard implements CanActivate {
    async canActivate(context: ExecutionContext): Promise<boolean> {
      const request = context.switchToHttp().getRequest<GuardedRequest>();
      const found = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) });
      if (!found) throw new UnauthorizedException();
      request.user = { userId: found.user.id };
      return true;
    }
  }
  return {
    metadata: { controllers: [controllerWith(BetterAuthGuard)] },
    callers: () => signIn(auth),
    close: () => pool.end(),
  };
}

async function signIn(auth: BetterAuth): Promise<Callers> {
  const account = { email: 'carlos@example.org', password: 'a password for the benchmarks' };
  const { user } = await auth.api.signUpEmail({ body: { ...account, name: 'Carlos' } });
  const credentials: Credentials[] = [];
  for (let count = 0; count <= SESSIONS; count++) {
    const { headers } = await auth.api.signInEmail({ body: account, returnHeaders: true });
    credentials.push(cookiesOf(headers));
  }
  const ended = credentials.pop() as Credentials;
  await auth.api.signOut({ headers: new Headers(ended) });
  return { userId: user.id, credentials, ended };
}

interface ServerSideSession {
  userId?: string;
  destroy(callback: (error?: Error) => void): void;
}

@Injectable()
class ServerSideSessionGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<GuardedRequest & { session: ServerSideSession }>();
    const { userId } = request.session;
    if (userId === undefined) throw new UnauthorizedException();
    request.user = { userId };
    return true;
  }
}

@Controller()
class LoginController {
  @Post('login')
  login(@Session() current: ServerSideSession) {
    current.userId = USER_ID;
  }

  @Post('logout')
  logout(@Session() current: ServerSideSession): Promise<void> {
    return new Promise((resolve, reject) => current.destroy((error) => (error ? reject(error) : resolve())));
  }
}

/**
 * A route behind express-session, as documented at https://docs.nestjs.com/techniques/session, with the store of
 * connect-pg-simple. By default, it reads the session's row on each request and then writes a new expiry.
 */
export function expressSessionRoute(connectionString: string): GuardedRoute {
  const pool = new Pool({ connectionString });
  const store = new (connectPgSimple(session))({ pool, createTableIfMissing: true });
  return {
    metadata: { controllers: [controllerWith(ServerSideSessionGuard), LoginController] },
    middleware: session({ store, secret: SECRET, resave: false, saveUninitialized: false }),
    callers: logIn,
    close: () => {
      store.close();
      return pool.end();
    },
  };
}

async function logIn(app: INestApplication): Promise<Callers> {
  const url = await app.getUrl();
  const credentials: Credentials[] = [];
  for (let count = 0; count <= SESSIONS; count++) {
    credentials.push(cookiesOf((await fetch(`${url}/login`, { method: 'POST' })).headers));
  }
  const ended = credentials.pop() as Credentials;
  await fetch(`${url}/logout`, { method: 'POST', headers: ended });
  return { userId: USER_ID, credentials, ended };
}
