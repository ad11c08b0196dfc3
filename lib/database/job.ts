import type { EntityManager } from 'typeorm';
import type { Database } from './database.js';
import type { Dialect } from './dialect.js';
import { SessionJobEntity } from './job.entity.js';
import type { Sql } from './sql.js';

/** The progress of a job between its transactions, as JSON. */
export type JobState = Readonly<Record<string, unknown>>;

/** The job's row, in a transaction that has written it. */
export interface JobTurn {
  /** The progress that the last turn has saved. */
  readonly state: JobState | null;
  /** The database's time at the begin of this turn, in milliseconds since 1970. */
  readonly now: number;
  /** Saves progress in the same transaction. */
  save(state: JobState): Promise<void>;
}

type Work<T> = (transaction: EntityManager, turn: JobTurn) => Promise<T>;

const ENTITIES = [SessionJobEntity];

interface Name {
  readonly name: string;
}

interface Claim extends Name {
  /** The turn of this process, or -1. */
  readonly turn: number;
}

const INSERT: Sql<Name> = {
  entities: ENTITIES,
  text: ({ insertIfAbsent }) =>
    insertIfAbsent('INTO session_job (name, turn, until, state) VALUES (:name, 0, 0, NULL)'),
};

/** A process may work if the turn is its own, or if the last process has not worked for the length of a lease. */
const MAY_WORK = ({ now }: Dialect) => `name = :name AND (until <= ${now} OR turn = :turn)`;

const FIND_IF_FREE: Sql<Claim, Pick<SessionJobEntity, 'name'>> = {
  entities: ENTITIES,
  columns: 'name',
  text: (dialect) => `SELECT name FROM session_job WHERE ${MAY_WORK(dialect)}`,
};

const TAKE_IF_FREE: Sql<Claim & { lease: number }> = {
  entities: ENTITIES,
  text: (dialect) =>
    `UPDATE session_job SET turn = turn + 1, until = ${dialect.now} + :lease WHERE ${MAY_WORK(dialect)}`,
};

const TAKE: Sql<Name> = {
  entities: ENTITIES,
  text: 'UPDATE session_job SET turn = turn + 1, until = 0 WHERE name = :name',
};

const READ: Sql<Name, Pick<SessionJobEntity, 'name' | 'turn' | 'until' | 'state'>> = {
  entities: ENTITIES,
  columns: 'name, turn, until, state',
  text: 'SELECT name, turn, until, state FROM session_job WHERE name = :name',
};

const RELEASE: Sql<Claim> = {
  entities: ENTITIES,
  text: 'UPDATE session_job SET turn = turn + 1, until = 0 WHERE name = :name AND turn = :turn',
};

const SAVE: Sql<Name & { state: string }> = {
  entities: ENTITIES,
  text: 'UPDATE session_job SET state = :state WHERE name = :name',
};

const NO_TURN = -1;

/** Lets the commit of this transaction return before it is on the disk. Only for PostgreSQL. */
const COMMIT_ASYNCHRONOUSLY: Sql<object> = { entities: [], text: 'SET LOCAL synchronous_commit = off' };

/**
 * A job that one process at a time does, on any number of servers. Advisory locks cannot elect that process: those of Galera are
 * local to a node, and on PostgreSQL any role may hold them.
 *
 * Invariant: each transaction of the job writes the job's row first. Two transactions therefore run one after the other, or
 * conflict at their commit. A process whose turn another one has taken finds that out with its first statement, and writes
 * nothing. All times are the database's.
 */
export class Job {
  private turn = NO_TURN;

  /**
   * @param name the name of the row, at most 64 characters
   * @param lease how long after its last transaction a process keeps its turn, in milliseconds. A process that crashes
   * delays the job by this much
   * @param isRepeatable whether a crash of the database may take back the last transactions, because the job does them again.
   * On PostgreSQL, their commits do not wait for the disk. Default: false
   */
  constructor(
    private readonly database: Database,
    private readonly name: string,
    private readonly lease: number,
    private readonly isRepeatable = false,
  ) {}

  /**
   * Runs one transaction of the job, unless it is another process's turn. The turn stays with this process until `release`, or
   * until the lease has passed.
   * @returns undefined if it is another process's turn
   * @throws UnavailableError if the database fails
   * @throws whatever `work` throws, after a rollback
   */
  async run<T>(work: Work<T>): Promise<T | undefined> {
    const { database, name, lease } = this;
    // Most processes find out here, without waiting for the row's lock.
    if (!(await this.mayRun())) return undefined;
    let turn = NO_TURN;
    const result = await database.transaction(this.queue, async (transaction) => {
      turn = NO_TURN;
      const taken = await database.execute(TAKE_IF_FREE, { name, turn: this.turn, lease }, transaction);
      if (taken === 0) return undefined;
      const [row] = await database.query(READ, { name }, transaction);
      turn = row.turn;
      if (this.isRepeatable && database.kind === 'postgres')
        await database.execute(COMMIT_ASYNCHRONOUSLY, {}, transaction);
      return work(transaction, this.turnOf(transaction, row, row.until.getTime() - lease));
    });
    this.turn = turn;
    return result;
  }

  /**
   * Runs a transaction of the job, whosever turn it is. Waits for the transaction that is running. Afterwards any process
   * may have the next turn, and finds what this transaction has saved.
   * @returns what `work` returns
   * @throws UnavailableError if the database fails or the wait takes too long
   * @throws whatever `work` throws, after a rollback
   */
  async takeOver<T>(work: Work<T>): Promise<T> {
    const { database, name } = this;
    return database.transaction(this.queue, async (transaction) => {
      if ((await database.execute(TAKE, { name }, transaction)) === 0) {
        await database.execute(INSERT, { name }, transaction);
        await database.execute(TAKE, { name }, transaction);
      }
      const [row] = await database.query(READ, { name }, transaction);
      return work(transaction, this.turnOf(transaction, row, await this.readTime(transaction)));
    });
  }

  /** Ends the turn of this process, so that any other may have the next one at once. The turn stays if the database fails. */
  async release(): Promise<void> {
    const { database, name, turn } = this;
    if (turn !== NO_TURN) await database.execute(RELEASE, { name, turn });
    // `takeOver` may have begun a new turn meanwhile.
    if (this.turn === turn) this.turn = NO_TURN;
  }

  /** Reads the progress that was saved last, without waiting for the process whose turn it is. */
  async read(): Promise<JobState | null> {
    const [row] = await this.database.query(READ, { name: this.name });
    return row?.state ?? null;
  }

  private get queue(): string {
    return `job ${this.name}`;
  }

  private async mayRun(): Promise<boolean> {
    const { database, name, turn } = this;
    if (turn !== NO_TURN) return true;
    const isFree = (await database.query(FIND_IF_FREE, { name, turn })).length > 0;
    return isFree || (await database.execute(INSERT, { name })) > 0;
  }

  private turnOf(transaction: EntityManager, { state }: Pick<SessionJobEntity, 'state'>, now: number): JobTurn {
    const { database, name } = this;
    const save = async (next: JobState) => {
      await database.execute(SAVE, { name, state: JSON.stringify(next) }, transaction);
    };
    return { state, now, save };
  }

  private async readTime(transaction: EntityManager): Promise<number> {
    const [{ now }] = await transaction.query<[{ now: string | number }]>(`SELECT ${this.database.now} AS now`);
    return Number(now);
  }
}
