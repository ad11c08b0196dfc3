import type { Claims } from '../token/keyring.js';
import type { UserId } from '../token/options.js';
import type { Session } from './session.js';

/** What a client says to log in. */
export interface Credentials {
  /** The value of the field that the option `usernameField` names. */
  username: string;
  password: string;
}

/** A user, as far as sessions care: `id`, and whatever else the application wants to hand on. */
export interface AuthenticatedUser {
  id: UserId;
  /** How they showed who they are (RFC 8176): the claim `amr`. Default: `['pwd']`. */
  amr?: readonly string[];
}

/**
 * The port to the application's users. Extend it and name it in the options:
 * `authenticator: { useExisting: AppUserAuthenticator }`.
 */
export abstract class UserAuthenticator<User extends AuthenticatedUser = AuthenticatedUser> {
  /**
   * The user whose credentials these are; null for an unknown user, a wrong password and an inactive user alike. Let all
   * three take the same time: hash something even where there is no user. What it throws passes through.
   */
  abstract authenticate(credentials: Credentials, request: unknown): Promise<User | null>;

  /** Asked at each refresh where it is there: the user if still active, null to end the session. */
  findActive?(userId: UserId): Promise<User | null>;

  /**
   * Claims for each access token, asked at each login, refresh and `regenerate`, and never stored: they are laid over those that
   * the session was given. What it throws passes through; a refresh can then be tried again with the same token.
   * @param user as `authenticate` or `findActive` answered; the id alone where neither was asked
   */
  buildClaims?(session: Session, user: AuthenticatedUser & Partial<User>): Claims | Promise<Claims>;
}
