import { parseArgs } from 'node:util';
import type { DataSourceOptions, MigrationInterface } from 'typeorm';
import { partitionBlacklist, partitionSessions } from 'nestjs-multisession/migrations';
import { READ_STATE } from '../lib/revocation/revocation-sql.js';
import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { fillBlacklist, FilledSessions, settle } from '../test/helpers/fill.js';
import { FilledTokens, type GrowthApp, inOwnDatabase, startGrowthApp } from './growth-app.js';
import { operationsOn, type Use } from './growth-operations.js';
import { wholeNumber } from './options.js';
import { median, percentile, say, sayTitle, table, whole, writeReport } from './report.js';

/** Databases that have partitions. */
const MEASURED: readonly DatabaseName[] = ['postgres', 'mariadb'];
const OPERATIONS = [
  'refresh that rotates',
  'login, no limit',
  'login at a limit of 5',
  'list of a user',
  'page of all sessions',
  'logout',
];
const WARM_UP = 50;

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '10000000' },
    entries: { type: 'string', default: '10000000' },
    partitions: { type: 'string', default: '16' },
    operations: { type: 'string', default: '500' },
  },
});
const options = {
  sessions: wholeNumber('sessions', values.sessions, 40),
  entries: wholeNumber('entries', values.entries, 1),
  partitions: wholeNumber('partitions', values.partitions, 2),
  /** How often each operation is timed on each table. */
  operations: wholeNumber('operations', values.operations, 1),
};

/** Durations in milliseconds by operation name. */
type Times = ReadonlyMap<string, readonly number[]>;

async function measure(database: DataSourceOptions): Promise<void> {
  const app = await startGrowthApp(database);
  try {
    const tokens = new FilledTokens();
    const filled = new FilledSessions(app.dataSource, { rows: options.sessions, kid: tokens.kid });
    await filled.fill();
    await fillBlacklist(app.dataSource, { entries: options.entries });
    await settle(app.dataSource);
    const operations = operationsOn({ app, filled, tokens, polling: app });
    const time = () => timesOf(app, operations, filled);

    // Measure the plain table twice, before and after, so that the report shows what the machine alone changes.
    const sessions = new (partitionSessions({ partitions: options.partitions }))();
    const before = await time();
    const took = [`sessions, to partitions: ${await converted(app, sessions, 'up')}`];
    const split = await time();
    took.push(`sessions, back to one table: ${await converted(app, sessions, 'down')}`);
    const after = await time();
    report(['sessions in one table', 'partitions', 'one table again'], [before, split, after]);

    const blacklist = new (partitionBlacklist())();
    took.push(`blacklist, to partitions: ${await converted(app, blacklist, 'up')}`);
    const entries = await time();
    took.push(`blacklist, back to one table: ${await converted(app, blacklist, 'down')}`);
    report(['blacklist in one table', 'partitions'], [after, entries]);
    say(took.join('\n'));
  } finally {
    await app.close();
  }
}

/** Times the operations in turn, one at a time, so that a disturbance affects all of them alike. */
async function timesOf(
  app: GrowthApp,
  operations: ReadonlyMap<string, () => Use>,
  filled: FilledSessions,
): Promise<Times> {
  const times = new Map([...OPERATIONS, 'first statement of a poll'].map((name) => [name, [] as number[]]));
  for (let round = -Math.min(WARM_UP, options.operations); round < options.operations; round++) {
    for (const name of OPERATIONS) {
      const use = (operations.get(name) as () => Use)();
      const startedAt = performance.now();
      const check = await use.run();
      const took = performance.now() - startedAt;
      await check();
      if (use.changes !== undefined) await filled.restore(use.changes);
      if (round >= 0) times.get(name)?.push(took);
    }
    const startedAt = performance.now();
    const now = Date.now();
    await app.database.query(READ_STATE, { since: now - 30_000, recent: now - 2000 });
    if (round >= 0) times.get('first statement of a poll')?.push(performance.now() - startedAt);
  }
  return times;
}

async function converted({ dataSource }: GrowthApp, migration: MigrationInterface, way: 'up' | 'down') {
  const runner = dataSource.createQueryRunner();
  const startedAt = performance.now();
  try {
    await migration[way](runner);
  } finally {
    await runner.release();
  }
  const took = `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
  await settle(dataSource);
  return took;
}

/** Compares each table with the first one. */
function report(names: readonly string[], results: readonly Times[]): void {
  const rows = [...results[0].keys()].map((name) => {
    const cells = results.map((times) => {
      const of = (percent: number) => percentile(times.get(name) ?? [], percent);
      const ratio = (percent: number) => of(percent) / percentile(results[0].get(name) ?? [], percent);
      const shown = `${median(times.get(name) ?? []).toFixed(2)} / ${of(99).toFixed(2)}`;
      return times === results[0] ? [shown] : [shown, `${ratio(50).toFixed(2)} / ${ratio(99).toFixed(2)}`];
    });
    return [name, ...cells.flat()];
  });
  const head = names.flatMap((name, at) => (at === 0 ? [name] : [name, 'ratio']));
  say(table(['median / p99 in ms', ...head], rows));
}

for (const name of selectedDatabases().filter((each) => MEASURED.includes(each))) {
  sayTitle(`${whole(options.sessions)} sessions and ${whole(options.entries)} entries on ${name}`);
  await inOwnDatabase(name, measure);
}
writeReport('partitions', options);
