/** Why the client could not do what it was asked for. */
export class SessionError extends Error {
  override readonly name = 'SessionError';

  /**
   * @param code the server's code, or one of the client's own: `unreachable` if no answer of the server arrived, `not_kept` if
   *   the browser dropped the cookies, `not_authenticated` if there is no session
   * @param message default: the code
   * @param status the status of the answer; 0 if none arrived
   * @param retryAfter seconds, if the answer said when to try again
   * @param errors what is wrong with each field, if the code is `validation_failed`
   */
  constructor(
    readonly code: string,
    message: string = code,
    readonly status?: number,
    readonly retryAfter?: number,
    readonly errors?: Record<string, string[]>,
  ) {
    super(message);
  }
}
