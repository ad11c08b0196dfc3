import { OptionFaults } from '../../lib/option-check.js';
import { readPolicies, type SessionPolicyOptions } from '../../lib/session/options.js';
import { type RotationState, SessionPolicyService, type Verdict } from '../../lib/session/policy.js';

/**
 * A refresh token in the model of rotation: a number instead of its `jti`, and its generation. The model asks the project's own
 * `judge` for verdicts. What follows from a verdict is written again here, from the design.
 */
export interface Token {
  readonly id: number;
  readonly generation: number;
}

/** The part of a session's row that rotation uses. The only time in it is whether the last rotation's grace is running. */
export interface Server {
  readonly current: Token;
  readonly parent: Token | null;
  /** The highest generation that has been used. */
  readonly confirmed: number;
  readonly inGrace: boolean;
}

/** The rest of a row that `judge` looks at. */
export interface Ends {
  /** Whether less of the session is left than `whenRemainingBelow`. */
  readonly isNear?: boolean;
  /** Whether the session has reached its absolute expiry, and cannot be extended. */
  readonly isBound?: boolean;
  /** Whether the session has expired. */
  readonly isPast?: boolean;
}

/** The server's state after a refresh, and its answer. */
export interface Outcome {
  readonly server: Server;
  /** The refresh token in the answer, or null if it has none. */
  readonly answer: Token | null;
  /** Whether a new generation began. */
  readonly isNew: boolean;
}

const NOW = 1_000_000_000;
const MINUTE = 60_000;

/** The state of a session after its login. */
export const loggedIn = (current: Token): Server => ({ current, parent: null, confirmed: 0, inGrace: false });

/** The policy of a session type with these options. */
export function policyOf(options: SessionPolicyOptions): SessionPolicyService {
  const faults = new OptionFaults();
  const [[type, config]] = readPolicies({ T: options }, 5 * MINUTE, faults);
  return new SessionPolicyService(type, config);
}

/** Asks the project for its verdict. Of a session's hour one minute has passed, or 40 if its expiry is near. */
export function judge(
  policy: SessionPolicyService,
  { current, parent, confirmed, inGrace }: Server,
  token: Token,
  ends: Ends = {},
): Verdict {
  const expiresAt = new Date(ends.isPast ? NOW - 1000 : NOW + (ends.isNear ? 20 : 59) * MINUTE);
  const row: RotationState = {
    generation: current.generation,
    refreshJti: String(current.id),
    parentGeneration: parent?.generation ?? null,
    parentJti: parent && String(parent.id),
    confirmedGeneration: confirmed,
    rotatedAt: new Date(inGrace ? NOW : NOW - policy.config.reuseGrace),
    expiresAt,
    absoluteExpiresAt: ends.isBound ? expiresAt : null,
  };
  return policy.judge(row, { jti: String(token.id), generation: token.generation }, NOW);
}

/**
 * Carries a verdict out, as the design describes.
 * @param id the new token's, if a new generation begins
 * @returns null if the session ends
 */
export function carryOut(
  kind: Verdict['kind'],
  server: Server,
  token: Token,
  id = server.current.id + 1,
): Outcome | null {
  const next = { id, generation: server.current.generation + 1 };
  const again = { server, answer: server.current, isNew: false };
  switch (kind) {
    case 'rotate': {
      const confirmed = server.current.generation;
      return { server: { current: next, parent: server.current, confirmed, inGrace: true }, answer: next, isNew: true };
    }
    case 'recover':
      return { server: { ...server, current: next, inGrace: true }, answer: next, isNew: true };
    case 'renew':
      return { ...again, server: use(server, token.generation) };
    case 'keep':
      return { ...again, server: use(server, token.generation), answer: null };
    case 'replay':
      return again;
    case 'reuse':
    case 'expired':
      return null;
  }
}

/** Confirms a generation that was used, if it is the current one. */
export function use(server: Server, generation: number): Server {
  return generation === server.current.generation
    ? { ...server, confirmed: Math.max(server.confirmed, generation) }
    : server;
}
