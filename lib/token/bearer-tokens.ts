import { type OptionFaults, texts } from '../option-check.js';
import { weaknessOf } from './weak-secret.js';

const MIN_TOKEN = 32;

/** Reads bearer tokens with which a caller identifies itself: one, or several during a rotation. */
export function readBearerTokens(value: unknown, name: string, faults: OptionFaults): readonly string[] {
  const tokens = texts(value, name, faults);
  for (const token of tokens.filter((given) => given.trim() !== '')) {
    const fault =
      token.length < MIN_TOKEN ? `must have at least ${MIN_TOKEN} characters` : weaknessOf(Buffer.from(token));
    if (fault !== undefined) faults.add(name, fault);
    else if (!/^[\w.~+/-]+=*$/.test(token))
      faults.add(name, 'may only have the characters of a bearer token (RFC 6750)');
  }
  return tokens;
}

/** Returns the token of a header `Authorization: Bearer ...`. An empty text, which is no token, if there is none. */
export function bearerTokenIn(authorization: string | undefined): string {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '';
}
