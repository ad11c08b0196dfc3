import type { Claims } from '../token/claims.js';
import { jsonIn } from '../token/issuer-keys.js';
import type { ProviderKeys } from './provider-keys.js';
import { SignalRefusedError } from './signal-error.js';

/** How far the provider's clock may be ahead of the database's, and how late an expiry may be noticed, in milliseconds. */
export const MAX_SKEW = 60_000;

const MAX_TOKEN = 64_000;
const MAX_ID = 255;

/** What a signed token must be. */
export interface ExpectedSignal {
  /** The allowed values of the header `typ`, in lower case and without `application/`. Empty text: the header may be absent. */
  readonly types: readonly string[];
  readonly issuer: string;
  readonly audience: readonly string[];
  /** How old the token may be, in milliseconds. It is remembered for this long, so that it cannot be used again. */
  readonly maxAge: number;
}

/** A token whose signature, issuer, audience and time have been checked. */
export interface SignedSignal {
  /** The claim `jti`. */
  readonly id: string;
  /** The member of the claim `events`, by its URI. */
  readonly events: Readonly<Record<string, unknown>>;
  readonly claims: Claims;
}

/**
 * Returns the issuer that a token names, whose signature is not verified yet.
 * @throws SignalRefusedError if it is no token
 */
export function issuerOf(token: unknown): string {
  if (typeof token !== 'string' || token === '' || token.length > MAX_TOKEN)
    throw new SignalRefusedError('invalid_request', 'There is no token, or it is too long');
  const { iss } = jsonIn(token.split('.')[1] ?? '');
  if (typeof iss !== 'string') throw new SignalRefusedError('invalid_request', 'The token is not a JWT with an issuer');
  return iss;
}

/**
 * Verifies a signed token.
 * @param now the database's time, in milliseconds since 1970
 * @throws SignalRefusedError if it is not valid
 * @throws UnavailableError if the keys of the provider cannot be loaded
 */
export async function verifySignal(
  token: string,
  keys: ProviderKeys,
  expected: ExpectedSignal,
  now: number,
): Promise<SignedSignal> {
  const { typ } = jsonIn(token.split('.')[0]);
  if (!expected.types.includes(typeOf(typ)))
    throw new SignalRefusedError('invalid_request', `The type of the token must be ${expected.types[0]}`);
  const claims = await keys.verify(token);
  if (!claims) throw new SignalRefusedError('invalid_key', 'None of the keys of the issuer has signed the token');
  const { iss, aud, iat, exp, jti } = claims;
  if (iss !== expected.issuer) throw new SignalRefusedError('invalid_issuer', 'The issuer is not known');
  const audiences: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!expected.audience.some((name) => audiences.includes(name)))
    throw new SignalRefusedError('invalid_audience', 'The token is for another audience');
  assertTimely({ iat, exp }, expected.maxAge, now);
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_ID)
    throw new SignalRefusedError('invalid_request', `The claim jti must be a text of at most ${MAX_ID} characters`);
  return { id: jti, events: eventsOf(claims), claims };
}

/** Returns the header `typ` in the form in which it is compared (RFC 7515 section 4.1.9). */
function typeOf(typ: unknown): string {
  if (typ === undefined) return '';
  return typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : 'none';
}

function assertTimely({ iat, exp }: Claims, maxAge: number, now: number): void {
  if (typeof iat !== 'number' || !Number.isFinite(iat))
    throw new SignalRefusedError('invalid_request', 'The claim iat must be a number');
  if (iat * 1000 > now + MAX_SKEW) throw new SignalRefusedError('invalid_request', 'The claim iat is in the future');
  if (iat * 1000 < now - maxAge) throw new SignalRefusedError('invalid_request', 'The token is too old');
  if (exp === undefined) return;
  if (typeof exp !== 'number' || !(exp * 1000 > now - MAX_SKEW))
    throw new SignalRefusedError('invalid_request', 'The token has expired');
}

function eventsOf({ events }: Claims): Readonly<Record<string, unknown>> {
  if (isObject(events)) return events;
  throw new SignalRefusedError('invalid_request', 'The claim events must be an object');
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
