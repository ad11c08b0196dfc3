import { createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  type CanActivate,
  type ExecutionContext,
  Inject,
  Injectable,
  type Type,
  UnauthorizedException,
} from '@nestjs/common';
import {
  type SessionClaims,
  JwtAuthGuard,
  type MultiSessionOptions,
  type SessionPolicyOptions,
  SessionService,
} from 'nestjs-multisession';
import { MultiSessionPassportModule } from 'nestjs-multisession/passport';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { betterAuthRoute, expressSessionRoute } from './guard-cookie-peers.js';
import { acceptAll, handMade, passport, PassportGuard, unguarded } from './guard-peers.js';
import {
  type AdapterName,
  bearer,
  type Callers,
  controllerWith,
  type Credentials,
  type GuardedRoute,
  listen,
  SESSIONS,
} from './guard-route.js';
import { SECRET } from './engine.js';
import { multiSessionImports, USER_ID } from './session-app.js';

/** The guards to compare. Those from `signature` on belong to this library. `session-by-hand` adds a hand-written query. */
export const GUARDS = [
  'none',
  'accept-all',
  'passport-string',
  'passport-key',
  'hand-made',
  'better-auth-cookie',
  'better-auth-database',
  'express-session',
  'signature',
  'blacklist',
  'blacklist-rs256',
  'blacklist-es256',
  'session',
  'session-by-hand',
  'strategy',
] as const;
export type GuardName = (typeof GUARDS)[number];

/** A running application with a guarded route at `url`. */
export interface GuardApp extends Callers {
  readonly url: string;
  readonly close: () => Promise<void>;
}

/** A route in an application with `MultiSessionModule`, behind our guard or another one. */
export function ours(
  database: DataSourceOptions,
  policy: Partial<SessionPolicyOptions> = {},
  more: Partial<MultiSessionOptions> = {},
  guard: Type<CanActivate> = JwtAuthGuard,
): GuardedRoute {
  return {
    metadata: { imports: multiSessionImports(database, policy, more), controllers: [controllerWith(guard)] },
    callers: (app) => createSessions(app.get(SessionService)),
  };
}

function ourStrategy(database: DataSourceOptions): GuardedRoute {
  const route = ours(database, {}, {}, PassportGuard);
  const imports = [...(route.metadata.imports ?? []), MultiSessionPassportModule.forRoot()];
  return { ...route, metadata: { ...route.metadata, imports } };
}

/** Creates sessions that have been refreshed once, like most sessions in practice. */
async function createSessions(sessions: SessionService): Promise<Callers> {
  const credentials: Credentials[] = [];
  for (let count = 0; count <= SESSIONS; count++) {
    const { refresh } = await sessions.create(USER_ID, { type: 'LONG' });
    const { access, session } = await sessions.refresh(refresh);
    if (count === SESSIONS) await sessions.destroy(session.id);
    credentials.push(bearer(access));
  }
  return { userId: USER_ID, ended: credentials.pop(), credentials };
}

function signedWith(algorithm: 'RS256' | 'ES256', privateKey: KeyObject): Partial<MultiSessionOptions> {
  return { jwt: { keys: [{ algorithm, privateKey }], accessTokenLifetime: '1d' } };
}

/** Checks the signature with our guard and reads the row with a named statement of `pg`: the minimum for the check `session`. */
@Injectable()
class QueryByHandGuard extends JwtAuthGuard {
  @Inject(DataSource) private readonly dataSource!: DataSource;

  override async canActivate(context: ExecutionContext): Promise<boolean> {
    await super.canActivate(context);
    const { user } = context.switchToHttp().getRequest<{ user: SessionClaims }>();
    const { master: pool } = this.dataSource.driver as unknown as {
      master: { query(given: object): Promise<{ rows: { user_id: string; type: string; expires_at: string }[] }> };
    };
    const text = 'SELECT user_id, type, expires_at FROM user_session WHERE id = $1';
    const { rows } = await pool.query({ name: 'check', text, values: [user.sessionId] });
    const [row] = rows;
    if (row?.user_id === user.userId && row.type === user.sessionType && Number(row.expires_at) > Date.now())
      return true;
    throw new UnauthorizedException();
  }
}

function routeOf(guard: GuardName, database: DataSourceOptions): GuardedRoute | Promise<GuardedRoute> {
  const { url } = database as { url: string };
  switch (guard) {
    case 'none':
      return unguarded();
    case 'accept-all':
      return acceptAll();
    case 'passport-string':
      return passport(SECRET);
    case 'passport-key':
      return passport(createSecretKey(SECRET, 'utf8'));
    case 'hand-made':
      return handMade();
    case 'better-auth-cookie':
      return betterAuthRoute(url, 'cookie cache');
    case 'better-auth-database':
      return betterAuthRoute(url, 'database');
    case 'express-session':
      return expressSessionRoute(url);
    case 'signature':
    case 'blacklist':
    case 'session':
      return ours(database, { accessCheck: guard });
    case 'blacklist-rs256':
      return ours(database, {}, signedWith('RS256', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey));
    case 'blacklist-es256':
      return ours(database, {}, signedWith('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey));
    case 'session-by-hand':
      return ours(database, { accessCheck: 'signature' }, {}, QueryByHandGuard);
    case 'strategy':
      return ourStrategy(database);
  }
}

export async function startGuardApp(
  guard: GuardName,
  adapter: AdapterName,
  database: DataSourceOptions,
): Promise<GuardApp> {
  const route = await routeOf(guard, database);
  const { app, url } = await listen(route, adapter);
  const close = async () => {
    await app.close();
    await route.close?.();
  };
  return { ...(await route.callers(app)), url, close };
}
