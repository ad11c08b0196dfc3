import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type MultiSessionConfig, type MultiSessionOptions, readOptions } from '../engine/options.js';
import { MultiSessionConfigurationError } from '../errors.js';
import { STATIC_OPTIONS } from '../import/options.js';
import { SecurityReport } from '../report/security-report.js';
import { EXIT, isObject, readJsonObject, type Terminal, UsageError } from './usage.js';

/** The part of the help that is about the report. */
export const REPORT_USAGE = `nestjs-multisession report --config <file> [options]

Compares a configuration with OWASP ASVS 5.0, chapter V7, and with RFC 9700: each
row with its value, whether it is met, the test that shows it, and what to change.

  --config <file>       the options of MultiSessionModule: a JSON file, or a module of Node that
                        exports them, or a function that returns them, as default or as "options"
  --level <1, 2 or 3>   exit with 1 if a row that this level of ASVS requires is not met
  --json                print the rows as JSON
`;

/**
 * Runs `nestjs-multisession report`.
 * @param args the arguments after `report`
 * @returns the exit code: 1 if `--level` is given and a row of this level is not met
 * @throws UsageError if an argument or the configuration is wrong
 */
export async function runReport(args: readonly string[], { env, out }: Pick<Terminal, 'env' | 'out'>): Promise<number> {
  const { config, level, json } = readArguments(args);
  const report = reportOn(await readConfiguration(config), env);
  out.write(json ? `${JSON.stringify(report.rows, null, 2)}\n` : report.toString());
  return level !== undefined && report.notMet(level).length > 0 ? EXIT.rowsFailed : EXIT.done;
}

function readArguments(args: readonly string[]) {
  const { config, level, json = false } = parse(args).values;
  if (config === undefined)
    throw new UsageError('--config is missing: the file with the options of MultiSessionModule');
  if (level !== undefined && !/^[123]$/.test(level)) throw new UsageError(`--level must be 1, 2 or 3; got "${level}"`);
  return { config, json, level: level === undefined ? undefined : (Number(level) as 1 | 2 | 3) };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { config: { type: 'string' }, level: { type: 'string' }, json: { type: 'boolean' } },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function readConfiguration(path: string): Promise<Record<string, unknown>> {
  if (!/\.[cm]?js$/.test(path)) return readJsonObject(path);
  let options: unknown;
  try {
    const loaded = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
    // A module that TypeScript compiled to CommonJS has its exports in the default one.
    const exported = isObject(loaded.default) && loaded.default.__esModule === true ? loaded.default : loaded;
    const found = exported.options ?? exported.default;
    options = typeof found === 'function' ? await (found as () => unknown)() : found;
  } catch (error) {
    throw new UsageError(`--config: ${path} cannot be loaded: ${(error as Error).message}`);
  }
  if (isObject(options)) return options;
  throw new UsageError(`--config: ${path} must export the options as default or as "options", or a function for them`);
}

function reportOn(all: Record<string, unknown>, env: Terminal['env']): SecurityReport {
  const { controller, management = controller === undefined, admin, devices } = all;
  const given = Object.fromEntries(Object.entries(all).filter(([name]) => !Object.hasOwn(STATIC_OPTIONS, name)));
  const routes = { devices: devices !== undefined && devices !== false, admin: admin !== undefined };
  return new SecurityReport(checked(given, routes, env), {
    sessions: controller !== false,
    management: management !== false,
    admin: routes.admin,
  });
}

/** The report is not about the secrets, so these may be missing in a file. */
function checked(
  given: Record<string, unknown>,
  routes: { devices: boolean; admin: boolean },
  env: Terminal['env'],
): MultiSessionConfig {
  const { jwt = {}, secretKey = false, ...rest } = given;
  const hasKey = !isObject(jwt) || ['secret', 'keys', 'managed'].some((name) => jwt[name] !== undefined);
  const secret = env.JWT_SECRET || randomBytes(32).toString('base64url');
  const options = { ...rest, secretKey, jwt: hasKey ? jwt : { ...jwt, secret } } as unknown as MultiSessionOptions;
  try {
    return readOptions(options, isObject(given.policies) ? Object.keys(given.policies) : [], routes);
  } catch (error) {
    if (!(error instanceof MultiSessionConfigurationError)) throw error;
    throw new UsageError(error.faults.map((fault) => `--config: ${fault}`).join('\n'));
  }
}
