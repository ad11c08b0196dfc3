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

/** A refresh with a token that is not the current one, and both parties to it. */
export interface SupersededTokenEvent {
  /** As it was before this refresh. Its address and agent are the other party's: of whoever was handed the current token. */
  readonly session: Session;
  /** The generation of the token that was presented, and the session's. */
  readonly presentedGeneration: number;
  readonly currentGeneration: number;
  /** How long ago the current token was handed out, in milliseconds. */
  readonly age: number;
  /** Who presents the token, and from where. */
  readonly client: ClientInfo;
}

/** The events and what each carries. */
export interface SessionEventMap {
  /** A login, or `SessionService.create`. */
  'session.created': { readonly session: Session };
  /** A refresh; `rotated` where a new refresh token was handed out. */
  'session.refreshed': { readonly session: Session; readonly rotated: boolean };
  /** Once for each session, on the process that ended it. */
  'session.ended': { readonly session: Session; readonly reason: EndReason };
  /** On every process, when it learns of an ending that refuses access tokens: for closing sockets. */
  'session.revoked': RevokedSession;
  /** A token was used again after its successor was: stolen, or its owner's after the thief. The session has been ended. */
  'refresh.reused': SupersededTokenEvent & { readonly reuse: ReuseKind };
  /** The superseded token within the grace: a retry, requests at once, or a careful thief. */
  'refresh.replayed': SupersededTokenEvent;
  /** The superseded token after the grace, its successor never used: a lost answer, or a careful thief. */
  'refresh.recovered': SupersededTokenEvent;
  /** A login from a device that its user has not used, or not for as long as `rememberDevices`; never without that option. */
  'login.new-device': {
    readonly session: Session;
    /** What it says of itself. The address is the session's. */
    readonly device: UserAgentDescription & { readonly name: string | null };
    /** Whether the user has no other: at the first login of all there is nothing to warn of. */
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

/** What happens to sessions, told after its commit. Inject it and listen; a listener that throws breaks no request. */
export class SessionEvents {
  private readonly logger = new Logger('MultiSession');
  private readonly listeners = new Map<SessionEventName, Set<Listener<never>>>();

  /** Calls `listener` for every such event of this process. @returns a function that takes it away again */
  on<N extends SessionEventName>(name: N, listener: Listener<N>): () => void {
    const listeners = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** @internal */
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
