import type { IssuedSession } from '../session/login.js';
import type { FormattedLogin } from './sessions.dto.js';

/** Port for the answer of a login to a session type that has a format of its own. */
export abstract class LoginAnswerFormat {
  /**
   * Formats the answer of `login/` or `reauthenticate/`. It is not called if the tokens travel in cookies.
   * @returns undefined for the usual answer
   */
  abstract format(issued: IssuedSession): FormattedLogin | undefined;
}
