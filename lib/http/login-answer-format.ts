import type { IssuedSession } from '../session/new-session.js';
import type { FormattedLogin } from './sessions.dto.js';

/** Port that lets a session type have its own format for the answer of a login. */
export abstract class LoginAnswerFormat {
  /**
   * Formats the answer of `login/` or `reauthenticate/`. The controller does not call it if the tokens travel in cookies.
   * @returns the answer, or undefined for the usual one
   */
  abstract format(issued: IssuedSession): FormattedLogin | undefined;
}
