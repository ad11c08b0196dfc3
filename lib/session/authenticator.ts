import type { Claims } from '../token/keyring.js';
import type { UserId } from '../token/options.js';
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
  amr?: readonly string[];
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
   * @returns the user if still active, or null to end the session
   */
  findActive?(userId: UserId): Promise<User | null>;

  /**
   * Builds claims for each access token, at login, refresh and `regenerate`. They are never stored, and they override the
   * claims that the session was given. The library does not catch errors from this method. If a refresh fails with such an
   * error, the client can retry it with the same token.
   *
   * @param session the session that the token is for
   * @param user what `authenticate` or `findActive` returned, or only the id if neither was called
   */
  buildClaims?(session: Session, user: AuthenticatedUser & Partial<User>): Claims | Promise<Claims>;
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
  findActive?(userId: UserId): Promise<AuthenticatedUser | null>;
  // `never`, because a class may demand members that only its own `findActive` adds to the user.
  buildClaims?(session: Session, user: never): Claims | Promise<Claims>;
}
