import { Logger } from '@nestjs/common';
import type { RevokedSession } from '../revocation/revoked-session.js';
import type { UserId } from '../token/options.js';
import type { ClientInfo } from './client-info.js';
import type { Session } from './session.js';
import type { UserAgentDescription } from './user-agent.js';
import type { ReuseKind } from './policy.js';

/** Why a session ended. */
export type EndReason =
  'logout' | 'destroyed' | 'evicted' | 'mismatch' | 'reuse' | 'expired' | 'user-inactive' | 'reauthenticated' | 'admin';

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
  /** A session was refreshed. `rotated` is true if a new refresh token was handed out. */
  'session.refreshed': { readonly session: Session; readonly rotated: boolean };
  /** A session ended. Emitted once, on the process that ended it. */
  'session.ended': { readonly session: Session; readonly reason: EndReason };
  /**
   * This process learned that it must refuse a session's access tokens from now on. Emitted on every process; close sockets
   * here.
   */
  'session.revoked': RevokedSession;
  /** An old refresh token was used after its successor: one of the parties is probably a thief. The session has been ended. */
  'refresh.reused': SupersededTokenEvent & { readonly reuse: ReuseKind };
  /** The superseded token was used within the grace: a retry, concurrent requests, or a careful thief. */
  'refresh.replayed': SupersededTokenEvent;
  /** The superseded token was used after the grace, and its successor was never used: a lost answer, or a careful thief. */
  'refresh.recovered': SupersededTokenEvent;
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
    readonly userId?: UserId;
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
