import { OptionFaults } from '../../lib/option-check.js';
import { readPolicies, type SessionPolicyOptions } from '../../lib/session/options.js';
import { type RotationState, SessionPolicyService, type Verdict } from '../../lib/session/policy.js';

/**
 * A model of rotation: the server's part is the project's own `judge`, and what is done by its verdict is written here once more, from
 * the design and not from the service. A token is the number that stands for its `jti`, with its generation.
 */
export interface Token {
  readonly id: number;
  readonly generation: number;
}

/** A session's row, as far as rotation goes. Time is a flag: whether the grace of the last rotation is running. */
export interface Server {
  readonly current: Token;
  readonly parent: Token | null;
  /** The highest generation that was seen in use. */
  readonly confirmed: number;
  readonly inGrace: boolean;
}

/** What else of a row `judge` looks at. */
export interface Ends {
  /** Less of the session is left than `whenRemainingBelow` says. */
  readonly isNear?: boolean;
  /** Extension has come to its absolute end. */
  readonly isBound?: boolean;
  readonly isPast?: boolean;
}

/** What the server has come to, and what it answers. */
export interface Outcome {
  readonly server: Server;
  /** The refresh token in the answer; null for none. */
  readonly answer: Token | null;
  /** Whether a new generation began. */
  readonly isNew: boolean;
}

const NOW = 1_000_000_000;
const MINUTE = 60_000;

/** A session as it is after a login. */
export const loggedIn = (current: Token): Server => ({ current, parent: null, confirmed: 0, inGrace: false });

/** The policy of a session type with these options. */
export function policyOf(options: SessionPolicyOptions): SessionPolicyService {
  const faults = new OptionFaults();
  const [[type, config]] = readPolicies({ T: options }, 5 * MINUTE, faults);
  return new SessionPolicyService(type, config);
}

/** What the project says of a token that meets this row. Of a session's hour a minute has gone, or 40 where its end is near. */
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

/** What the design says is done by a verdict. @param id of the new generation, if one begins @returns null where the session ends */
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

/** A generation is seen in use, which is of interest as long as it is the current one. */
export function use(server: Server, generation: number): Server {
  return generation === server.current.generation
    ? { ...server, confirmed: Math.max(server.confirmed, generation) }
    : server;
}
