import type { Provider } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import { Strategy } from 'passport-jwt';
import { TokenNotValidError } from '../errors.js';
import type { SessionClaims } from '../token/access-token.js';
import { SessionService } from '../session/service.js';
import { Keyring } from '../token/keyring.js';
import { accessTokenOf, sessionOfCookies } from '../http/bearer.js';
import { HTTP_CONFIG, type HttpConfig } from '../http/options.js';
import type { CredentialsCarrier } from '../http/request.js';
import { cookieValues } from '../http/session-cookies.js';

/**
 * The same verdict as `JwtAuthGuard`, through Passport, for `AuthGuard('jwt')` and for chains with strategies of the
 * application: passport-jwt verifies the signature with the key that our keyring names, and the rest is asked of the service.
 */
export function jwtStrategyProvider(name: string): Provider {
  class JwtStrategy extends PassportStrategy(Strategy, name) {
    constructor(
      keyring: Keyring,
      private readonly config: HttpConfig,
      private readonly sessions: SessionService,
    ) {
      const options = keyring.verifyOptions();
      super({
        jwtFromRequest: (request: CredentialsCarrier) => tokenOrNull(request, config, keyring),
        secretOrKeyProvider: (_request: unknown, token: string, done: (error: Error | null, key?: never) => void) => {
          const key = keyring.keyOf(token);
          done(key ? null : new Error('no such key'), key?.verifyingKey as never);
        },
        // Said twice: passport-jwt takes issuer and audience from here alone, and ignoreNotBefore from there alone.
        ...options,
        jsonWebTokenOptions: options,
        passReqToCallback: true,
      });
    }

    /** Null lets a chain go on to its next strategy; a server's fault ends it. */
    async validate(request: CredentialsCarrier, claims: Record<string, unknown>): Promise<SessionClaims | null> {
      const { config, sessions } = this;
      try {
        if (!config.cookies || accessTokenOf(request, config) !== undefined) return await sessions.verifyClaims(claims);
        return (await sessionOfCookies(request, config.cookies, sessions)) ?? null;
      } catch (error) {
        if (error instanceof TokenNotValidError) return null;
        throw error;
      }
    }
  }
  return {
    provide: `MULTI_SESSION_JWT_STRATEGY_${name}`,
    useFactory: (keyring: Keyring, config: HttpConfig, sessions: SessionService) =>
      new JwtStrategy(keyring, config, sessions),
    inject: [Keyring, HTTP_CONFIG, SessionService],
  };
}

/** Of several cookies, one that passport-jwt can go on with: each of them is tried in `validate`. */
function tokenOrNull(request: CredentialsCarrier, config: HttpConfig, keyring: Keyring): string | null {
  try {
    const token = accessTokenOf(request, config);
    if (token !== undefined || !config.cookies) return token ?? null;
    return cookieValues(request, config.cookies.access).find((candidate) => keyring.verify(candidate)) ?? null;
  } catch {
    return null;
  }
}
