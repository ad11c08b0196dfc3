import type { Claims } from '../token/claims.js';
import type { UserId } from '../token/options.js';
import type { SubjectIdentifier } from './provider-login.js';
import type { Session } from './session.js';

/** The credentials that a client sends to log in. */
export interface Credentials {
  /** The value of the field that the option `usernameField` names. */
  username: string;
  password: string;
}

/** The fields of a user that the library reads. Add any fields that your `buildClaims` needs. */
export interface AuthenticatedUser {
  id: UserId;
  /** How the user authenticated (RFC 8176), for the claim `amr`. Default: `['pwd']`. */
  amr?: readonly string[] | undefined;
}

/**
 * The port to the application's users. Extend it if your application has no passwords: sessions then come from
 * `SessionService.create`, and `login/` is not available. Extend {@link UserAuthenticator} if users log in with a password.
 *
 * Name your class in the options: `authenticator: { useExisting: AppUsers }`.
 */
export abstract class UserDirectory<User extends AuthenticatedUser = AuthenticatedUser> {
  /**
   * Finds a user at each refresh. Without this method, a deactivated user keeps refreshing until you end the sessions.
   *
   * @param request the framework's request, if the caller of `SessionService` passed one. The library's routes do
   * @returns the user if still active, or null to end the session
   */
  findActive?(userId: UserId, request?: unknown): Promise<User | null>;

  /**
   * Builds claims for each access token, at login, refresh and `regenerate`. They are never stored, and they override the
   * claims that the session was given. The library does not catch errors from this method. If a refresh fails with such an
   * error, the client can retry it with the same token.
   *
   * @param session the session that the token is for
   * @param user what `authenticate` or `findActive` returned, or only the id if neither was called
   * @param request the framework's request, if the caller of `SessionService` passed one. The library's routes do
   */
  buildClaims?(session: Session, user: AuthenticatedUser & Partial<User>, request?: unknown): Claims | Promise<Claims>;

  /**
   * Finds the user whom an identity provider names in a security event or in a request to end all sessions of a user (option
   * `identityProviders`). Without this method, only users with a session are found whose login took place at that provider.
   *
   * @param subject how the provider names the user
   * @param issuer the provider that sends the event. Trust it only with its own users
   * @param request the framework's request
   * @returns the id of the user, or null if there is none
   */
  findBySubject?(subject: SubjectIdentifier, issuer: string, request?: unknown): Promise<UserId | null>;

  /**
   * Names users for administrators. Called once per page of `GET admin/sessions` and of a history, with at most 200 different ids.
   * @returns the names by user id. Leave out users that do not exist
   */
  describeUsers?(userIds: readonly UserId[], request?: unknown): Promise<ReadonlyMap<UserId, string>>;

  /**
   * Finds users for administrators by a part of their name. Without this method, `GET admin/sessions` refuses `user_name`.
   * @param limit maximum number of ids to return
   */
  searchUsers?(name: string, limit: number, request?: unknown): Promise<readonly UserId[]>;
}

/**
 * The port to users who log in with a password. Extend it and name your class in the options:
 * `authenticator: { useExisting: AppUserAuthenticator }`.
 */
export abstract class UserAuthenticator<
  User extends AuthenticatedUser = AuthenticatedUser,
> extends UserDirectory<User> {
  /**
   * Checks credentials. The library does not catch errors from this method.
   *
   * Take the same time for an unknown user, a wrong password and an inactive user, so that the time does not reveal which it
   * was. Hash something even if the user does not exist.
   *
   * @param credentials what the client sent
   * @param request the framework's request
   * @returns the user, or null for an unknown user, a wrong password and an inactive user alike
   */
  abstract authenticate(credentials: Credentials, request: unknown): Promise<User | null>;
}

/** A user directory with any user type. The option `authenticator` accepts it. */
export interface AnyUserDirectory {
  authenticate?(credentials: Credentials, request: unknown): Promise<AuthenticatedUser | null>;
  findActive?(userId: UserId, request?: unknown): Promise<AuthenticatedUser | null>;
  // `never`, because a class may demand members that only its own `findActive` adds to the user.
  buildClaims?(session: Session, user: never, request?: unknown): Claims | Promise<Claims>;
  findBySubject?(subject: SubjectIdentifier, issuer: string, request?: unknown): Promise<UserId | null>;
  describeUsers?(userIds: readonly UserId[], request?: unknown): Promise<ReadonlyMap<UserId, string>>;
  searchUsers?(name: string, limit: number, request?: unknown): Promise<readonly UserId[]>;
}

/**
 * Returns the application's users, or null if it has none. The answer is a promise if the provider is request-scoped,
 * durable or transient: it is then resolved for each call. Calls with the same request get the same instance of a
 * request-scoped provider.
 *
 * @param request the framework's request, if there is one
 */
export type Users = (request?: unknown) => FoundUsers | Promise<FoundUsers>;

type FoundUsers = UserDirectory | UserAuthenticator | null;

/**
 * Asks the application for the user of a session.
 * @returns null if the user is gone or inactive. If the application cannot tell, a user who has only an id
 */
export async function findActiveUser(
  users: Users,
  userId: UserId,
  request: unknown,
): Promise<AuthenticatedUser | null> {
  const found = await users(request);
  return found?.findActive ? found.findActive(userId, request) : { id: userId };
}
