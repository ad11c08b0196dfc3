import { readFileSync } from 'node:fs';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import type { RevocationPush } from 'nestjs-multisession';
import { redisPush } from 'nestjs-multisession/redis';
import type { DataSourceOptions } from 'typeorm';
import { readDatabaseUrl } from './database/database-url.js';
import { DEMO_USERS } from './demo.js';
import { readSessionOptions, type SessionOptions } from './session-options.js';
import { DemoUser } from './users/demo-user.js';

/** The environment variables, parsed and with defaults. */
export interface Environment {
  /** 0: any free port. */
  readonly port: number;
  readonly adapter: 'express' | 'fastify';
  readonly database: DataSourceOptions;
  readonly sessions: SessionOptions;
  /** How processes tell each other about ended sessions, unless the session options name a push. */
  readonly push?: RevocationPush;
  readonly demoUsers: readonly DemoUser[];
  readonly djangoCompat: boolean;
  readonly throttleLogins: boolean;
  /** Whether `/metrics` is served for Prometheus. */
  readonly metrics: boolean;
}

/** Thrown if the application cannot start. The message is for the person who starts it. */
export class StartError extends Error {
  constructor(readonly faults: readonly string[]) {
    super(`The sample application cannot start:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
  }
}

type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Reads the environment variables. An empty variable counts as not set.
 *
 * @throws {@link StartError} that names every variable with a fault
 */
export function readEnvironment(variables: Variables): Environment {
  const faults: string[] = [];
  // If `read` throws, its message becomes the fault of the variable.
  function variable<T>(name: string, fallback: T, read: (value: string) => T): T {
    const value = variables[name];
    if (value === undefined || value.trim() === '') return fallback;
    try {
      return read(value.trim());
    } catch (error) {
      faults.push(`${name}: ${(error as Error).message}`);
      return fallback;
    }
  }
  const djangoCompat = variable('DJANGO_COMPAT', false, oneOf({ '1': true, '0': false }));
  const environment: Environment = {
    port: variable('PORT', 3000, readPort),
    adapter: variable('HTTP_ADAPTER', 'express', oneOf({ express: 'express', fastify: 'fastify' })),
    database: variable('DATABASE_URL', readDatabaseUrl(':memory:'), readDatabaseUrl),
    sessions: variable('SESSION_CONFIG', readSessionOptions({}, variables, djangoCompat), (path) =>
      readSessionOptions(readJson(readText(path)), variables, djangoCompat),
    ),
    push: variable<RevocationPush | undefined>('REDIS_URL', undefined, readRedisUrl),
    demoUsers: variable('DEMO_USERS', DEMO_USERS, (text) => readDemoUsers(readJson(text))),
    djangoCompat,
    metrics: variable('METRICS', false, oneOf({ on: true, off: false })),
    throttleLogins: variable('THROTTLE', true, oneOf({ on: true, off: false })),
  };
  if (faults.length > 0) throw new StartError(faults);
  return environment;
}

function oneOf<T>(choices: Readonly<Record<string, T>>): (value: string) => T {
  return (value) => {
    if (Object.hasOwn(choices, value)) return choices[value];
    throw new Error(`must be ${Object.keys(choices).join(' or ')}; got "${value}"`);
  };
}

function readPort(value: string): number {
  if (/^\d{1,5}$/.test(value) && Number(value) <= 65_535) return Number(value);
  throw new Error(`must be a whole number from 0 to 65535; got "${value}"`);
}

function readRedisUrl(url: string): RevocationPush {
  if (/^rediss?:\/\//.test(url) && URL.canParse(url)) return redisPush({ url });
  throw new Error('must be a URL that begins with redis:// or rediss://');
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`must be the path of a JSON file; ${(error as Error).message}`, { cause: error });
  }
}

// The parser's own message quotes the text, which may hold a password or a key.
function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('is not valid JSON');
  }
}

function readDemoUsers(given: unknown): DemoUser[] {
  const shape = 'must be a list of { "username", "password", "active" }';
  const isObject = (entry: unknown) => entry !== null && typeof entry === 'object' && !Array.isArray(entry);
  if (!Array.isArray(given) || !given.every(isObject)) throw new Error(shape);
  const users = given.map((entry: object) => plainToInstance(DemoUser, entry));
  const names = users.map((user) => user.username);
  users.forEach((user, at) => {
    const [fault] = validateSync(user, { whitelist: true, forbidNonWhitelisted: true, stopAtFirstError: true });
    if (fault) throw new Error(`${shape}; in entry ${at + 1}, ${Object.values(fault.constraints ?? {})[0]}`);
    if (names.indexOf(user.username) !== at) throw new Error(`${shape}; "${user.username}" is listed twice`);
  });
  return users;
}
