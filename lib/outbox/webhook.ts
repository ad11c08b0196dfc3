import type { DeliveryOutcome, Destination } from './destination.js';
import type { DurableEvent } from './durable-event.js';
import { failureOf, GuardedPost, refusalOf } from './guarded-post.js';
import type { WebhookConfig } from './options.js';
import { signatureHeaders } from './webhook-signature.js';

/** Sends events to a server as Standard Webhooks. */
export class Webhook implements Destination {
  readonly name: string;
  readonly events: WebhookConfig['events'];
  private readonly post: GuardedPost;

  /** @param resolveAll resolves the name of the host. Default: the system's resolver */
  constructor(
    private readonly config: WebhookConfig,
    resolveAll?: ConstructorParameters<typeof GuardedPost>[1],
  ) {
    this.name = `webhook:${config.name}`;
    this.events = config.events;
    this.post = new GuardedPost(config, resolveAll);
  }

  async deliver(event: DurableEvent): Promise<DeliveryOutcome> {
    const { id } = event;
    const body = JSON.stringify(bodyOf(event));
    const timestamp = Math.floor(Date.now() / 1000);
    const headers = {
      'content-type': 'application/json',
      ...signatureHeaders({ id, timestamp, body }, this.config.keys),
    };
    try {
      const answer = await this.post.send(headers, body);
      if (answer.status >= 200 && answer.status < 300) return { kind: 'accepted' };
      return answer.status === 410 ? { kind: 'gone' } : refusalOf(answer);
    } catch (error) {
      return failureOf(error);
    }
  }

  close(): void {
    this.post.close();
  }
}

/** The body of a webhook: the event's name, its time, and its data. */
function bodyOf({
  name,
  at,
  sessionId,
  userId,
  sessionType,
  reason,
  initiator,
  initiatorId,
  client,
  details,
}: DurableEvent): object {
  return {
    type: name,
    timestamp: at.toISOString(),
    data: {
      session_id: sessionId,
      user_id: userId,
      session_type: sessionType,
      reason,
      initiator,
      initiator_id: initiatorId,
      client,
      ...details,
    },
  };
}
