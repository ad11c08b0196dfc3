import {
  boolean,
  checkObject,
  type Duration,
  duration,
  oneOf,
  type OptionFaults,
  optional,
  required,
  text,
  texts,
  timerSpan,
  withDefault,
} from '../option-check.js';
import { isPublicUrl } from '../token/public-url.js';
import { readBearerTokens } from '../token/bearer-tokens.js';
import { DURABLE_EVENTS, type DurableEventName } from './durable-event.js';
import { SECURITY_EVENT_TYPES } from './security-event.js';
import { webhookKeyOf } from './webhook-signature.js';

/** A server that receives events as Standard Webhooks. */
export interface WebhookOptions {
  /** Names the webhook in the database and in the administrators' routes. At most 40 letters, digits, `-` and `_`. */
  name: string;
  /** Where to POST the events. It must be HTTPS, and resolve to public addresses, unless `allowPrivateNetwork` is set. */
  url: string;
  /**
   * The secrets that sign the events, each `whsec_` and the base64 of 24 to 64 random bytes. To rotate, give the new one and the
   * old one, `[next, previous]`: each event has both signatures.
   */
  secrets: string | string[];
  /** The events to send. Default: all. */
  events?: DurableEventName[] | undefined;
  /** How long to wait for the answer. Default: 15 seconds. */
  timeout?: Duration | undefined;
  /** Allows HTTP and addresses that are not public, for a receiver in your own network. Default: false. */
  allowPrivateNetwork?: boolean | undefined;
}

/** A server that receives events as security events (CAEP 1.0), pushed by RFC 8935 or polled by RFC 8936. */
export interface SecurityEventStreamOptions {
  /**
   * Names the stream in the database and in the administrators' routes, and is its `stream_id`. At most 40 letters, digits, `-` and
   * `_`.
   */
  name: string;
  /**
   * Where to POST the events. It must be HTTPS, and resolve to public addresses, unless `allowPrivateNetwork` is set. Leave it out
   * if the receiver polls, which needs `receiverKeys`.
   */
  url?: string | undefined;
  /** The audience that the receiver expects. */
  audience: string;
  /**
   * The bearer tokens with which the receiver manages its stream and polls, each of at least 32 characters. To rotate, give the new
   * one and the old one. They need the static option `eventStreams`. Default: the receiver can only be pushed to.
   */
  receiverKeys?: string | string[] | undefined;
  /** The header `Authorization` that the receiver expects, such as `'Bearer ...'`. Default: none. */
  authorization?: string | undefined;
  /** The events to send: `session.ended` as `session-revoked`, `session.created` as `session-established`. Default: the former. */
  events?: ('session.ended' | 'session.created')[] | undefined;
  /**
   * Whose events to send as long as the receiver has said nothing about a user: those of all users, or only of users whom it has
   * added. Default: `'all'`.
   */
  subjects?: 'all' | 'added' | undefined;
  /** How long to wait for the answer. Default: 15 seconds. */
  timeout?: Duration | undefined;
  /** Allows HTTP and addresses that are not public, for a receiver in your own network. Default: false. */
  allowPrivateNetwork?: boolean | undefined;
}

/** The option `events`. */
export interface EventsOptions {
  /** How long delivered events are kept for the sign-in history and for replay. Default: 90 days. */
  retention?: Duration | undefined;
  /** Servers that receive events. Default: none. */
  webhooks?: WebhookOptions[] | undefined;
  /** Servers that receive security events. They need `jwt.issuer` and a key with a public part. Default: none. */
  streams?: SecurityEventStreamOptions[] | undefined;
  /**
   * The URL of the library's routes as the receivers of streams see it, such as `'https://app.example/api/session'`. Required with
   * the static option `eventStreams`.
   */
  publicUrl?: string | undefined;
}

export interface WebhookConfig {
  readonly name: string;
  readonly url: URL;
  /** The key that each secret stands for. */
  readonly keys: readonly Buffer[];
  readonly events: readonly DurableEventName[];
  /** Milliseconds. */
  readonly timeout: number;
  readonly allowPrivateNetwork: boolean;
}

export interface SecurityEventStreamConfig {
  readonly name: string;
  /** Undefined if the receiver polls. */
  readonly url?: URL;
  readonly audience: string;
  /** Empty if the receiver can only be pushed to. */
  readonly receiverKeys: readonly string[];
  readonly authorization?: string;
  readonly events: readonly (keyof typeof SECURITY_EVENT_TYPES)[];
  readonly subjects: 'all' | 'added';
  /** Milliseconds. */
  readonly timeout: number;
  readonly allowPrivateNetwork: boolean;
}

/** A stream whose events are pushed. */
export type PushedStreamConfig = SecurityEventStreamConfig & { readonly url: URL };

/** Tells whether the events of a stream are pushed, and not polled. */
export function isPushed(stream: SecurityEventStreamConfig): stream is PushedStreamConfig {
  return stream.url !== undefined;
}

export interface EventsConfig {
  /** Milliseconds. */
  readonly retention: number;
  readonly webhooks: readonly WebhookConfig[];
  readonly streams: readonly SecurityEventStreamConfig[];
  /** Without a slash at the end. Undefined if it is not set. */
  readonly publicUrl?: string;
}

const DEFAULT_RETENTION = 90 * 86_400_000;
const DEFAULT_TIMEOUT = 15_000;
/** The last try comes about 75 hours after the first one. Within the lease of a job, every try must come to its end. */
const MIN_RETENTION = 7 * 86_400_000;
const MAX_TIMEOUT = 30_000;

/**
 * Reads the option `events`.
 * @returns null if it is off
 */
export function readEventsOptions(value: unknown, name: string, faults: OptionFaults): EventsConfig | null {
  if (value === undefined || value === false) return null;
  const { retention, webhooks, streams, publicUrl } = checkObject<EventsConfig>(
    value === true ? {} : value,
    name,
    faults,
    {
      retention: withDefault(DEFAULT_RETENTION, duration()),
      webhooks: withDefault<readonly WebhookConfig[]>([], listOf('webhooks', readWebhook)),
      streams: withDefault<readonly SecurityEventStreamConfig[]>([], listOf('streams', readStream)),
      publicUrl: optional(readPublicUrl),
    },
  );
  const keys = streams.flatMap(({ receiverKeys }) => receiverKeys).filter((key) => key !== '');
  if (new Set(keys).size < keys.length)
    faults.add(`${name}.streams`, 'repeat a key in receiverKeys; give each stream keys of its own');
  if (retention > 0 && retention < MIN_RETENTION)
    faults.add(`${name}.retention`, 'must be at least 7 days, because a delivery is tried again for three days');
  return { retention, webhooks, streams, ...(publicUrl !== undefined && { publicUrl }) };
}

/** A check for a list whose members have different names. */
function listOf<T extends { readonly name: string }>(
  what: string,
  read: (value: unknown, name: string, faults: OptionFaults) => T,
) {
  return (value: unknown, name: string, faults: OptionFaults): T[] => {
    if (!Array.isArray(value)) {
      faults.add(name, `must be a list of ${what}`);
      return [];
    }
    const members = value.map((member, at) => read(member, `${name}[${at}]`, faults));
    const names = members.map((member) => member.name);
    for (const repeated of new Set(names.filter((one, at) => names.indexOf(one) !== at)))
      faults.add(name, `must have different names; two are named ${JSON.stringify(repeated)}`);
    return members;
  };
}

function readWebhook(value: unknown, name: string, faults: OptionFaults): WebhookConfig {
  const { secrets, ...read } = checkObject<Omit<WebhookConfig, 'keys'> & { secrets: Buffer[] }>(value, name, faults, {
    name: readName,
    url: readUrl,
    secrets: readSecrets,
    events: withDefault<readonly DurableEventName[]>(DURABLE_EVENTS, readNames),
    timeout: withDefault(DEFAULT_TIMEOUT, timerSpan),
    allowPrivateNetwork: withDefault(false, boolean),
  });
  checkTarget(read, name, faults);
  return { ...read, keys: secrets };
}

/** The events that a stream can send. */
const STREAMED = Object.keys(SECURITY_EVENT_TYPES) as (keyof typeof SECURITY_EVENT_TYPES)[];

function readStream(value: unknown, name: string, faults: OptionFaults): SecurityEventStreamConfig {
  const read = checkObject<SecurityEventStreamConfig>(value, name, faults, {
    name: readName,
    url: optional(readUrl),
    audience: required(text, 'give the audience that the receiver expects'),
    receiverKeys: withDefault<readonly string[]>([], readBearerTokens),
    authorization: optional(readHeader),
    events: withDefault<SecurityEventStreamConfig['events']>(['session.ended'], readStreamed),
    subjects: withDefault('all', oneOf('all', 'added')),
    timeout: withDefault(DEFAULT_TIMEOUT, timerSpan),
    allowPrivateNetwork: withDefault(false, boolean),
  });
  if (isPushed(read)) checkTarget(read, name, faults);
  else if (read.receiverKeys.length === 0)
    faults.add(
      name,
      'has no url and no receiverKeys; set url to push events, or receiverKeys to let the receiver poll',
    );
  return read;
}

function readStreamed(value: unknown, name: string, faults: OptionFaults): SecurityEventStreamConfig['events'] {
  const names = texts(value, name, faults);
  if (names.some((given) => given !== '' && !(STREAMED as readonly string[]).includes(given)))
    faults.add(name, `may only have ${STREAMED.join(' and ')}`);
  return names as (keyof typeof SECURITY_EVENT_TYPES)[];
}

function readPublicUrl(value: unknown, name: string, faults: OptionFaults): string {
  const given = text(value, name, faults);
  if (given === '') return given;
  if (!isPublicUrl(given))
    faults.add(name, 'must be a URL that begins with https:// (http:// on loopback) and has no query and no fragment');
  return given.replace(/\/+$/, '');
}

function readHeader(value: unknown, name: string, faults: OptionFaults): string {
  const given = text(value, name, faults);
  if (/[^\x20-\x7e]/.test(given)) faults.add(name, 'may only have the characters of a header');
  return given;
}

function checkTarget(
  { url, timeout, allowPrivateNetwork }: Pick<WebhookConfig, 'url' | 'timeout' | 'allowPrivateNetwork'>,
  name: string,
  faults: OptionFaults,
): void {
  if (timeout > MAX_TIMEOUT) faults.add(`${name}.timeout`, 'must be at most 30 seconds');
  if (url.protocol === 'http:' && !allowPrivateNetwork)
    faults.add(`${name}.url`, 'must begin with https://; for a receiver in your own network, set allowPrivateNetwork');
}

function readName(value: unknown, name: string, faults: OptionFaults): string {
  const given = text(value, name, faults);
  if (given !== '' && !/^[\w-]{1,40}$/.test(given))
    faults.add(name, 'must consist of at most 40 letters, digits, "-" and "_"');
  return given;
}

function readUrl(value: unknown, name: string, faults: OptionFaults): URL {
  const given = text(value, name, faults);
  const url = URL.canParse(given) ? new URL(given) : undefined;
  const isUsable = url && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
  if (isUsable) return url;
  // The URL may contain a secret, so do not show it.
  if (given !== '') faults.add(name, 'must be a URL that begins with https:// and has no user name and password');
  return new URL('https://invalid.invalid');
}

function readSecrets(value: unknown, name: string, faults: OptionFaults): Buffer[] {
  return texts(value, name, faults).flatMap((secret) => {
    const key = webhookKeyOf(secret);
    if (!key && secret !== '')
      faults.add(
        name,
        'must be whsec_ and the base64 of 24 to 64 random bytes; create it with: openssl rand -base64 32',
      );
    return key ?? [];
  });
}

function readNames(value: unknown, name: string, faults: OptionFaults): DurableEventName[] {
  const names = texts(value, name, faults);
  for (const given of names)
    if (given !== '' && !(DURABLE_EVENTS as readonly string[]).includes(given))
      faults.add(
        name,
        `has no event named ${JSON.stringify(given.slice(0, 40))}; events are ${DURABLE_EVENTS.join(', ')}`,
      );
  return names as DurableEventName[];
}
