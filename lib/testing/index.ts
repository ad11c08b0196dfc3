import type { CanActivate } from '@nestjs/common';
import { type AbstractHttpAdapter, HttpAdapterHost, Reflector } from '@nestjs/core';
import { JwtAuthGuard } from '../http/jwt-auth.guard.js';
import type { CredentialsCarrier } from '../http/request.js';
import type { SessionClaims } from '../token/access-token.js';

/** Whom a test acts as: the members of the current session that it cares about, or null for nobody. */
export type Actor = Partial<SessionClaims> | null;

const ACCESS_TOKEN_LIFETIME = 300;

/**
 * In the place of `JwtAuthGuard`, lets a test be somebody without a token, a database or `MultiSessionModule`:
 *
 * ```ts
 * const moduleRef = await Test.createTestingModule({ controllers: [NotesController] })
 *   .overrideGuard(JwtAuthGuard)
 *   .useValue(actingAs({ userId: 'alice', claims: { role: 'editor' } }))
 *   .compile();
 * ```
 *
 * It works in HTTP, GraphQL and WebSocket handlers, and the decorators mean what they mean in production: a `@Public()` route
 * sees nobody, an `@OptionalSession()` one sees the actor, and `@SessionTypes()` answers 403 to an actor of another type.
 * Nobody (`null`) gets 401, but for routes that are open.
 *
 * Nest overrides a guard that is bound globally only where it is a provider: bind it with
 * `{ provide: APP_GUARD, useExisting: JwtAuthGuard }`, and say `overrideProvider(JwtAuthGuard)` in the test.
 *
 * @param actor the actor, or a function that is asked at each request, so that one application can serve several
 */
export function actingAs(actor: Actor | ((request: CredentialsCarrier) => Actor)): CanActivate {
  return new ActingGuard(typeof actor === 'function' ? actor : () => actor);
}

/**
 * A complete current session, for calling a handler directly: `controller.list(currentSession({ userId: 'alice' }))`.
 * Default: a session of the user `'user'` and the type `'LONG'` whose access token was issued just now. `claims` are added
 * to those that the library writes.
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

/** `JwtAuthGuard` with all its rules, and another way to know who calls. */
class ActingGuard extends JwtAuthGuard {
  constructor(private readonly actorOf: (request: CredentialsCarrier) => Actor) {
    // It looks at no token, so it needs neither the service nor the options that are about tokens.
    super(undefined as never, new Reflector(), hostOfAnyAdapter(), undefined as never);
  }

  protected override sessionOf(request: CredentialsCarrier): SessionClaims | undefined {
    const actor = this.actorOf(request);
    return actor ? currentSession(actor) : undefined;
  }

  protected override isRecentLogin({ authenticatedAt = 0 }: SessionClaims, maxAge: number): boolean {
    return Date.now() <= authenticatedAt * 1000 + maxAge;
  }
}

/** The part of an HTTP adapter that a refusal needs, for Express and Fastify alike, since no adapter can be injected here. */
function hostOfAnyAdapter(): HttpAdapterHost {
  const host = new HttpAdapterHost();
  const setHeader = (response: NodeResponse, name: string, value: string) =>
    (response.raw ?? response).setHeader(name, value);
  host.httpAdapter = { setHeader } as unknown as AbstractHttpAdapter;
  return host;
}

interface NodeResponse {
  raw?: NodeResponse;
  setHeader(name: string, value: string): void;
}
