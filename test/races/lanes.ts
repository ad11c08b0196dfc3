import { afterAll, beforeAll } from '@jest/globals';
import type { MultiSessionOptions } from 'nestjs-multisession';
import { type Cluster, startCluster, type Tokens } from '../helpers/cluster.js';
import type { DatabaseName } from '../helpers/databases.js';
import type { Tally } from '../helpers/tally.js';
import { Inspection, LANES, outcome, raced, type RacedSession, ROUNDS } from './race.js';

/** The processes of a suite and the users of its lanes. Each user has one session of the type `FREE` that the races never end. */
export class Lanes {
  cluster!: Cluster;
  inspection!: Inspection;
  /** The session of each user that stays, and ends the others. */
  kept!: Tokens[];
  readonly users: readonly string[];
  private readonly lines: string[] = [];

  private constructor(
    private readonly databaseName: DatabaseName,
    private readonly options: Partial<MultiSessionOptions>,
    count: number,
  ) {
    this.users = Array.from({ length: count }, (_, user) => `user-${user}`);
  }

  /**
   * Starts the processes before the tests of the suite, and stops them afterwards.
   * @param count how many users there are. Default: one for each lane, so that no race affects another
   */
  static of(databaseName: DatabaseName, options: Partial<MultiSessionOptions>, count = LANES): Lanes {
    const lanes = new Lanes(databaseName, options, count);
    beforeAll(() => lanes.start());
    afterAll(() => lanes.stop());
    return lanes;
  }

  private async start(): Promise<void> {
    const { users } = this;
    this.cluster = await startCluster(this.databaseName, { revocation: { pollInterval: '100ms' }, ...this.options });
    this.inspection = new Inspection(this.cluster);
    await this.cluster.addUsers(['canary', ...users]);
    this.kept = await Promise.all(users.map((user) => this.cluster.any().loggedIn(user, 'FREE')));
  }

  private async stop(): Promise<void> {
    console.log(this.lines.join('\n'));
    await this.cluster?.stop();
  }

  get keptSessions(): RacedSession[] {
    return this.kept.map((tokens) => raced(tokens, 'FREE'));
  }

  async newSession(lane: number, type = 'FREE'): Promise<RacedSession> {
    return raced(await this.cluster.any().loggedIn(this.users[lane], type), type);
  }

  async logout(session: RacedSession): Promise<string> {
    return outcome(await this.cluster.any().logout(session.refresh[0]));
  }

  async destroyAllOther(lane: number): Promise<string> {
    return outcome(await this.cluster.any().destroyAllOther(this.kept[lane]));
  }

  /** Prints the outcomes after the tests. */
  report(title: string, tally: Tally): void {
    this.lines.push(`${this.databaseName}: ${title}, ${ROUNDS} rounds: ${String(tally)}`);
  }
}
