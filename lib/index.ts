export {
  BadAuthorizationHeaderError,
  CsrfFailedError,
  HeaderNotPermittedError,
  InvalidCredentialsError,
  InvalidSessionTypeError,
  MultiSessionConfigurationError,
  MultiSessionError,
  type MultiSessionErrorCode,
  NotAuthenticatedError,
  ReauthenticationRequiredError,
  SecretKeyInvalidError,
  SessionDataError,
  SessionLimitReachedError,
  SessionNotFoundError,
  SessionTypeNotAllowedError,
  TokenNotValidError,
  UnavailableError,
  ValidationFailedError,
} from './errors.js';
export { AdminSessionsController } from './admin/admin-sessions.controller.js';
export { type AdminSession, type AdminSessionPage, EndAllDto } from './admin/admin-sessions.dto.js';
export { DailyCounts, type DayStatistics, type SessionStatistics } from './admin/statistics/daily-counts.js';
export { SessionDailyCountEntity } from './admin/statistics/session-daily-count.entity.js';
export { MULTI_SESSION_ENTITIES } from './nest/entities.js';
export { MultiSessionModule } from './nest/multi-session.module.js';
export type {
  AdminOptions,
  AuthenticatorProvider,
  MultiSessionModuleAsyncOptions,
  MultiSessionModuleOptions,
  MultiSessionOptions,
  MultiSessionStaticOptions,
} from './engine/options.js';
export type { Duration } from './option-check.js';

export { deviceIdOf, type DeviceSigns, fingerprintOf } from './known-devices/fingerprint.js';
export { KnownDeviceEntity } from './known-devices/known-device.entity.js';
export { KnownDevices } from './known-devices/known-devices.js';
export { ManagedKeys } from './keys/managed-keys.js';
export { SigningKeyEntity } from './keys/signing-key.entity.js';

export { type DeviceAnswer, DevicesController } from './compat/drf-jwt-devices/devices.controller.js';
export { PermitsPermanentToken, PermittedHeadersGuard } from './compat/drf-jwt-devices/permitted-headers.guard.js';

export { AnswerHeadersInterceptor } from './http/answer-headers.interceptor.js';
export type { CookieOptions } from './http/cookie.options.js';
export { CsrfGuard } from './http/csrf.guard.js';
export {
  CurrentSession,
  OptionalSession,
  Public,
  RequireRecentLogin,
  RequireSession,
  SessionTypes,
} from './http/decorators.js';
export type { HttpOptions } from './http/options.js';
export { ValidBody } from './http/body.guard.js';
export { JwtAuthGuard } from './http/jwt-auth.guard.js';
export { LoginGuards } from './http/application-guards.js';
export { RequiredSecretKeyGuard, SecretKeyGuard } from './http/secret-key.guard.js';
export { SessionCookies } from './http/session-cookies.js';
export { SessionRoute } from './http/session-route.js';
export { SessionManagementController } from './http/session-management.controller.js';
export {
  DeleteListDto,
  type DescribedSession,
  type EndedAnswer,
  type IntrospectionAnswer,
  type ManagedSession,
  VerifyDto,
} from './http/session-management.dto.js';
export { SessionsController } from './http/sessions.controller.js';
export {
  DestroyAllOtherDto,
  DestroyDto,
  type ListAnswer,
  ListDto,
  type ListedSession,
  type LoginAnswer,
  LoginDto,
  LogoutDto,
  ReauthenticateDto,
  type RefreshAnswer,
  RefreshDto,
} from './http/sessions.dto.js';

export { BlacklistEntity } from './revocation/blacklist.entity.js';
export type { RevocationPush } from './revocation/push.js';
export type { RevocationOptions } from './revocation/options.js';
export type { RevokedSession } from './revocation/revoked-session.js';

export { type ClientInfo, clientInfoOf } from './session/client-info.js';
export { type AdministeredSessions, SessionAdministration, type SessionPage } from './session/administration.js';
export { type CleanupResult, SessionCleanup } from './session/cleanup.js';
export type { IntrospectedToken } from './session/introspection.js';
export { type DeviceKind, describeUserAgent, type UserAgentDescription } from './session/user-agent.js';
export type { JsonValue, SessionData, SessionDataPatch } from './session/data.js';
export { SessionEntity } from './session/session.entity.js';
export {
  type EndReason,
  type SessionEventMap,
  type SessionEventName,
  SessionEvents,
  type SupersededTokenEvent,
} from './session/events.js';
export {
  type AccessCheck,
  type CleanupOptions,
  type SessionPolicyConfig,
  type SessionPolicyOptions,
  PERMANENT_DEVICE,
  SHORT_AND_LONG,
} from './session/options.js';
export type { RefreshedSession, RefreshOptions } from './session/refresh.js';
export type { CreateSessionOptions, IssuedSession } from './session/login.js';
export { type SessionList, SessionService } from './session/service.js';
export type { Session } from './session/session.js';
export type { SessionClaims } from './token/access-token.js';
export {
  InjectSessionPolicy,
  type ReuseKind,
  type RotationState,
  SessionPolicyService,
  sessionPolicyToken,
  type Verdict,
} from './session/policy.js';
export { type AuthenticatedUser, type Credentials, UserAuthenticator } from './session/authenticator.js';
export type { JwtAlgorithm, JwtKeyOptions, JwtOptions, ManagedKeyOptions, UserId } from './token/options.js';
