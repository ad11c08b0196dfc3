import { Logger } from '@nestjs/common';
import { before } from '../database/deadline.js';
import type { DeliveryOutcome, Destination } from './destination.js';
import type { DurableEvent, DurableEventName } from './durable-event.js';

/** How long a handler may take, in milliseconds. */
const MAX_TIME = 30_000;

/** A method of the application that handles events. */
export class EventHandler implements Destination {
  private readonly logger = new Logger('MultiSession');
  readonly name: string;

  /**
   * @param name the class and the method, such as `Audit.record`
   * @param handle calls the method
   * @param maxTime how long it may take, in milliseconds. Default: 30 seconds
   */
  constructor(
    name: string,
    readonly events: readonly DurableEventName[],
    private readonly handle: (event: DurableEvent) => unknown,
    private readonly maxTime = MAX_TIME,
  ) {
    this.name = `handler:${name}`;
  }

  async deliver(event: DurableEvent): Promise<DeliveryOutcome> {
    try {
      await before(performance.now() + this.maxTime, () => Promise.resolve(event).then(this.handle));
      return { kind: 'accepted' };
    } catch (error) {
      this.logger.error(
        `${this.name} failed for ${event.name} and will be called again`,
        error instanceof Error ? error.stack : undefined,
      );
      // The message may quote values of the event.
      return { kind: 'failed', error: error instanceof Error ? error.constructor.name : 'threw', isDown: false };
    }
  }
}
