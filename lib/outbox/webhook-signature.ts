import { createHmac } from 'node:crypto';

const PREFIX = 'whsec_';
const MIN_KEY = 24;
const MAX_KEY = 64;

/**
 * Returns the key that a secret of Standard Webhooks stands for.
 * @returns undefined if it is not `whsec_` and the base64 of 24 to 64 bytes
 */
export function webhookKeyOf(secret: string): Buffer | undefined {
  const encoded = secret.slice(PREFIX.length);
  if (!secret.startsWith(PREFIX) || !/^[A-Za-z0-9+/]+={0,2}$/.test(encoded)) return undefined;
  const key = Buffer.from(encoded, 'base64');
  return key.length >= MIN_KEY && key.length <= MAX_KEY ? key : undefined;
}

/** What a signature covers. */
export interface SignedMessage {
  /** The id of the event, the same in each try. */
  readonly id: string;
  /** The time of this try, in seconds since 1970. */
  readonly timestamp: number;
  readonly body: string;
}

/** Returns the headers of a message: its id, its time, and one signature (HMAC-SHA-256, version `v1`) for each key. */
export function signatureHeaders(
  { id, timestamp, body }: SignedMessage,
  keys: readonly Buffer[],
): Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string> {
  const sign = (key: Buffer) => createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
  return {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': keys.map((key) => `v1,${sign(key)}`).join(' '),
  };
}
