import type { SenderProof } from './binding.js';
import type { ClientInfo } from './client-info.js';
import type { Session, TokenTransport } from './session.js';

/** The result of a refresh. `refresh` is present only if the client has to store it. */
export interface RefreshedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh?: string;
}

/** A session that has a new refresh token, without an access token. */
export type RotatedSession = Required<Pick<RefreshedSession, 'session' | 'refresh'>>;

/** Conditions on the refresh token, and the client that sends it. */
export interface RefreshOptions {
  /** The type that the session must have. If the current token of a session has another type, the session ends. */
  type?: string | undefined;
  /**
   * If true, accepts only tokens of permanent sessions. Any other token is refused, and its session stays. Default: false.
   */
  permanent?: boolean | undefined;
  /**
   * How the token travelled. A session accepts its refresh token in one transport only: that of its login, or else of its
   * first refresh. Default: the transport does not matter.
   */
  transport?: TokenTransport | undefined;
  /**
   * Whether the request proves that its client was given the token. Without a proof, a token is accepted only if the transport
   * of its session is not yet known, so once. Default: true.
   */
  isProven?: boolean | undefined;
  /**
   * The key that the request proves to hold, or null if it carries a proof that is not valid. A session that is bound to a key
   * is refreshed only with a proof of that key. Default: no proof.
   */
  proof?: SenderProof | null | undefined;
  /** Whether the result has the refresh token even if the client has it already. Default: false. */
  withRefreshToken?: boolean | undefined;
  /** Called with the new refresh token if the session has rotated, but no access token could be made. */
  salvage?: ((rotated: RotatedSession) => void) | undefined;
  /** The client that sends the token. The session records it. Default: the session keeps the recorded client. */
  client?: ClientInfo | undefined;
  /** The framework's request, for `findActive` and `buildClaims`. The library's routes pass it. */
  request?: unknown;
}
