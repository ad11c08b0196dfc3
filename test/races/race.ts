import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from '@jest/globals';
import { BlacklistEntity, SessionEntity } from 'nestjs-multisession';
import { In } from 'typeorm';
import { User } from '../../sample-app/src/users/user.entity.js';
import type { Cluster, ClusterProcess, ProcessAnswer, Tokens } from '../helpers/cluster.js';

/** How often each pair is raced. */
export const ROUNDS = Number(process.env.TEST_ROUNDS ?? 1000);
/** Rounds that run at once. */
export const LANES = 50;
/** How far apart the two sides of a race may start, in milliseconds. */
const MAX_LEAD = 100;

/** A session of a race, with every token that was ever issued for it. */
export interface RacedSession {
  readonly id: string;
  readonly type: string;
  readonly access: string[];
  readonly refresh: string[];
}

export function raced({ session_id: id, access, refresh }: Tokens, type: string): RacedSession {
  return { id, type, access: [access], refresh: [refresh] };
}

/** Refreshes with the session's first token, and adds the new tokens to it. */
export async function refreshed(process: ClusterProcess, session: RacedSession): Promise<ProcessAnswer> {
  const answer = await process.refresh(session.refresh[0], session.type);
  if (answer.status === 200) {
    session.access.push(answer.body.access);
    session.refresh.push(answer.body.refresh);
  }
  return answer;
}

/** The status of an answer, with its error code: `200`, `401 token_not_valid`. */
export function outcome({ status, body }: ProcessAnswer): string {
  return status === 200 ? '200' : `${status} ${body.code}`;
}

/**
 * A random time between `-longest` and `longest`, more often near zero.
 * @param longest milliseconds
 */
export const jitter = (longest: number): number => longest * (2 * Math.random() - 1) ** 3;

/**
 * Runs both at almost the same time. A random delay lets either come first.
 * @param later how much later `one` starts on average, in milliseconds, if it is the faster one
 */
export async function atOnce<A, B>(one: () => Promise<A>, other: () => Promise<B>, later = 0): Promise<[A, B]> {
  const delay = later + jitter(MAX_LEAD);
  return Promise.all([sleep(Math.max(0, delay)).then(one), sleep(Math.max(0, -delay)).then(other)]);
}

/** How many times the rounds are run again until everything has been seen. */
const MOST_REPETITIONS = 20;

/**
 * Runs the rounds in batches, and calls `verify` with the results of each batch.
 * @param isComplete whether everything was seen that must be. Until then, it goes on with further batches: which side wins a
 * race depends on how busy the machine is
 */
export async function inBatches<T>(
  round: (lane: number, batch: number) => Promise<T>,
  verify: (results: T[]) => Promise<void>,
  isComplete: () => boolean = () => true,
): Promise<void> {
  let batch = 0;
  for (let done = 0; done < ROUNDS || (done < MOST_REPETITIONS * ROUNDS && !isComplete()); done += LANES) {
    const lanes = done < ROUNDS ? Math.min(LANES, ROUNDS - done) : LANES;
    await verify(await Promise.all(Array.from({ length: lanes }, (_, lane) => round(lane, batch))));
    batch++;
  }
}

/** Checks what the database holds and what the processes answer. */
export class Inspection {
  constructor(private readonly cluster: Cluster) {}

  /**
   * Checks that ended sessions have no row and one blacklist entry each, and that every process refuses all their tokens.
   * @param reason why they ended, if it is the same for all
   */
  async expectEnded(sessions: readonly RacedSession[], reason?: string): Promise<void> {
    const { rows, entries } = await this.stored(sessions);
    expect(rows.map((row) => row.id)).toEqual([]);
    expect(entries.map((entry) => entry.sessionId).sort()).toEqual(sessions.map((session) => session.id).sort());
    if (reason !== undefined) expect(entries.filter((entry) => entry.reason !== reason)).toEqual([]);
    await this.expectRefused(sessions);
  }

  /** Checks that live sessions have a row and no blacklist entry, and that every process accepts their last access token. */
  async expectLiving(sessions: readonly RacedSession[]): Promise<void> {
    const { rows, entries } = await this.stored(sessions);
    expect(rows.map((row) => row.id).sort()).toEqual(sessions.map((session) => session.id).sort());
    expect(entries).toEqual([]);
    const answers = await this.everywhere(sessions, (process, { access }) => [process.me(access[access.length - 1])]);
    expect(answers.filter((seen) => seen !== '200')).toEqual([]);
  }

  /** Waits until every process knows what the others have committed, and checks that all refuse every token. */
  async expectRefused(sessions: readonly RacedSession[]): Promise<void> {
    await this.untilAllKnow();
    const answers = await this.everywhere(sessions, (process, { type, access, refresh }) => [
      ...access.map((token) => process.me(token)),
      ...refresh.map((token) => process.refresh(token, type)),
    ]);
    expect(answers.filter((seen) => !seen.startsWith('401 '))).toEqual([]);
  }

  /** The rows of all sessions of these users. */
  async rowsOf(usernames: readonly string[]): Promise<SessionEntity[]> {
    const { manager } = this.cluster.dataSource;
    const users = await manager.findBy(User, { username: In(usernames) });
    return manager.findBy(SessionEntity, { userId: In(users.map((user) => String(user.id))) });
  }

  /** Checks that these users have exactly these sessions. */
  async expectOnly(usernames: readonly string[], sessions: readonly RacedSession[]): Promise<void> {
    const rows = await this.rowsOf(usernames);
    expect(rows.map((row) => row.id).sort()).toEqual(sessions.map((session) => session.id).sort());
  }

  async stored(sessions: readonly RacedSession[]): Promise<{ rows: SessionEntity[]; entries: BlacklistEntity[] }> {
    const { manager } = this.cluster.dataSource;
    const ids = sessions.map((session) => session.id);
    return {
      rows: await manager.findBy(SessionEntity, { id: In(ids) }),
      entries: await manager.findBy(BlacklistEntity, { kind: 'session', sessionId: In(ids) }),
    };
  }

  /**
   * Ends a session on each process, and waits until the other processes refuse it. They learn of it by a poll, which also brings
   * everything that was committed before.
   */
  private async untilAllKnow(): Promise<void> {
    const { processes } = this.cluster;
    const canaries = await Promise.all(processes.map((process) => process.loggedIn('canary', 'FREE')));
    await Promise.all(canaries.map(({ refresh }, at) => processes[at].logout(refresh)));
    const isRefused = async (process: ClusterProcess, { access }: Tokens) => (await process.me(access)).status === 401;
    const pairs = processes.flatMap((process) => canaries.map((canary) => () => isRefused(process, canary)));
    await Promise.all(pairs.map(waitUntil));
  }

  private async everywhere(
    sessions: readonly RacedSession[],
    ask: (process: ClusterProcess, session: RacedSession) => Promise<ProcessAnswer>[],
  ): Promise<string[]> {
    const asked = sessions.flatMap((session) => this.cluster.processes.flatMap((process) => ask(process, session)));
    return (await Promise.all(asked)).map(outcome);
  }
}

/**
 * Waits until the condition holds.
 * @throws after ten seconds
 */
export async function waitUntil(condition: () => Promise<boolean>): Promise<void> {
  const giveUp = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > giveUp) throw new Error('the condition did not hold within ten seconds');
    await sleep(10);
  }
}
