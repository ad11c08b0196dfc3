import { OptionFaults } from '../../lib/option-check.js';
import { readPolicies, type SessionPolicyOptions } from '../../lib/session/options.js';
import { parentHashOf } from '../../lib/token/parent-hash.js';
import { type RotationState, SessionPolicyService, type Verdict } from '../../lib/session/policy.js';

/**
 * A refresh token in the model of rotation: a number instead of its `jti`, that of its parent, and its generation. The model asks the project's own
 * `judge` for verdicts. What follows from a verdict is written again here, from the design.
 */
export interface Token {
  readonly id: number;
  readonly generation: number;
  readonly parent?: number;
}

/** The part of a session's row that rotation uses. The only time in it is how long ago the last rotation was. */
export interface Server {
  readonly current: Token;
  readonly parent: Token | null;
  /** The highest generation that has been used. */
  readonly confirmed: number;
  /** How many times the grace has passed since the last rotation. Only 0, 1 and `SETTLED` differ. */
  readonly graces: number;
}

/** As many times the grace passes until a session may rotate again. */
export const SETTLED = 2;

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
export const loggedIn = (current: Token): Server => ({ current, parent: null, confirmed: 0, graces: SETTLED });

/** The policy of a session type with these options. */
export function policyOf(options: SessionPolicyOptions): SessionPolicyService {
  const faults = new OptionFaults();
  const [[type, config]] = readPolicies({ T: options }, 5 * MINUTE, faults);
  return new SessionPolicyService(type, config);
}

/** Asks the project for its verdict. Of a session's hour one minute has passed, or 40 if its expiry is near. */
export function judge(
  policy: SessionPolicyService,
  { current, parent, confirmed, graces }: Server,
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
    createdAt: new Date(NOW - MINUTE),
    lastUpdate: new Date(NOW - MINUTE),
    rotatedAt: new Date(NOW - graces * policy.config.reuseGrace),
    expiresAt,
    absoluteExpiresAt: ends.isBound ? expiresAt : null,
  };
  const { generation, parent: parentId } = token;
  const stated = parentId === undefined ? {} : { parentHash: parentHashOf(String(parentId)) };
  return policy.judge(row, { jti: String(token.id), generation, ...stated }, NOW);
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
  const next = { id, generation: server.current.generation + 1, parent: server.current.id };
  const again = { server, answer: server.current, isNew: false };
  switch (kind) {
    case 'rotate': {
      const confirmed = server.current.generation;
      return { server: { current: next, parent: server.current, confirmed, graces: 0 }, answer: next, isNew: true };
    }
    case 'recover':
      return recovered(server, { ...next, parent: (server.parent as Token).id });
    case 'renew':
      return { ...again, server: use(server, token.generation) };
    case 'keep':
      return { ...again, server: use(server, token.generation), answer: null };
    case 'replay':
      return again;
    case 'hold':
      // The answer in a body. In cookies it has no refresh token. Only the current token shows that its generation is in use.
      return token.id === server.current.id
        ? { ...again, server: use(server, token.generation) }
        : { ...again, answer: null };
    case 'adopt': {
      // It is judged again as the current token, whose age is that of the token.
      const parent = token.parent === server.current.id ? server.current : server.parent;
      const adopted = { current: token, parent, confirmed: token.generation, graces: 0 };
      return { server: adopted, answer: null, isNew: false };
    }
    case 'ahead':
      // Refused, but nothing changes.
      return { ...again, answer: null };
    case 'reuse':
    case 'expired':
    case 'overdue':
      return null;
  }
}

/** Refreshes as the library does after a fail-over too: a token that is adopted is judged again. */
export function refreshFully(policy: SessionPolicyService, server: Server, token: Token, id?: number) {
  const verdicts: Verdict['kind'][] = [];
  for (let current = server; ;) {
    const { kind } = judge(policy, current, token);
    verdicts.push(kind);
    const done = carryOut(kind, current, token, id);
    if (kind !== 'adopt' || !done) return { done, verdicts };
    current = done.server;
  }
}

const recovered = (server: Server, next: Token): Outcome => ({
  server: { ...server, current: next, graces: 0 },
  answer: next,
  isNew: true,
});

/** Confirms a generation that was used, if it is the current one. */
export function use(server: Server, generation: number): Server {
  return generation === server.current.generation
    ? { ...server, confirmed: Math.max(server.confirmed, generation) }
    : server;
}
