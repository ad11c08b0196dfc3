import type { Claims } from '../token/claims.js';
import type { SenderProof } from './binding.js';
import type { ClientInfo } from './client-info.js';
import type { ProviderLogin } from './provider-login.js';
import type { Session, TokenTransport } from './session.js';

/** How the tokens of a new session reach the client. `SessionCookies.delivery` returns one for cookies. */
export interface TokenDelivery {
  /**
   * How the client will carry the refresh token. The session accepts it in this transport only. Default: not known yet, so the
   * first refresh decides.
   */
  transport?: TokenTransport | undefined;
  /** Whether the cookies outlive the browser session. Default: as the option `cookies.persistent` says. */
  persistent?: boolean | undefined;
  /**
   * The ids of sessions that the new one replaces, whoever's they are: those that the browser already has. They end with the
   * reason `replaced` in the same transaction, before limits are counted. Give only ids that the request proves to be its own,
   * such as that of its access token. Default: none.
   */
  replaces?: readonly string[] | undefined;
  /** Throws if the tokens cannot be delivered, for example because they are too long. Called before anything is written. */
  checkTokens?: ((issued: IssuedSession) => void) | undefined;
  /**
   * The key to which the session is bound from the beginning, because the login proves to hold it (DPoP). Default: the session
   * is not bound.
   */
  proof?: SenderProof | undefined;
}

/** The properties of a new session, except for its user. */
export interface CreateSessionOptions extends TokenDelivery {
  /** The session type, in any letter case. */
  type: string;
  /** The client's description of itself. Default: the device's name, else the user agent, else empty. */
  info?: string | undefined;
  client?: ClientInfo | undefined;
  /** The application's own data, which stays on the server. At most 32 KiB as JSON. */
  data?: Record<string, unknown> | undefined;
  /**
   * The application's own claims, which each access token of the session contains. At most 4 KiB as JSON. They must not use
   * the names of claims that the library writes.
   */
  claims?: Claims | undefined;
  /** How the user authenticated (RFC 8176): the claim `amr`. Default: `['pwd']` for `login`, none for `create`. */
  amr?: readonly string[] | undefined;
  /**
   * When the user authenticated: the claim `auth_time`. Give it if that was not now, for example with the `auth_time` of an
   * identity provider. Default: when the session was created.
   */
  authenticatedAt?: Date | undefined;
  /**
   * When your own check of the user began. Give it if time passes between that check and `create`: if the user's sessions are
   * ended in between, for example because the password was changed, no session is created. Default: when `create` is called.
   */
  startedAt?: Date | undefined;
  /**
   * Where the user has logged in, if an identity provider did the authentication: a logout there ends this session too. The
   * provider must be one of the option `identityProviders`. Default: at no provider.
   */
  provider?: ProviderLogin | undefined;
  /** How the client carries the refresh token. Default: not known, so the first refresh decides. */
  transport?: 'body' | 'cookie' | undefined;
  /** Whether the session's cookies outlive the browser session. Default: the option `cookies.persistent`. */
  persistent?: boolean | undefined;
}

/** A session that `SessionService.prepare` has inserted in a transaction of the application. */
export interface PreparedSession {
  /** The id that the session will have. */
  readonly id: string;
  /**
   * Makes the session live and issues its tokens. Call it after the commit, and only once. If your transaction is rolled back,
   * do not call it: nothing is left then. A prepared session lapses after ten minutes.
   * @throws SessionLimitReachedError if the user has as many sessions as allowed and `whenFull` is `'refuse'`
   * @throws SessionNotFoundError if the transaction was rolled back, or the session has lapsed or was already issued
   * @throws UnavailableError if the sessions of the user were ended in the meantime
   * @throws MultiSessionConfigurationError if the transaction is still open
   */
  issue(): Promise<IssuedSession>;
}

/** A new session with its tokens. */
export interface IssuedSession {
  readonly session: Session;
  readonly access: string;
  readonly refresh: string;
}
