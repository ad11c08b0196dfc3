import type { DurableEvent, DurableEventName } from './durable-event.js';
import type { SecurityEventStreamConfig } from './options.js';

/** The outcome of one try. */
export type DeliveryOutcome =
  | { readonly kind: 'accepted' }
  | {
      readonly kind: 'failed';
      /** What went wrong, without values of the event. */
      readonly error: string;
      /** Whether the whole destination seems to be down or overloaded, so that other events should wait too. */
      readonly isDown: boolean;
      /** How long the destination wants to be left alone, in milliseconds. */
      readonly retryAfter?: number;
    }
  /** The destination wants no events any more. */
  | { readonly kind: 'gone' };

/** Something that events are kept for until it has received them. */
export interface EventTarget {
  /** Names it in the database, at most 128 characters. The same in every process. */
  readonly name: string;
  readonly events: readonly DurableEventName[];
  /** If it is a stream: its options. Its receiver decides which of the events it gets. */
  readonly stream?: SecurityEventStreamConfig;
}

/** Something that events are sent to: a webhook, a stream or a handler of the application. */
export interface Destination extends EventTarget {
  /** Delivers one event. Settles within 30 seconds, and never rejects. */
  deliver(event: DurableEvent): Promise<DeliveryOutcome>;
  /** Tells whether its events must wait, because it wants none now. Default: they need not. */
  isHeld?(): Promise<boolean>;
  /** Closes its connections. */
  close?(): void;
}
