import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { type AbstractHttpAdapter, HttpAdapterHost } from '@nestjs/core';
import { JwtAuthGuard, STANDS_IN } from '../http/jwt-auth.guard.js';
import type { CredentialsConfig } from '../http/bearer.js';
import type { CredentialsCarrier } from '../http/request.js';
import { AccessVerifier } from '../session/access-verifier.js';
import type { SessionClaims } from '../token/access-token.js';

/** The user that a test acts as: those members of the session that matter to the test, or `null` for an anonymous caller. */
export type Actor = Partial<SessionClaims> | null;

/** In seconds. */
const ACCESS_TOKEN_LIFETIME = 300;

/**
 * Replaces `JwtAuthGuard` and runs your tests as a given user, without a token, a database or `MultiSessionModule`:
 *
 * ```ts
 * const moduleRef = await Test.createTestingModule({ controllers: [NotesController] })
 *   .overrideGuard(JwtAuthGuard)
 *   .useValue(actingAs({ userId: 'alice', claims: { role: 'editor' } }))
 *   .compile();
 * ```
 *
 * It works in handlers of every transport, and the decorators work as in production. A `@Public()` route has no
 * session, an `@OptionalSession()` route has the actor, and `@SessionTypes()` answers 403 to an actor of another type.
 * `actingAs(null)` is anonymous: the client gets 401, except on open routes.
 *
 * One override replaces the guard everywhere: for routes with `@UseGuards(JwtAuthGuard)`, for a global guard that you bind with
 * `{ provide: APP_GUARD, useExisting: JwtAuthGuard }`, and for the guard that `@SessionTypes()` and `@RequireRecentLogin()` bind.
 * `overrideProvider(JwtAuthGuard)` does the same as `overrideGuard(JwtAuthGuard)`. Use it if no route binds the guard itself.
 *
 * @param actor the user, or a function that returns one for each request, so that one application can serve several users
 * @returns a guard for `useValue`
 */
export function actingAs(actor: Actor | ((request: CredentialsCarrier) => Actor)): CanActivate {
  return new ActingGuard(typeof actor === 'function' ? actor : () => actor);
}

/**
 * Creates a complete session, so that you can call a handler directly: `controller.list(currentSession({ userId: 'alice' }))`.
 *
 * @param given the members that matter to the test. Default: a session of the user `'user'` and the type `'LONG'`, whose
 * access token was issued just now. The function adds `claims` to the claims that the library writes
 * @returns the session
 */
export function currentSession(given: Partial<SessionClaims> = {}): SessionClaims {
  const issuedAt = given.issuedAt ?? Math.floor(Date.now() / 1000);
  const session = {
    userId: 'user',
    sessionId: '00000000-0000-7000-8000-000000000000',
    sessionType: 'LONG',
    generation: 0,
    tokenId: '0'.repeat(32),
    issuedAt,
    expiresAt: issuedAt + ACCESS_TOKEN_LIFETIME,
    authenticatedAt: issuedAt,
    amr: ['pwd'],
    ...given,
  };
  const claims = {
    token_type: 'access',
    exp: session.expiresAt,
    iat: session.issuedAt,
    jti: session.tokenId,
    sub: String(session.userId),
    sid: session.sessionId,
    gen: session.generation,
    session_type: session.sessionType,
    auth_time: session.authenticatedAt,
    amr: session.amr,
    ...given.claims,
  };
  return { ...session, claims };
}

/** `JwtAuthGuard` with all its rules, but the caller is the actor of the test and needs no token. */
class ActingGuard extends JwtAuthGuard {
  override readonly [STANDS_IN] = true;

  constructor(private readonly actorOf: (request: CredentialsCarrier) => Actor) {
    super(new NoTokens(), hostOfAnyAdapter(), NO_CREDENTIALS);
  }

  /** The actor needs no credentials, so a transport that has none will do. */
  protected override getRequest(context: ExecutionContext): CredentialsCarrier {
    return super.getRequest(context) ?? {};
  }

  protected override sessionOf(request: CredentialsCarrier): SessionClaims | undefined {
    const actor = this.actorOf(request);
    return actor ? currentSession(actor) : undefined;
  }
}

/** Provides the guard with the clock of this process, which decides whether a login is recent. It cannot verify tokens. */
class NoTokens extends AccessVerifier {
  verify(): never {
    throw new Error('actingAs does not verify tokens: the caller is the actor of the test');
  }

  now(): number {
    return Date.now();
  }
}

/** A placeholder: an acting guard never reads credentials. */
const NO_CREDENTIALS: CredentialsConfig = {
  accessTokenHeader: 'authorization',
  schemes: new Set(),
  cookies: false,
  publicOrigins: [],
  challenge: 'Bearer realm="api"',
};

/** Creates a host with the one adapter method that a refusal uses. It works on Express and Fastify without injection. */
function hostOfAnyAdapter(): HttpAdapterHost {
  const host = new HttpAdapterHost();
  const setHeader = (response: NodeResponse, name: string, value: string) =>
    (response.raw ?? response).setHeader(name, value);
  host.httpAdapter = { setHeader, appendHeader: setHeader } as unknown as AbstractHttpAdapter;
  return host;
}

interface NodeResponse {
  raw?: NodeResponse;
  setHeader(name: string, value: string): void;
}
