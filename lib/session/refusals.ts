import {
  DeviceProofRequiredError,
  SessionNotFoundError,
  SessionProofRequiredError,
  TokenNotValidError,
} from '../errors.js';
import type { RefreshTokenClaims } from '../token/refresh-token.js';
import { isSameType } from './policies.js';
import type { Verdict } from './policy.js';
import type { TokenTransport } from './session.js';
import type { SessionEntity } from './session.entity.js';

/** An error that refuses a refresh token. */
export type Refusal = TokenNotValidError | SessionNotFoundError | SessionProofRequiredError | DeviceProofRequiredError;

/** Distinguishes a refusal from a server fault. Another token may still be granted after a refusal, but not after a fault. */
export function isRefusal(error: unknown): error is Refusal {
  return (
    error instanceof TokenNotValidError ||
    error instanceof SessionNotFoundError ||
    error instanceof SessionProofRequiredError ||
    error instanceof DeviceProofRequiredError
  );
}

/** Whether the session accepts tokens that travel like this. Any, as long as its transport is not known. */
export function accepts(row: Pick<SessionEntity, 'transport'>, transport: TokenTransport | undefined): boolean {
  return row.transport === null || transport === undefined || row.transport === transport;
}

/**
 * Asserts that the session accepts tokens that travel like this. A stolen refresh token is then of no use in the other
 * transport, which asks for other credentials.
 * @throws TokenNotValidError if the session uses the other transport. The session stays
 */
export function assertTransport(row: Pick<SessionEntity, 'transport'>, transport: TokenTransport | undefined): void {
  if (!accepts(row, transport)) throw new TokenNotValidError('refresh');
}

/**
 * Whether the token's type or generation contradicts the row. The library never issues such a token. To forge one, an
 * attacker needs the signing key and a token of their own.
 */
export function contradicts(token: RefreshTokenClaims, row: SessionEntity): boolean {
  return !isSameType(token.type, row.type) || (token.jti === row.refreshJti && token.generation !== row.generation);
}

/** Whether a verdict refuses the token. */
export function isRefused(kind: Verdict['kind']): boolean {
  return kind === 'reuse' || kind === 'ahead' || kind === 'expired' || kind === 'overdue';
}
