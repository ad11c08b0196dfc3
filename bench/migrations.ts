import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { MULTI_SESSION_ENTITIES } from 'nestjs-multisession';
import { multiSessionMigrations } from 'nestjs-multisession/migrations';
import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { FilledSessions, settle } from '../test/helpers/fill.js';
import { inOwnDatabase } from './growth-app.js';
import { wholeNumber } from './options.js';
import { percentile, say, sayTarget, sayTitle, table, whole, writeReport } from './report.js';

/** Databases whose migrations run beside an application. */
const MEASURED: readonly DatabaseName[] = ['postgres', 'mariadb'];
const CLIENTS = 8;
/** Milliseconds between two statements of a client. */
const PACE = 20;
/** The longest time that a statement may take, in milliseconds. */
const MAX_TIME = 500;
/** The distance between two changed sessions: a prime, so that it has no common factor with the number of sessions. */
const STEP = 611_953;

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '5000000' },
    migrations: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '10' },
  },
});
const options = {
  sessions: wholeNumber('sessions', values.sessions, 40),
  /** How many of the newest migrations run. The others are there already. */
  migrations: wholeNumber('migrations', values.migrations, 1),
  seconds: wholeNumber('seconds', values.seconds, 1),
};

/** Measures how long the statements of an application wait while the newest migrations change a large table. */
async function measure(database: DataSourceOptions): Promise<void> {
  const settings = {
    ...database,
    entities: [...MULTI_SESSION_ENTITIES],
    migrations: [...multiSessionMigrations],
    migrationsTransactionMode: 'none',
    synchronize: false,
  } as DataSourceOptions;
  const migrating = await new DataSource(settings).initialize();
  const application = await new DataSource(settings).initialize();
  try {
    await migrating.runMigrations();
    const filled = new FilledSessions(migrating, { rows: options.sessions, kid: 'bench' });
    await filled.fill();
    for (let count = 0; count < options.migrations; count++) await migrating.undoLastMigration();
    await settle(migrating);
    const load = new Writes(application, filled);
    const before = await load.during(() => sleep(options.seconds * 1000));
    const startedAt = performance.now();
    const meanwhile = await load.during(() => migrating.runMigrations());
    report(before, meanwhile, (performance.now() - startedAt) / 1000);
  } finally {
    await application.destroy();
    await migrating.destroy();
  }
}

/** Changes sessions all over the table, as a refresh does, and inserts others, as a login does. */
class Writes {
  private written = 0;
  /** The columns that the table has before the migrations. */
  private columns?: Promise<string>;

  constructor(
    private readonly dataSource: DataSource,
    private readonly filled: FilledSessions,
  ) {}

  /**
   * Writes until `work` is done.
   * @returns how long each statement took, in milliseconds
   */
  async during(work: () => Promise<unknown>): Promise<number[]> {
    const times: number[] = [];
    const end = new AbortController();
    const client = async () => {
      while (!end.signal.aborted) {
        const startedAt = performance.now();
        await this.write(this.written++);
        times.push(performance.now() - startedAt);
        await sleep(PACE);
      }
    };
    const working = work().finally(() => end.abort());
    await Promise.all([working, ...Array.from({ length: CLIENTS }, client)]);
    return times;
  }

  private async write(number: number): Promise<void> {
    const { id } = this.filled.session((number * STEP) % this.filled.filling.rows);
    if (number % 10 > 0) {
      const changed = `generation = generation + 1, rotated_at = ${Date.now()}, expires_at = expires_at + 1000`;
      await this.dataSource.query(`UPDATE user_session SET ${changed} WHERE id = '${id}'`);
      return;
    }
    const columns = await (this.columns ??= this.readColumns());
    const copy = `${id.slice(0, -12)}f${number.toString(16).padStart(11, '0')}`;
    await this.dataSource.query(
      `INSERT INTO user_session (id, ${columns}) SELECT '${copy}', ${columns} FROM user_session WHERE id = '${id}'`,
    );
  }

  private async readColumns(): Promise<string> {
    const runner = this.dataSource.createQueryRunner();
    try {
      const names = (await runner.getTable('user_session'))?.columns.map(({ name }) => name) ?? [];
      return names.filter((name) => name !== 'id').join(', ');
    } finally {
      await runner.release();
    }
  }
}

function report(before: readonly number[], meanwhile: readonly number[], seconds: number): void {
  const line = (what: string, times: readonly number[]) => [
    what,
    whole(times.length),
    ...[50, 99, 100].map((percent) => percentile(times, percent).toFixed(1)),
  ];
  const head = ['writes, in ms', 'count', 'median', 'p99', 'longest'];
  say(table(head, [line('before', before), line('during the migrations', meanwhile)]));
  say(`The migrations took ${seconds.toFixed(1)} s.`);
  sayTarget('longest write during the migrations, in ms', MAX_TIME, percentile(meanwhile, 100), 'at most');
}

for (const name of selectedDatabases().filter((each) => MEASURED.includes(each))) {
  sayTitle(`The ${options.migrations} newest migrations of ${whole(options.sessions)} sessions on ${name}`);
  await inOwnDatabase(name, measure);
}
writeReport('migrations', options);
