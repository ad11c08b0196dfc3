import { createHmac, timingSafeEqual } from 'node:crypto';
import { CLOCK_MARGIN } from '../engine/timing.js';

/** What a challenge is for. One for a registration is not accepted at a refresh, nor the other way round. */
export type ChallengePurpose = 'register' | 'refresh';

/** The content of a challenge of ours. */
export interface Challenge {
  readonly sessionId: string;
  /** The generation of the refresh token that the same answer delivered. */
  readonly generation: number;
  /** When it was made, in milliseconds since 1970, by the database's clock. */
  readonly madeAt: number;
}

const FORM = /^([0-9a-f-]{36})\.([0-9a-z]{1,11})\.([0-9a-z]{1,11})\.([\w-]{43})$/;

/**
 * Writes and reads challenges. A challenge is a statement of its session, generation and time under a MAC. No row is written,
 * so every process can check it, also one that has started since.
 *
 * A challenge may be used several times until it is too old. If an answer is lost, the browser repeats the same proof.
 */
export class DbscChallenges {
  /** @param keys of the MAC: the first one writes, and each is accepted */
  constructor(private readonly keys: readonly Buffer[]) {}

  /** Returns a challenge. */
  write(purpose: ChallengePurpose, { sessionId, generation, madeAt }: Challenge): string {
    const text = `${sessionId}.${generation.toString(36)}.${Math.floor(madeAt).toString(36)}`;
    return `${text}.${macOf(this.keys[0], purpose, text).toString('base64url')}`;
  }

  /** Reads a challenge. Returns undefined if it is none of ours, or was made for another purpose. */
  read(purpose: ChallengePurpose, challenge: string): Challenge | undefined {
    const [, sessionId, generation, madeAt, code] = FORM.exec(challenge) ?? [];
    if (sessionId === undefined) return undefined;
    const text = challenge.slice(0, -code.length - 1);
    const given = Buffer.from(code, 'base64url');
    if (!this.keys.some((key) => timingSafeEqual(macOf(key, purpose, text), given))) return undefined;
    return { sessionId, generation: parseInt(generation, 36), madeAt: parseInt(madeAt, 36) };
  }
}

/**
 * Whether a challenge is recent enough.
 * @param now the database's time, in milliseconds since 1970
 * @param life in milliseconds
 */
export function isRecent({ madeAt }: Challenge, now: number, life: number): boolean {
  // The process that wrote it may have a clock that is ahead of ours.
  return now < madeAt + life && madeAt <= now + CLOCK_MARGIN;
}

function macOf(key: Buffer, purpose: ChallengePurpose, text: string): Buffer {
  return createHmac('sha256', key).update(`${purpose} ${text}`).digest();
}
