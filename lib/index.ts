// Setup: the module, its entities, and presets for policies.
export { MULTI_SESSION_ENTITIES } from './nest/entities.js';
export { MultiSessionModule } from './nest/multi-session.module.js';
export { type SessionHealth, SessionHealthIndicator } from './nest/session-health.indicator.js';
export { PERMANENT_DEVICE, SHORT_AND_LONG } from './session/policy-presets.js';

// Options.
export type {
  MultiSessionModuleAsyncOptions,
  MultiSessionModuleOptions,
  MultiSessionOptions,
} from './engine/options.js';
export type { Duration } from './option-check.js';
export type { RevocationOptions } from './revocation/options.js';
export type { RevocationPush } from './revocation/push.js';
export type { SessionPolicyOptions } from './session/options.js';
export type { JwtOptions } from './token/options.js';

// Your users.
export { type AuthenticatedUser, type Credentials, UserAuthenticator, UserDirectory } from './session/authenticator.js';
export type { UserId } from './token/options.js';

// Guards and decorators for your routes.
export { sessionOf } from './http/callers.js';
export {
  CurrentSession,
  OptionalSession,
  Public,
  RequireDeviceProof,
  RequireRecentLogin,
  RequireSession,
  SessionTypes,
} from './http/decorators.js';
export { DpopTransport } from './http/dpop-transport.js';
export { JwtAuthGuard } from './http/jwt-auth.guard.js';
export { MULTI_SESSION_ROUTE, type SessionRouteInfo, sessionRouteOf } from './http/route-metadata.js';
export { SecretKeyGuard } from './http/secret-key.guard.js';
export type { AccessCall } from './binding/access-sender.js';
export { AccessVerifier } from './session/access-verifier.js';
export type { SessionClaims } from './token/access-token.js';

// Sessions: create, refresh, list and end them.
export { clientInfoOf } from './http/client-info.js';
export type { ClientInfo } from './session/client-info.js';
export type { BindingKind, SenderProof } from './session/binding.js';
export type { SessionData, SessionDataPatch } from './session/data.js';
export type { IntrospectedToken } from './session/introspection.js';
export type { CreateSessionOptions, IssuedSession, PreparedSession, TokenDelivery } from './session/new-session.js';
export type { RenewedAccess } from './session/renewal.js';
export type { RefreshedSession } from './session/refreshed-session.js';
export type { SessionList } from './session/lists.js';
export { SessionService } from './session/service.js';
export type { Session, SessionSummary } from './session/session.js';

// Events.
export type { RevokedSession } from './revocation/revoked-session.js';
export { EndedSessions } from './session/ended-sessions.js';
export { type EndReason, type SessionEventMap, SessionEvents } from './session/events.js';
export { EventAdministration } from './outbox/event-administration.js';
export { SessionHistory } from './outbox/session-history.js';
export { OnSessionEvent } from './outbox/on-session-event.js';
export type { DurableEvent, DurableEventName, EventClient, Initiator } from './outbox/durable-event.js';
export type { EventsOptions, SecurityEventStreamOptions, WebhookOptions } from './outbox/options.js';
export type {
  BackChannelLogoutOptions,
  GlobalTokenRevocationOptions,
  IdentityProviderOptions,
  SecurityEventsOptions,
} from './signals/options.js';
export type { ProviderLogin, SubjectIdentifier } from './session/provider-login.js';

// Open sockets and streams.
export { SessionConnections } from './connections/session-connections.js';
export type { CloseConnection, CloseReason, SessionConnection } from './connections/session-connection.js';

// Policies.
export { InjectSessionPolicy, SessionPolicyService } from './session/policy.js';

// Operations: administration, statistics, cleanup, signing keys and remembered devices.
export { DailyCounts, type SessionStatistics } from './admin/statistics/daily-counts.js';
export { ManagedKeys } from './keys/managed-keys.js';
export { KnownDevices } from './known-devices/known-devices.js';
export type { RequirementVerdict, SecurityRequirement } from './report/row.js';
export { SecurityReport } from './report/security-report.js';
export { SessionAdministration } from './session/administration.js';
export { SessionCleanup } from './session/cleanup.js';

// Entities of the tables, for your own read-only queries.
export { BlacklistEntity } from './revocation/blacklist.entity.js';
export { SessionEntity } from './session/session.entity.js';

// Controllers to extend, with the classes, types and decorators that their handlers use.
export { AdminSessionsController } from './admin/admin-sessions.controller.js';
export { ReplayEventsDto } from './admin/admin-events.dto.js';
export { EndAllDto } from './admin/admin-sessions.dto.js';
export { DevicesController } from './compat/drf-jwt-devices/devices.controller.js';
export { PermitsPermanentToken, PermittedHeadersGuard } from './compat/drf-jwt-devices/permitted-headers.guard.js';
export { AnswerHeadersInterceptor } from './http/answer-headers.interceptor.js';
export { ValidBody } from './http/body.guard.js';
export { CsrfGuard } from './http/csrf.guard.js';
export { SessionCookies } from './http/session-cookies.js';
export { SessionManagementController } from './http/session-management.controller.js';
export { DeleteListDto, RenewDto, VerifyDto } from './http/session-management.dto.js';
export { SessionRoute } from './http/session-route.js';
export { SessionsController } from './http/sessions.controller.js';
export {
  DestroyAllOtherDto,
  DestroyDto,
  type ListAnswer,
  ListDto,
  type LoginAnswer,
  LoginDto,
  LogoutDto,
  ReauthenticateDto,
  type RefreshAnswer,
  RefreshDto,
} from './http/sessions.dto.js';

// Errors. Each has a stable `code` in its body.
export {
  BadAuthorizationHeaderError,
  CsrfFailedError,
  DeviceProofRequiredError,
  DeviceChallengeError,
  HeaderNotPermittedError,
  InvalidCredentialsError,
  InvalidDpopProofError,
  InvalidSessionTypeError,
  MultiSessionConfigurationError,
  MultiSessionError,
  NotAuthenticatedError,
  ReauthenticationRequiredError,
  RenewalNotAllowedError,
  SecretKeyInvalidError,
  ServerFaultError,
  SessionDataError,
  SessionLimitReachedError,
  SessionNotFoundError,
  SessionProofRequiredError,
  SessionTypeNotAllowedError,
  TokenNotValidError,
  UnavailableError,
  UseDpopNonceError,
  ValidationFailedError,
} from './errors.js';
