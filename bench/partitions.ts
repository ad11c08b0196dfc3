import { parseArgs } from 'node:util';
import type { DataSourceOptions, MigrationInterface } from 'typeorm';
import { partitionBlacklist, partitionSessions } from '../examples/partitions/partitions.js';
import { READ_STATE } from '../lib/revocation/revocation-sql.js';
import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { fillBlacklist, FilledSessions, settle } from '../test/helpers/fill.js';
import { FilledTokens, type GrowthApp, inOwnDatabase, startGrowthApp, writeOut } from './growth-app.js';
import { operationsOn, type Use } from './growth-operations.js';
import { wholeNumber } from './options.js';
import { percentile, say, sayTitle, table, whole, writeReport } from './report.js';

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
const POLL = 'first statement of a poll';
const WARM_UP = 50;

const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '10000000' },
    entries: { type: 'string', default: '1000000' },
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
type Times = Map<string, number[]>;

/** One of the two databases that are compared. */
interface Contestant {
  readonly app: GrowthApp;
  readonly filled: FilledSessions;
  readonly operations: ReadonlyMap<string, () => Use>;
  readonly times: Times;
}

async function measure(name: DatabaseName): Promise<void> {
  await inOwnDatabase(name, (plain) =>
    inOwnDatabase(name, async (split) => {
      const contestants: Contestant[] = [];
      try {
        for (const database of [plain, split]) contestants.push(await enter(database));
        const { app } = contestants[1];
        const sessions = new (partitionSessions({ partitions: options.partitions }))();
        const blacklist = new (partitionBlacklist())();
        const took: string[][] = [];
        for (const [table, migration] of Object.entries({ sessions, blacklist }))
          took.push([`${table}, to partitions`, await converted(app, migration, 'up')]);
        await compare(contestants);
        report(contestants.map(({ times }) => times));
        for (const [table, migration] of Object.entries({ sessions, blacklist }))
          took.push([`${table}, back to one table`, await converted(app, migration, 'down')]);
        say(table(['conversion', 'seconds'], took));
      } finally {
        for (const { app } of contestants) await app.close();
      }
    }),
  );
}

async function enter(database: DataSourceOptions): Promise<Contestant> {
  const app = await startGrowthApp(database);
  const tokens = new FilledTokens();
  const filled = new FilledSessions(app.dataSource, { rows: options.sessions, kid: tokens.kid });
  await filled.fill();
  await fillBlacklist(app.dataSource, { entries: options.entries });
  await settle(app.dataSource);
  await writeOut(app.dataSource);
  const operations = operationsOn({ app, filled, tokens, polling: app });
  return { app, filled, operations, times: new Map([...OPERATIONS, POLL].map((name) => [name, []])) };
}

/** Times the operations in turn, one at a time, so that a disturbance affects all of them alike. */
async function compare(contestants: readonly Contestant[]): Promise<void> {
  for (let round = -Math.min(WARM_UP, options.operations); round < options.operations; round++) {
    // Each round starts with another one.
    const inTurn = round % 2 === 0 ? contestants : [...contestants].reverse();
    for (const name of OPERATIONS) {
      for (const { filled, operations, times } of inTurn) {
        const use = (operations.get(name) as () => Use)();
        const startedAt = performance.now();
        const check = await use.run();
        const took = performance.now() - startedAt;
        await check();
        if (use.changes !== undefined) await filled.restore(use.changes);
        if (round >= 0) times.get(name)?.push(took);
      }
    }
    for (const { app, times } of inTurn) {
      const startedAt = performance.now();
      const now = Date.now();
      await app.database.query(READ_STATE, { since: now - 30_000, recent: now - 2000 });
      if (round >= 0) times.get(POLL)?.push(performance.now() - startedAt);
    }
  }
}

async function converted(
  { dataSource }: GrowthApp,
  migration: MigrationInterface,
  way: 'up' | 'down',
): Promise<string> {
  const runner = dataSource.createQueryRunner();
  const startedAt = performance.now();
  try {
    await migration[way](runner);
  } finally {
    await runner.release();
  }
  const took = ((performance.now() - startedAt) / 1000).toFixed(1);
  await settle(dataSource);
  await writeOut(dataSource);
  return took;
}

function report([plain, split]: readonly Times[]): void {
  const rows = [...plain.keys()].map((name) => {
    const [one, other] = [plain, split].map((times) => [50, 99].map((at) => percentile(times.get(name) ?? [], at)));
    return [name, ...[...one, ...other, other[0] / one[0], other[1] / one[1]].map((value) => value.toFixed(2))];
  });
  const head = ['one table: median', 'p99', 'partitions: median', 'p99', 'ratio of medians', 'of p99'];
  say(table(['operation, in ms', ...head], rows));
}

for (const name of selectedDatabases().filter((each) => MEASURED.includes(each))) {
  sayTitle(`${whole(options.sessions)} sessions and ${whole(options.entries)} entries on ${name}`);
  await measure(name);
}
writeReport('partitions', options);
