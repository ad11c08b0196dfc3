import type { CredentialsCarrier } from '../http/request.js';
import type { SessionClaims } from '../token/access-token.js';

/**
 * Why a connection is closed:
 *
 * - `'ended'`: the session has ended.
 * - `'expired'`: the access token has expired, and the client has not sent its successor.
 * - `'unavailable'`: the process can no longer know whether the session has ended.
 * - `'shutdown'`: the process stops.
 */
export type CloseReason = 'ended' | 'expired' | 'unavailable' | 'shutdown';

/**
 * Stops the handling of messages. Called as soon as the process learns that it must close the connection, and shortly before it
 * closes it, because it may have to close many at the same moment.
 */
export type StopMessages = () => void;

/** Closes a socket or stream. Called at most once, and never after the connection was left. */
export type CloseConnection = (reason: CloseReason) => void;

/** Opens connections: `SessionConnections`. */
export interface ConnectionOpener {
  open(carrier: CredentialsCarrier, close: CloseConnection, stop?: StopMessages): Promise<SessionConnection>;
}

/** What a connection asks of the registry that holds it. */
export interface ConnectionOwner {
  renew(connection: SessionConnection, token: string): Promise<SessionClaims>;
  leave(connection: SessionConnection): void;
}

/** A socket or stream that is open on behalf of a session. */
export class SessionConnection {
  private open = true;
  private isLeft = false;

  /** @internal */
  constructor(
    private current: SessionClaims,
    private readonly owner: ConnectionOwner,
    private readonly callback: CloseConnection,
    private readonly stop: StopMessages = () => undefined,
  ) {}

  /** The claims of the latest access token that it has shown. */
  get session(): SessionClaims {
    return this.current;
  }

  /**
   * Whether messages may still be handled. It becomes false as soon as this process learns that the session has ended, and so
   * before the socket is closed.
   */
  get isOpen(): boolean {
    return this.open;
  }

  /**
   * Keeps the connection open until a newer access token of the same session expires.
   * @param token the access token of the client's last refresh
   * @returns its claims
   * @throws TokenNotValidError if it is not a valid token of this session, or the connection is closed
   * @throws UnavailableError if the token cannot be verified now
   */
  renew(token: string): Promise<SessionClaims> {
    return this.owner.renew(this, token);
  }

  /** Forgets the connection. Call it when the client has closed it. It may be called several times. */
  leave(): void {
    this.open = false;
    this.isLeft = true;
    this.owner.leave(this);
  }

  /** @internal */
  adopt(session: SessionClaims): void {
    this.current = session;
  }

  /**
   * Refuses messages from now on.
   * @returns whether it was open
   * @internal
   */
  shut(): boolean {
    const wasOpen = this.open;
    this.open = false;
    if (wasOpen) this.stop();
    return wasOpen;
  }

  /** @internal */
  close(reason: CloseReason): void {
    if (!this.isLeft) this.callback(reason);
  }
}
