import { parseArgs } from 'node:util';
import { ImportDatabaseError, ImportOptionsError } from '../import/errors.js';
import { importSessions } from '../import/import-sessions.js';
import type { ImportOptions } from '../import/options.js';
import { LEGACY_SYSTEMS, type LegacySystem } from '../session/alias.js';
import { Progress } from './progress.js';
import { REPORT_USAGE, runReport } from './report-command.js';
import { reportOf } from './report.js';
import { EXIT, readJsonObject, type Terminal, UsageError } from './usage.js';

const USAGE = `nestjs-multisession import <system> --from <url> --to <url> [options]

Imports the live sessions of another system, so that its users stay logged in.
You can interrupt it and run it again.

Systems:
${LEGACY_SYSTEMS.map((name) => `  ${name}`).join('\n')}

Options:
  --from <url>          the old database, which is only read. Default: $OLD_DATABASE_URL
  --to <url>            the new database. Run the migrations first. Default: $DATABASE_URL
                        postgres://, mysql://, mariadb://, or the path of an SQLite file
  --config <file.json>  the options of MultiSessionModule. The import needs the policies
  --types <list>        new types of simplejwt-multisessions. Default: short=SHORT,long=LONG
  --type <type>         new type of the other systems. Default: DEVICE, or LONG for supertokens-django-ref-jwt
  --user-id <kind>      number or string: the kind of the new application's user ids
  --dry-run             write nothing, and also report which sessions the policies would end at once
  --cutover             declare the move done: later runs update and remove no session
  --help                show this text

Exit codes: 0 done, 1 some rows failed, 2 wrong usage, 3 a database cannot be used.

${REPORT_USAGE}`;

/**
 * Runs the command line.
 * @param args the arguments after the name of the command
 * @returns the exit code
 */
export async function runCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const { out, err } = terminal;
  if (args.includes('--help') || args.length === 0) {
    (args.length === 0 ? err : out).write(USAGE);
    return args.length === 0 ? EXIT.usage : EXIT.done;
  }
  const progress = new Progress(err);
  try {
    if (args[0] === 'report') return await runReport(args.slice(1), terminal);
    const options = readArguments(args, terminal.env);
    const onProgress = progress.show.bind(progress);
    const result = await importSessions({ ...options, signal: terminal.signal, onProgress });
    progress.end();
    out.write(reportOf(result));
    return result.failed > 0 ? EXIT.rowsFailed : EXIT.done;
  } catch (error) {
    progress.end();
    if (error instanceof UsageError || error instanceof ImportOptionsError) {
      err.write(`${error.message}\nRun "nestjs-multisession --help" for the options.\n`);
      return EXIT.usage;
    }
    if (!(error instanceof ImportDatabaseError)) throw error;
    err.write(`${error.message}\nCommitted batches stay. Correct this, and run the command again.\n`);
    return EXIT.database;
  }
}

function readArguments(args: readonly string[], env: Terminal['env']): ImportOptions {
  const { values, positionals } = parse(args);
  const [command, system, ...more] = positionals;
  if (command !== 'import') throw new UsageError(`the command must be "import" or "report"; got "${command ?? ''}"`);
  if (!LEGACY_SYSTEMS.includes(system as LegacySystem))
    throw new UsageError(`the system must be one of ${LEGACY_SYSTEMS.join(', ')}; got "${system ?? ''}"`);
  if (more.length > 0) throw new UsageError(`unexpected argument "${more[0]}"`);
  const from = values.from ?? env.OLD_DATABASE_URL;
  const to = values.to ?? env.DATABASE_URL;
  if (!from) throw new UsageError('--from is missing: the URL of the old database, or the path of its SQLite file');
  if (!to) throw new UsageError('--to is missing: the URL of the new database, or the path of its SQLite file');
  return {
    system: system as LegacySystem,
    from,
    to,
    config: values.config === undefined ? undefined : readJsonObject(values.config),
    types: values.types === undefined ? undefined : readTypes(values.types),
    type: values.type,
    userIdType: readUserIdType(values['user-id']),
    dryRun: values['dry-run'],
    cutover: values.cutover,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        from: { type: 'string' },
        to: { type: 'string' },
        config: { type: 'string' },
        types: { type: 'string' },
        type: { type: 'string' },
        'user-id': { type: 'string' },
        'dry-run': { type: 'boolean' },
        cutover: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function readTypes(list: string): Record<string, string> {
  const pairs = list.split(',').map((pair) => pair.trim().split('='));
  const wrong = pairs.find((pair) => pair.length !== 2 || !pair[0] || !pair[1]);
  if (wrong) throw new UsageError(`--types must look like short=SHORT,long=LONG; got "${wrong.join('=')}"`);
  return Object.fromEntries(pairs as [string, string][]);
}

function readUserIdType(kind: string | undefined): 'number' | 'string' | undefined {
  if (kind === undefined || kind === 'number' || kind === 'string') return kind;
  throw new UsageError(`--user-id must be number or string; got "${kind}"`);
}
