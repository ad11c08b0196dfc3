import { Logger } from '@nestjs/common';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { UserId } from '../token/options.js';
import type { ClientInfo } from './client-info.js';
import type { Session } from './session.js';
import type { UserAgentDescription } from './user-agent.js';
import type { ReuseKind } from './policy.js';

/** Why a session ended. */
export type EndReason =
  | 'logout'
  | 'destroyed'
  | 'evicted'
  | 'mismatch'
  | 'reuse'
  | 'expired'
  | 'user-inactive'
  | 'reauthenticated'
  | 'replaced'
  | 'binding-conflict'
  | 'identity-provider'
  | 'admin'
  | 'failover';

/** A refresh with a token that is not the session's current one, and the two parties involved. */
export interface SupersededTokenEvent {
  /** The session before this refresh. Its address and user agent belong to the other party, who got the current token. */
  readonly session: Session;
  /** The generation of the presented token. */
  readonly presentedGeneration: number;
  /** The generation of the session's current token. */
  readonly currentGeneration: number;
  /** Milliseconds since the current token was handed out. */
  readonly age: number;
  /** The client that presented the token. */
  readonly client: ClientInfo;
}

/** The events and the payload of each. */
export interface SessionEventMap {
  /** A session was created: by a login, `SessionService.create` or a reauthentication. */
  'session.created': { readonly session: Session };
  /** A session was refreshed by `client`. `rotated` is true if a new generation of refresh tokens began. */
  'session.refreshed': { readonly session: Session; readonly rotated: boolean; readonly client: ClientInfo };
  /**
   * A session was refreshed by another client than the last time: the user agent differs, or the address is in another
   * network (the first 24 bits of an IPv4 address, 48 of an IPv6 one). Most often a browser was updated or a phone has moved.
   * If a refresh token was stolen, and does not rotate, this is its only trace. The session already records the new client.
   */
  'session.client-changed': {
    readonly session: Session;
    readonly previous: ClientInfo;
    readonly client: ClientInfo;
  };
  /** A session ended. Emitted once, on the process that ended it. */
  'session.ended': { readonly session: Session; readonly reason: EndReason };
  /**
   * This process learned that it must refuse a session's access tokens from now on. Emitted on every process.
   * `SessionConnections` closes sockets then.
   */
  'session.revoked': RevokedSession;
  /** An old refresh token was used after its successor: one of the parties is probably a thief. The session has been ended. */
  'refresh.reused': SupersededTokenEvent & { readonly reuse: ReuseKind };
  /**
   * An old refresh token was presented for a renewal after its successor had been used. The renewal was refused, and the session
   * goes on: often, a page was rendered for a slow request with old cookies. If it happens again and again, look for a thief.
   */
  'renewal.reused': SupersededTokenEvent & { readonly reuse: ReuseKind };
  /** The superseded token was used within twice the grace: a retry, concurrent requests, or a careful thief. */
  'refresh.replayed': SupersededTokenEvent;
  /** The superseded token was used after twice the grace, and its successor was never used: a lost answer, or a careful thief. */
  'refresh.recovered': SupersededTokenEvent;
  /** The first proof of a key arrived: from now on, the session can only be refreshed with a proof of that key. */
  'device.bound': { readonly session: Session };
  /**
   * A bound session was about to be refreshed without a valid proof of its key. The refresh was refused, and the session goes on.
   * Somebody has probably copied its refresh token.
   */
  'device.proof-failed': {
    readonly session: Session;
    /** `missing`: there was no proof. `invalid`: it was not valid. `other-key`: it was valid, but by another key. */
    readonly reason: 'missing' | 'invalid' | 'other-key';
    /** The client that sent the token. */
    readonly client: ClientInfo;
  };
  /** A login from a device that the user has not used within `rememberDevices`. Emitted only if that option is set. */
  'login.new-device': {
    readonly session: Session;
    /** The device's description of itself. Its address is in `session`. */
    readonly device: UserAgentDescription & { readonly name: string | null };
    /** Whether the user has no other known device. True at a user's very first login, which needs no warning. */
    readonly isFirst: boolean;
  };
  /** A login was refused. */
  'login.failed': {
    readonly reason: 'invalid_credentials' | 'session_limit_reached';
    readonly type: string;
    /** Absent if the credentials were wrong, because they may not be any user's. */
    readonly userId?: UserId;
    /**
     * The user name that was tried, at most 255 characters. It is personal data, even if there is no such user: people
     * also type addresses and passwords into this field. Delete it as soon as you no longer need it.
     */
    readonly username?: string;
    readonly client: ClientInfo;
  };
}

/** The name of an event. */
export type SessionEventName = keyof SessionEventMap;

type Listener<N extends SessionEventName> = (event: SessionEventMap[N]) => unknown;

/**
 * Emits what happens to sessions, after the commit. Inject it and call `on`. If a listener throws, the error is logged and
 * the request is not affected.
 */
export class SessionEvents {
  private readonly logger = new Logger('MultiSession');
  private readonly listeners = new Map<SessionEventName, Set<Listener<never>>>();

  /**
   * Calls `listener` for every event of this name in this process.
   * @returns a function that removes the listener
   */
  on<N extends SessionEventName>(name: N, listener: Listener<N>): () => void {
    const listeners = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Whether an event has listeners in this process.
   * @internal
   */
  isListenedTo(name: SessionEventName): boolean {
    return (this.listeners.get(name)?.size ?? 0) > 0;
  }

  /**
   * Calls the listeners of an event.
   * @internal
   */
  emit<N extends SessionEventName>(name: N, event: SessionEventMap[N]): void {
    for (const listener of this.listeners.get(name) ?? []) {
      void this.call(name, listener as Listener<N>, event);
    }
  }

  private async call<N extends SessionEventName>(
    name: N,
    listener: Listener<N>,
    event: SessionEventMap[N],
  ): Promise<void> {
    try {
      await listener(event);
    } catch (error) {
      this.logger.error(`a listener of ${name} failed`, error instanceof Error ? error.stack : undefined);
    }
  }
}
