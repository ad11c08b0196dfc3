import { HttpException } from '@nestjs/common';
import { KeyList } from '../http/key-list.js';
import { MIN_VERIFICATION_INTERVAL } from '../outbox/event-streams.js';
import { type EventsConfig, isPushed, type SecurityEventStreamConfig } from '../outbox/options.js';
import { SECURITY_EVENT_TYPES } from '../outbox/security-event.js';
import { bearerTokenIn } from '../token/bearer-tokens.js';
import type { TokenConfig } from '../token/options.js';
import { STREAM_ROUTES } from './contract.js';

const PUSH = 'urn:ietf:rfc:8935';
const POLL = 'urn:ietf:rfc:8936';

/** Knows the receivers of streams by their keys, and describes their streams to them (SSF 1.0). */
export class StreamReceivers {
  private readonly streams: readonly { readonly stream: SecurityEventStreamConfig; readonly keys: KeyList }[];
  private readonly publicUrl: string;
  private readonly issuer: string;

  /** @param events null if the option is off */
  constructor(events: EventsConfig | null, { issuer }: Pick<TokenConfig, 'issuer'>) {
    this.streams = (events?.streams ?? []).map((stream) => ({ stream, keys: new KeyList(stream.receiverKeys) }));
    this.publicUrl = events?.publicUrl ?? '';
    this.issuer = issuer ?? '';
  }

  /**
   * Returns the stream of a receiver.
   * @param authorization the header of the request
   * @param streamId the stream that the request names. Default: that of the receiver
   * @throws HttpException 401 if the receiver is not known, 404 if the stream is not its own
   */
  streamOf(authorization: string | undefined, streamId?: unknown): SecurityEventStreamConfig {
    const key = bearerTokenIn(authorization);
    // Each stream is compared, so that the time does not tell which one matched.
    const [found] = this.streams.filter(({ keys }) => keys.includes(key));
    if (!found) throw new UnknownReceiverError();
    if (streamId !== undefined && streamId !== found.stream.name) throw refusal(404, 'There is no such stream');
    return found.stream;
  }

  /** Describes a stream (SSF 1.0 section 8.1.1). The header that a pushed stream sends is secret, so it is left out. */
  describe(stream: SecurityEventStreamConfig): Record<string, unknown> {
    return {
      stream_id: stream.name,
      iss: this.issuer,
      aud: stream.audience,
      events_supported: Object.values(SECURITY_EVENT_TYPES),
      events_delivered: stream.events.map((name) => SECURITY_EVENT_TYPES[name]),
      delivery: isPushed(stream)
        ? { method: PUSH, endpoint_url: stream.url.href }
        : { method: POLL, endpoint_url: this.urlOf('poll') },
      min_verification_interval: MIN_VERIFICATION_INTERVAL / 1000,
    };
  }

  /** Returns the transmitter's configuration (SSF 1.0 section 7), or undefined if no receiver has a key. */
  metadata(): Record<string, unknown> | undefined {
    const managed = this.streams.filter(({ keys }) => keys.size > 0).map(({ stream }) => stream);
    if (managed.length === 0) return undefined;
    const defaults = new Set(managed.map(({ subjects }) => subjects));
    return {
      spec_version: '1_0',
      issuer: this.issuer,
      jwks_uri: `${this.publicUrl}/jwks.json`,
      delivery_methods_supported: [PUSH, POLL],
      configuration_endpoint: this.urlOf('read'),
      status_endpoint: this.urlOf('status'),
      add_subject_endpoint: this.urlOf('addSubject'),
      remove_subject_endpoint: this.urlOf('removeSubject'),
      verification_endpoint: this.urlOf('verify'),
      authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6750' }],
      // There is one value for all streams.
      ...(defaults.size === 1 && { default_subjects: defaults.has('all') ? 'ALL' : 'NONE' }),
    };
  }

  /** Returns the path of the transmitter's configuration: the well-known one of the issuer. */
  get metadataPath(): string {
    const { pathname } = new URL(this.issuer);
    return `/.well-known/ssf-configuration${pathname.replace(/\/+$/, '')}`;
  }

  /**
   * Reads the subject of a request: a user of ours.
   * @returns the text of the user id
   * @throws HttpException 400 if it is malformed, 404 if it is anything else
   */
  userIn(subject: unknown): string {
    const { format, user } = (subject ?? {}) as Record<string, unknown>;
    if (typeof format !== 'string') throw refusal(400, 'The member subject must be a subject identifier (RFC 9493)');
    const { format: inner, iss, sub } = ((format === 'complex' ? user : subject) ?? {}) as Record<string, unknown>;
    const isUserOnly = format !== 'complex' || Object.keys(subject as object).length === 2;
    if (inner !== 'iss_sub' || iss !== this.issuer || !isUserOnly)
      throw refusal(404, 'A subject must be a user in the format iss_sub, with our issuer');
    if (typeof sub !== 'string' || sub === '' || sub.length > 255)
      throw refusal(400, 'The member sub must be the id of a user');
    return sub;
  }

  private urlOf(route: keyof typeof STREAM_ROUTES): string {
    return `${this.publicUrl}/${STREAM_ROUTES[route].path}`;
  }
}

/** 401: the receiver is not known. The controller sets the header `WWW-Authenticate`. */
export class UnknownReceiverError extends HttpException {
  constructor() {
    super({ statusCode: 401, message: 'The bearer token is missing or not valid' }, 401);
  }
}

/** Returns an error with Nest's body. */
export function refusal(statusCode: number, message: string): HttpException {
  return new HttpException({ statusCode, message }, statusCode);
}
