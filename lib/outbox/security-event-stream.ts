import type { TokenConfig } from '../token/options.js';
import type { DeliveryOutcome, Destination } from './destination.js';
import type { DurableEvent } from './durable-event.js';
import { failureOf, GuardedPost, refusalOf } from './guarded-post.js';
import type { PushedStreamConfig } from './options.js';
import { isSecurityEvent, securityEventClaims, type SecurityEventSigner } from './security-event.js';
import type { StreamStates } from './stream-states.js';

/** Returns the name of a stream as a destination of events. */
export function streamDestination({ name }: { readonly name: string }): string {
  return `stream:${name}`;
}

/** Sends events to a server as security events: CAEP 1.0 in security event tokens (RFC 8417), pushed by RFC 8935. */
export class SecurityEventStream implements Destination {
  readonly name: string;
  readonly events: PushedStreamConfig['events'];
  private readonly post: GuardedPost;

  /** @param now returns the database's time, in milliseconds since 1970 */
  constructor(
    readonly stream: PushedStreamConfig,
    private readonly tokens: Pick<TokenConfig, 'issuer'>,
    private readonly sign: SecurityEventSigner,
    private readonly states: StreamStates,
    private readonly now: () => number,
  ) {
    this.name = streamDestination(stream);
    this.events = stream.events;
    this.post = new GuardedPost(stream);
  }

  async isHeld(): Promise<boolean> {
    const { receiverKeys, name } = this.stream;
    // Without a key, the receiver cannot change the status.
    return receiverKeys.length > 0 && (await this.states.read(name)).status !== 'enabled';
  }

  async deliver(event: DurableEvent): Promise<DeliveryOutcome> {
    const { authorization, audience, name } = this.stream;
    // Versions before this one have distributed such events.
    if (!isSecurityEvent(event)) return { kind: 'accepted' };
    const headers = {
      'content-type': 'application/secevent+jwt',
      accept: 'application/json',
      ...(authorization !== undefined && { authorization }),
    };
    try {
      const claims = securityEventClaims(event, this.tokens.issuer ?? '', name, this.now());
      const answer = await this.post.send(headers, this.sign(claims, audience), true);
      return answer.status >= 200 && answer.status < 300
        ? { kind: 'accepted' }
        : refusalOf(answer, codeIn(answer.content));
    } catch (error) {
      return failureOf(error);
    }
  }

  close(): void {
    this.post.close();
  }
}

/** Returns the error code of a refusal, in parentheses. Empty if there is none. */
function codeIn(content: string): string {
  const [, code] = /"err"\s*:\s*"(\w{1,40})"/.exec(content) ?? [];
  return code === undefined ? '' : ` (${code})`;
}
