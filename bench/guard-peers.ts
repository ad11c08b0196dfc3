import { createSecretKey } from 'node:crypto';
import {
  type CanActivate,
  type ExecutionContext,
  Inject,
  Injectable,
  type Type,
  UnauthorizedException,
} from '@nestjs/common';
import { JwtModule, JwtService } from '@nestjs/jwt';
import { AuthGuard, PassportModule, PassportStrategy } from '@nestjs/passport';
import { ExtractJwt, Strategy } from 'passport-jwt';
import {
  bearer,
  type Callers,
  controllerWith,
  type GuardedRequest,
  type GuardedRoute,
  SESSIONS,
} from './guard-route.js';
import { SECRET } from './engine.js';
import { USER_ID } from './session-app.js';

export const PassportGuard = AuthGuard('jwt') as Type<CanActivate>;

/** A route without a guard: the cost of Nest itself. */
export function unguarded(): GuardedRoute {
  return { metadata: { controllers: [controllerWith()] }, callers: tokenHolders };
}

/** A guard that accepts everything: the least that any guard costs. */
export function acceptAll(): GuardedRoute {
  @Injectable()
  class AcceptAllGuard implements CanActivate {
    canActivate() {
      return true;
    }
  }
  return { metadata: { controllers: [controllerWith(AcceptAllGuard)] }, callers: tokenHolders };
}

/** passport-jwt as documented at https://docs.nestjs.com/recipes/passport, with the secret as a string or as a `KeyObject`. */
export function passport(secretOrKey: unknown): GuardedRoute {
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
    metadata: {
      imports: [PassportModule],
      providers: [JwtStrategy],
      controllers: [controllerWith(PassportGuard)],
    },
    callers: tokenHolders,
  };
}

/** The guard documented at https://docs.nestjs.com/security/authentication, with a `KeyObject`. */
@Injectable()
class HandMadeGuard implements CanActivate {
  constructor(@Inject(JwtService) private readonly jwt: JwtService) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<GuardedRequest>();
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

export function handMade(): GuardedRoute {
  return {
    metadata: {
      imports: [JwtModule.register({ secret: createSecretKey(SECRET, 'utf8') })],
      controllers: [controllerWith(HandMadeGuard)],
    },
    callers: tokenHolders,
  };
}

/** Issues tokens with the same claims and the same length as ours. */
function tokenHolders(): Promise<Callers> {
  const jwt = new JwtService({ secret: SECRET });
  const tokens = Array.from({ length: SESSIONS }, (_, at) =>
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
  return Promise.resolve({ userId: USER_ID, credentials: tokens.map(bearer) });
}
