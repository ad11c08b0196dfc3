import { createSecretKey } from 'node:crypto';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Inject,
  Injectable,
  Module,
  type ModuleMetadata,
  Req,
  type Type,
  UnauthorizedException,
  UseGuards,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtModule, JwtService } from '@nestjs/jwt';
import { AuthGuard, PassportModule, PassportStrategy } from '@nestjs/passport';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { type CurrentSessionClaims, JwtAuthGuard, SessionService } from 'nestjs-multisession';
import { ExtractJwt, Strategy } from 'passport-jwt';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { multiSessionImports, SECRET, USER_ID } from './session-app.js';

export type AdapterName = 'express' | 'fastify';

/** The ways to guard a route that are compared; from `signature` on they are this library's, one with a query by hand behind it. */
export const GUARDS = [
  'none',
  'passport-string',
  'passport-key',
  'hand-made',
  'signature',
  'blacklist',
  'session',
  'session-by-hand',
  'strategy',
] as const;
export type GuardName = (typeof GUARDS)[number];

/** A running application with one route, `GET /me`, that answers the user's id: `nobody` where no guard found one. */
export interface GuardApp {
  readonly url: string;
  /** Access tokens that the route takes. */
  readonly tokens: string[];
  /** An access token whose session has ended, where there are sessions. */
  readonly endedToken?: string;
  close(): Promise<void>;
}

const SESSIONS = 20;

interface RequestWithUser {
  user?: { userId: string };
  headers: { authorization?: string };
}

function controllerWith(guard: Type<CanActivate> | undefined): Type {
  @Controller()
  class MeController {
    @Get('me')
    me(@Req() request: RequestWithUser) {
      return { user_id: request.user?.userId ?? 'nobody' };
    }
  }
  if (guard) UseGuards(guard)(MeController);
  return MeController;
}

const PassportGuard = AuthGuard('jwt') as Type<CanActivate>;

// ─── The peers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** As https://docs.nestjs.com/recipes/passport has it, with the secret as text or as a key imported once. */
function passport(secretOrKey: unknown): ModuleMetadata {
  @Injectable()
  class JwtStrategy extends PassportStrategy(Strategy) {
    constructor() {
      super({
        jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
        ignoreExpiration: false,
        secretOrKey: secretOrKey as string,
      });
    }

    validate(payload: { sub: string }) {
      return { userId: payload.sub };
    }
  }
  return {
    imports: [PassportModule],
    providers: [JwtStrategy],
    controllers: [controllerWith(PassportGuard)],
  };
}

/** As https://docs.nestjs.com/security/authentication has it, with a key imported once. */
@Injectable()
class HandMadeGuard implements CanActivate {
  constructor(@Inject(JwtService) private readonly jwt: JwtService) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<RequestWithUser>();
    const [type, token] = request.headers.authorization?.split(' ') ?? [];
    if (type !== 'Bearer') throw new UnauthorizedException();
    try {
      const payload = await this.jwt.verifyAsync<{ sub: string }>(token);
      request.user = { userId: payload.sub };
    } catch {
      throw new UnauthorizedException();
    }
    return true;
  }
}

function handMade(): ModuleMetadata {
  return {
    imports: [JwtModule.register({ secret: createSecretKey(SECRET, 'utf8') })],
    controllers: [controllerWith(HandMadeGuard)],
  };
}

/** A token with the claims and the length of ours. */
function peerTokens(): string[] {
  const jwt = new JwtService({ secret: SECRET });
  return Array.from({ length: SESSIONS }, (_, at) =>
    jwt.sign(
      {
        token_type: 'access',
        jti: String(at).padStart(32, '0'),
        sub: USER_ID,
        sid: '01990000-0000-7000-8000-000000000000',
        gen: 1,
        session_type: 'LONG',
      },
      { expiresIn: '1d', keyid: 'a-kid-as-ours', header: { alg: 'HS256', typ: 'at+jwt' } },
    ),
  );
}

// ─── This library ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Sessions that have been refreshed once, as most are. The last one has ended. */
async function createSessions(sessions: SessionService): Promise<string[]> {
  const tokens: string[] = [];
  for (let count = 0; count <= SESSIONS; count++) {
    const { refresh } = await sessions.create(USER_ID, { type: 'LONG' });
    const { access, session } = await sessions.refresh(refresh);
    if (count === SESSIONS) await sessions.destroy(session.id);
    tokens.push(access);
  }
  return tokens;
}

/** The signature as we check it, and then the row by a named statement of `pg`: as little as the check `session` can be. */
@Injectable()
class QueryByHandGuard extends JwtAuthGuard {
  @Inject(DataSource) private readonly dataSource!: DataSource;

  override async canActivate(context: ExecutionContext): Promise<boolean> {
    await super.canActivate(context);
    const { user } = context.switchToHttp().getRequest<{ user: CurrentSessionClaims }>();
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

// ─── Putting one together ───────────────────────────────────────────────────────────────────────────────────────────────

function metadataOf(guard: GuardName, database: DataSourceOptions): ModuleMetadata {
  switch (guard) {
    case 'none':
      return { controllers: [controllerWith(undefined)] };
    case 'passport-string':
      return passport(SECRET);
    case 'passport-key':
      return passport(createSecretKey(SECRET, 'utf8'));
    case 'hand-made':
      return handMade();
    case 'signature':
    case 'blacklist':
    case 'session':
      return {
        imports: multiSessionImports(database, { accessCheck: guard }),
        controllers: [controllerWith(JwtAuthGuard)],
      };
    case 'session-by-hand':
      return {
        imports: multiSessionImports(database, { accessCheck: 'signature' }),
        controllers: [controllerWith(QueryByHandGuard)],
      };
    case 'strategy':
      return { imports: multiSessionImports(database, {}), controllers: [controllerWith(PassportGuard)] };
  }
}

export async function startGuardApp(
  guard: GuardName,
  adapter: AdapterName,
  database: DataSourceOptions,
): Promise<GuardApp> {
  @Module(metadataOf(guard, database))
  class AppModule {}

  const app =
    adapter === 'fastify'
      ? await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter(), { logger: false })
      : await NestFactory.create(AppModule, new ExpressAdapter(), { logger: false });
  await app.listen(0, '127.0.0.1');
  const url = `${await app.getUrl()}/me`;
  const close = () => app.close();
  if (['none', 'passport-string', 'passport-key', 'hand-made'].includes(guard)) {
    return { url, tokens: peerTokens(), close };
  }
  const tokens = await createSessions(app.get(SessionService));
  return { url, endedToken: tokens.pop(), tokens, close };
}
