export { ResourceServerModule } from './resource-server.module.js';
export { ResourceServerHealthIndicator } from './resource-server-health.indicator.js';
export type { VerifierHealth } from '../verifier/issuer-client.js';
export type { VerifierOptions } from '../verifier/options.js';

// The guards and decorators of the main entry, without its database.
export { sessionOf } from '../http/callers.js';
export type { CookieOptions } from '../http/cookie.options.js';
export { CsrfGuard } from '../http/csrf.guard.js';
export {
  CurrentSession,
  OptionalSession,
  Public,
  RequireRecentLogin,
  RequireSession,
  SessionTypes,
} from '../http/decorators.js';
export { JwtAuthGuard } from '../http/jwt-auth.guard.js';
export type { Duration } from '../option-check.js';
export type { RevocationPush } from '../revocation/push.js';
export type { AccessCall } from '../binding/access-sender.js';
export { AccessVerifier } from '../session/access-verifier.js';
export { EndedSessions } from '../session/ended-sessions.js';
export type { SessionClaims } from '../token/access-token.js';

// Open sockets and streams.
export { SessionConnections } from '../connections/session-connections.js';
export type { CloseConnection, CloseReason, SessionConnection } from '../connections/session-connection.js';

// What the guards throw.
export {
  BadAuthorizationHeaderError,
  CsrfFailedError,
  DeviceProofRequiredError,
  InvalidDpopProofError,
  MultiSessionConfigurationError,
  MultiSessionError,
  NotAuthenticatedError,
  ReauthenticationRequiredError,
  SessionTypeNotAllowedError,
  TokenNotValidError,
  UnavailableError,
  UseDpopNonceError,
} from '../errors.js';
