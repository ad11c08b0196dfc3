import type { DurableEvent, DurableEventName } from './durable-event.js';

const METADATA = Symbol('nestjs-multisession:on-session-event');

type Handler = (event: DurableEvent) => unknown;

/**
 * Calls the method of a provider for each event with one of these names, at least once and in the order of each session. It
 * needs the option `events`. One process at a time calls it, not necessarily the one in which the event happened.
 *
 * If the method throws or rejects, it is called again later: after 5 seconds, 5 minutes, 30 minutes and so on, ten times in
 * total. It has 30 seconds. `event.id` is the same in each call, so remember it if a second call would do harm.
 *
 * ```ts
 * @Injectable()
 * class Audit {
 *   @OnSessionEvent('session.ended', 'user.revoked')
 *   async record(event: DurableEvent) {}
 * }
 * ```
 */
export function OnSessionEvent(...names: [DurableEventName, ...DurableEventName[]]) {
  return (_: object, __: string | symbol, descriptor: TypedPropertyDescriptor<Handler>): void => {
    Reflect.defineMetadata(METADATA, names, descriptor.value as object);
  };
}

/** Returns the events that a method handles, or undefined if it is not marked with `OnSessionEvent`. */
export function handledEvents(method: unknown): readonly DurableEventName[] | undefined {
  if (typeof method !== 'function') return undefined;
  return Reflect.getMetadata(METADATA, method) as readonly DurableEventName[] | undefined;
}
