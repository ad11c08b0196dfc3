import type { EndReason } from '../session/events.js';
import type { UserId } from '../token/options.js';

/** The names of the events that are kept in the database until they are delivered. */
export const DURABLE_EVENTS = [
  'session.created',
  'session.ended',
  'session.client-changed',
  'user.revoked',
  'refresh.reused',
  'refresh.replayed',
  'refresh.recovered',
  'login.new-device',
  'login.failed',
  'device.bound',
  'device.proof-failed',
] as const;

/** The name of an event that is kept in the database until it is delivered (option `events`). */
export type DurableEventName = (typeof DURABLE_EVENTS)[number];

/** Who caused an event: the user, an administrator, a rule such as a limit, or time. As `initiating_entity` of CAEP 1.0. */
export type Initiator = 'user' | 'admin' | 'policy' | 'system';

/** The client that an event is about. It describes itself, except for its address. */
export interface EventClient {
  readonly user_agent: string | null;
  readonly ip_address: string | null;
  readonly device_name: string | null;
}

/** An event as handlers receive it. It may be delivered more than once: `id` is then the same. */
export interface DurableEvent {
  /** A UUID. It is the same in every delivery of the event. */
  readonly id: string;
  readonly name: DurableEventName;
  /** When it happened, by the database's clock. */
  readonly at: Date;
  /** Null for `user.revoked` and `login.failed`. */
  readonly sessionId: string | null;
  /** Null for `login.failed` if it is not known whose login it was. */
  readonly userId: UserId | null;
  readonly sessionType: string | null;
  /** Why the session ended, or why the login failed. Null for all other events. */
  readonly reason: EndReason | 'invalid_credentials' | 'session_limit_reached' | null;
  readonly initiator: Initiator;
  /** The id of the administrator who ended the session. Null if it is not known. Do not show it to the user. */
  readonly initiatorId: UserId | null;
  readonly client: EventClient | null;
  /** What else there is to say, by event. The names are those of the webhook's body. */
  readonly details: Readonly<Record<string, unknown>>;
}

const INITIATORS: Readonly<Record<EndReason, Initiator>> = {
  logout: 'user',
  destroyed: 'user',
  reauthenticated: 'user',
  replaced: 'user',
  evicted: 'policy',
  mismatch: 'policy',
  reuse: 'policy',
  'binding-conflict': 'policy',
  'identity-provider': 'policy',
  'user-inactive': 'policy',
  expired: 'system',
  failover: 'system',
  admin: 'admin',
};

/** Returns who ends sessions for this reason. */
export function initiatorOf(reason: EndReason): Initiator {
  return INITIATORS[reason];
}
