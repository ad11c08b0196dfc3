import type { Provider } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import { Strategy } from 'passport-jwt';
import { TokenNotValidError } from '../multi-session.errors.js';
import type { CurrentSession } from '../session/session.js';
import { SessionService } from '../session/session.service.js';
import { Keyring } from '../token/keyring.js';
import { accessTokenOf } from './bearer.js';
import { HTTP_CONFIG, type HttpConfig } from './http.options.js';
import type { CredentialsCarrier } from './request.js';

/**
 * The same verdict as `JwtAuthGuard`, through Passport, for `AuthGuard('jwt')` and for chains with strategies of the
 * application: passport-jwt verifies the signature with the key that our keyring names, and the rest is asked of the service.
 */
export function jwtStrategyProvider(name: string): Provider {
  class JwtStrategy extends PassportStrategy(Strategy, name) {
    constructor(
      keyring: Keyring,
      config: HttpConfig,
      private readonly sessions: SessionService,
    ) {
      const options = keyring.verifyOptions();
      super({
        jwtFromRequest: (request: CredentialsCarrier) => tokenOrNull(request, config),
        secretOrKeyProvider: (_request: unknown, token: string, done: (error: Error | null, key?: never) => void) => {
          const key = keyring.keyOf(token);
          done(key ? null : new Error('no such key'), key?.verifyingKey as never);
        },
        // Said twice: passport-jwt takes issuer and audience from here alone, and ignoreNotBefore from there alone.
        ...options,
        jsonWebTokenOptions: options,
      });
    }

    /** Null lets a chain go on to its next strategy; a server's fault ends it. */
    async validate(claims: Record<string, unknown>): Promise<CurrentSession | null> {
      try {
        return await this.sessions.verifyClaims(claims);
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

function tokenOrNull(request: CredentialsCarrier, config: HttpConfig): string | null {
  try {
    return accessTokenOf(request, config) ?? null;
  } catch {
    return null;
  }
}
