import { errorBody, type Refusal, type RefusalCode, REFUSALS } from '../refusal.js';

/** What the answer to a refused request says beyond its code. */
export interface RefusalDetails {
  readonly message?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Readonly<Record<string, unknown>>;
}

/** A request may not pass. Answer it with `status`, `headers` and `body`, which are those of the issuer's own routes. */
export class RefusedError extends Error {
  /** The HTTP status: 401, 403 or 503. */
  readonly status: number;
  /** Headers of the answer, such as `WWW-Authenticate`, `DPoP-Nonce` and `Retry-After`. */
  readonly headers: Readonly<Record<string, string>>;
  /** The body of the answer: `{ statusCode, error, message, code }`. */
  readonly body: Readonly<Record<string, unknown>>;

  /**
   * @param code says why. It is stable: clients may rely on it
   * @param cause for the log
   * @param details override the usual answer of the code. Default: none
   */
  constructor(
    readonly code: RefusalCode,
    cause?: unknown,
    details: RefusalDetails = {},
  ) {
    const { status, headers = {}, ...usual }: Refusal = REFUSALS[code];
    const { message = usual.message } = details;
    super(message, { cause });
    this.name = 'RefusedError';
    this.status = status;
    this.headers = { ...headers, ...details.headers };
    this.body = { ...errorBody(status, message, code), ...details.body };
  }

  /** Returns the answer for frameworks that work with the Fetch API, such as Hono. */
  toResponse(): Response {
    return Response.json(this.body, { status: this.status, headers: this.headers });
  }
}
