import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { DataSource } from 'typeorm';
import { MULTI_SESSION_ENTITIES } from '../lib/nest/entities.js';
import { SessionEntity } from '../lib/session/session.entity.js';
import { createDatabase, type TestDatabase } from '../test/helpers/databases.js';
import { wholeNumber } from './options.js';
import { say, sayTarget, sayTitle, table, whole, writeReport } from './report.js';

/** The targets for a million sessions. */
const MAX_SECONDS = 180;
const MAX_MEGABYTES = 200;
/** Sessions per user. */
const PER_USER = 2.5;

/** Makes a process print the most memory that it had, in KiB, and its CPU time in microseconds. */
const REPORT_USAGE = `data:text/javascript,${encodeURIComponent(
  `process.on('exit', () => {
    const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
    console.error('usage ' + maxRSS + ' ' + (userCPUTime + systemCPUTime));
  });`,
)}`;

/** The tables as Django creates them, as far as the import reads them. */
const OLD_TABLES = [
  `CREATE TABLE simplejwt_multisessions_authenticationsession (
     id bigserial PRIMARY KEY, session_id varchar(510) NOT NULL UNIQUE, session integer NOT NULL,
     refresh varchar(510) NOT NULL, "expiresAt" timestamptz, "createdAt" timestamptz NOT NULL,
     "lastUpdateDate" timestamptz NOT NULL, info text, user_id integer NOT NULL)`,
  `CREATE TABLE token_blacklist_outstandingtoken (
     id bigserial PRIMARY KEY, jti varchar(255) NOT NULL UNIQUE, token text NOT NULL, user_id integer)`,
  'CREATE TABLE token_blacklist_blacklistedtoken (id bigserial PRIMARY KEY, token_id bigint NOT NULL UNIQUE)',
];

const { values } = parseArgs({ options: { sessions: { type: 'string', default: '1000000' } } });
const sessions = wholeNumber('sessions', values.sessions, 1000);

sayTitle(`Import of ${whole(sessions)} sessions of simplejwt_multisessions, from PostgreSQL to PostgreSQL`);
const [from, to] = [await createDatabase('postgres'), await createDatabase('postgres')];
try {
  await fillOldSystem(from);
  const runs = [
    ['first import', await importAll(from, to)],
    ['repeated, nothing has changed', await importAll(from, to)],
  ] as const;
  const rows = runs.map(([what, { seconds, processor, megabytes }]) => [
    what,
    seconds.toFixed(1),
    processor.toFixed(1),
    whole(sessions / seconds),
    whole(megabytes),
  ]);
  say(table(['run', 'seconds', 'CPU of the command', 'sessions a second', 'memory in MB'], rows));
  const [, first] = runs[0];
  sayTarget('seconds for a million sessions', MAX_SECONDS, (first.seconds / sessions) * 1_000_000, 'at most');
  sayTarget('memory in MB', MAX_MEGABYTES, Math.max(...runs.map(([, { megabytes }]) => megabytes)), 'at most');
} finally {
  await from.drop();
  await to.drop();
}
writeReport('import', { sessions });

/** What a run takes: in all, of the CPU in the command's own process, and of memory at most. */
interface Usage {
  readonly seconds: number;
  readonly processor: number;
  readonly megabytes: number;
}

/** Runs the real command, and measures what it takes. */
async function importAll(from: TestDatabase, to: TestDatabase): Promise<Usage> {
  const args = ['import', 'simplejwt-multisessions', '--from', urlOf(from), '--to', urlOf(to)];
  const startedAt = performance.now();
  const child = spawn(process.execPath, [`--import=${REPORT_USAGE}`, 'dist/cli/main.js', ...args], {
    env: { ...process.env, NODE_ENV: 'production' },
  });
  let output = '';
  child.stdout.on('data', (text) => (output += String(text)));
  child.stderr.on('data', (text) => (output += String(text)));
  const [code] = await once(child, 'close');
  const seconds = (performance.now() - startedAt) / 1000;
  const [, kilobytes, microseconds] = /usage (\d+) (\d+)/.exec(output) ?? [];
  if (code !== 0 || microseconds === undefined) throw new Error(`the import failed:\n${output}`);
  const target = await new DataSource({ ...to.options, entities: [...MULTI_SESSION_ENTITIES] }).initialize();
  const imported = await target.manager.count(SessionEntity);
  await target.destroy();
  if (imported !== sessions) throw new Error(`${whole(imported)} sessions are imported:\n${output}`);
  return { seconds, processor: Number(microseconds) / 1e6, megabytes: Number(kilobytes) / 1024 };
}

/** Creates the tables of both sides, and fills those of the old system. */
async function fillOldSystem(old: TestDatabase): Promise<void> {
  const target = new DataSource({ ...to.options, entities: [...MULTI_SESSION_ENTITIES], synchronize: true });
  await (await target.initialize()).destroy();
  const source = await new DataSource(old.options).initialize();
  for (const statement of OLD_TABLES) await source.query(statement);
  const header = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString('base64url');
  await source.query(
    `INSERT INTO simplejwt_multisessions_authenticationsession
       (session_id, session, refresh, "expiresAt", "createdAt", "lastUpdateDate", info, user_id)
     SELECT substr(md5(n::text), 1, 10) || '-' || n, n % 2,
       '${header}.' || rtrim(translate(replace(encode(convert_to(
         '{"token_type":"refresh","exp":2111232539,"iat":1795872539,"jti":"' || md5(n::text) || '","user_id":' || n || '}',
         'UTF8'), 'base64'), E'\\n', ''), '+/', '-_'), '=') || '.' || md5('a' || n) || substr(md5('b' || n), 1, 11),
       now() + interval '1 year', now() - interval '1 day', now(),
       'Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0 Mobile Safari/537.36',
       n % $2::int
     FROM generate_series(1, $1::int) AS n`,
    [sessions, Math.ceil(sessions / PER_USER)],
  );
  await source.query('VACUUM (ANALYZE)');
  await source.destroy();
}

function urlOf({ options }: TestDatabase): string {
  return (options as { url: string }).url;
}
