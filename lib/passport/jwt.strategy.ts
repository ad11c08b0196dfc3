import { PassportStrategy } from '@nestjs/passport';
import { Strategy } from 'passport-jwt';
import { TokenNotValidError } from '../errors.js';
import { provenCallOf } from '../http/authorization-header.js';
import { accessTokenOf, sessionOfCookies } from '../http/bearer.js';
import { rememberPassportSession } from '../http/callers.js';
import { cookieValues } from '../http/cookie-header.js';
import type { HttpConfig } from '../http/options.js';
import type { CredentialsCarrier } from '../http/request.js';
import type { AccessVerifier } from '../session/access-verifier.js';
import type { SessionService } from '../session/service.js';
import type { SessionClaims } from '../token/access-token.js';
import type { Keyring } from '../token/keyring.js';

// A registered symbol, because an application may load this file twice, for example in two Jest environments.
const OURS = Symbol.for('nestjs-multisession:passport-strategy');

/** The providers of the application's `MultiSessionModule` that the strategy uses. */
export interface StrategyParts {
  readonly keyring: Keyring;
  readonly config: HttpConfig;
  readonly sessions: SessionService;
  readonly verifier: AccessVerifier;
}

/**
 * Creates the strategy and registers it with Passport. passport-jwt verifies the signature with the key that our keyring
 * selects. `SessionService` checks everything else, so the strategy accepts the same tokens as `JwtAuthGuard`.
 *
 * @param name the name for `AuthGuard(name)`
 * @returns the registered strategy
 */
export function registerStrategy(name: string, { keyring, config, sessions, verifier }: StrategyParts): object {
  class JwtStrategy extends PassportStrategy(Strategy, name) {
    readonly [OURS] = true;

    constructor() {
      const options = keyring.verifyOptions();
      super({
        jwtFromRequest: (request: CredentialsCarrier) => tokenOrNull(request, config, keyring),
        secretOrKeyProvider: (_request: unknown, token: string, done: (error: Error | null, key?: never) => void) => {
          const key = keyring.keyOf(token);
          done(key ? null : new Error('no key of ours signed this token'), key?.verifyingKey as never);
        },
        // Given twice: passport-jwt reads issuer and audience only here, but ignoreNotBefore only in jsonWebTokenOptions.
        ...options,
        jsonWebTokenOptions: options,
        passReqToCallback: true,
      });
    }

    private sessionOf(request: CredentialsCarrier, token: string | undefined, claims: Record<string, unknown>) {
      if (token === undefined && config.cookies) return sessionOfCookies(request, config.cookies, verifier);
      const call = provenCallOf(request, config);
      return call && token !== undefined ? verifier.verify(token, call) : sessions.verifyClaims(claims);
    }

    /** Returns null if the token is not valid, so that a chain tries its next strategy. Other errors end the chain. */
    async validate(request: CredentialsCarrier, claims: Record<string, unknown>): Promise<SessionClaims | null> {
      try {
        const token = accessTokenOf(request, config);
        const session = await this.sessionOf(request, token, claims);
        // Passport sets `request.user`, which is for the application. `@CurrentSession()` reads what is remembered here.
        if (session) rememberPassportSession(request, session);
        return session ?? null;
      } catch (error) {
        if (error instanceof TokenNotValidError) return null;
        throw error;
      }
    }
  }
  return new JwtStrategy();
}

/** Whether a strategy belongs to this library, in this or another application of the process. */
export function isOurStrategy(strategy: object): boolean {
  return OURS in strategy;
}

function tokenOrNull(request: CredentialsCarrier, config: HttpConfig, keyring: Keyring): string | null {
  try {
    const token = accessTokenOf(request, config);
    if (token !== undefined || !config.cookies) return token ?? null;
    // passport-jwt takes one token. Return any cookie with a valid signature: `validate` tries all cookies again.
    return cookieValues(request, config.cookies, 'access').find((candidate) => keyring.verify(candidate)) ?? null;
  } catch {
    return null;
  }
}
