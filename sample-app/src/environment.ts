import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
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
  /** The address to listen on. */
  readonly host: string;
  /** The proxies whose `X-Forwarded-For` is believed: their number, or their addresses. False: none. */
  readonly trustProxy: false | number | string[];
  readonly adapter: 'express' | 'fastify';
  /** The certificate and the key with which it serves HTTPS, in PEM. Default: HTTP. */
  readonly https?: { readonly cert: string; readonly key: string };
  readonly database: DataSourceOptions;
  readonly sessions: SessionOptions;
  /** How processes tell each other about ended sessions, unless the session options name a push. */
  readonly push?: RevocationPush;
  readonly demoUsers: readonly DemoUser[];
  /** The names of the users who may open the page `/admin`. Empty: there is no such page. */
  readonly admins: readonly string[];
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

/** Environment variables by name. */
export type Variables = Readonly<Record<string, string | undefined>>;

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
  const isProduction = variables.NODE_ENV === 'production';
  const djangoCompat = variable('DJANGO_COMPAT', false, oneOf({ '1': true, '0': false }));
  const environment: Environment = {
    port: variable('PORT', 3000, readPort),
    host: variable('HOST', '127.0.0.1', readHost),
    trustProxy: variable<Environment['trustProxy']>('TRUST_PROXY', false, readProxies),
    adapter: variable('HTTP_ADAPTER', 'express', oneOf({ express: 'express', fastify: 'fastify' })),
    https: readHttps(variable('TLS_CERT', undefined, readPem), variable('TLS_KEY', undefined, readPem)),
    database: variable('DATABASE_URL', readDatabaseUrl(':memory:'), readDatabaseUrl),
    sessions: variable('SESSION_CONFIG', readSessionOptions({}, variables, djangoCompat), (path) =>
      readSessionOptions(readJson(readText(path)), variables, djangoCompat),
    ),
    push: variable<RevocationPush | undefined>('REDIS_URL', undefined, readRedisUrl),
    demoUsers: variable('DEMO_USERS', isProduction ? [] : DEMO_USERS, (text) => readDemoUsers(readJson(text))),
    admins: variable('ADMINS', [], (text) =>
      text
        .split(',')
        .map((name) => name.trim())
        .filter(Boolean),
    ),
    djangoCompat,
    metrics: variable('METRICS', false, oneOf({ on: true, off: false })),
    throttleLogins: variable('THROTTLE', true, oneOf({ on: true, off: false })),
  };
  if (!variables.TLS_CERT !== !variables.TLS_KEY) faults.push('TLS_CERT, TLS_KEY: set both or neither');
  if (isProduction) faults.push(...faultsInProduction(environment, variables));
  if (faults.length > 0) throw new StartError(faults);
  return environment;
}

/** In production, every process must have the same secrets, and nobody may log in with a public password. */
function faultsInProduction({ sessions, demoUsers }: Environment, variables: Variables): string[] {
  const faults: string[] = [];
  const { keys, managed, privateKey, ...jwt } = sessions.jwt as Record<string, unknown>;
  const hasOwnKey = keys !== undefined || managed !== undefined || privateKey !== undefined;
  if (!hasOwnKey && !variables.JWT_SECRET && jwt.secret === undefined)
    faults.push('JWT_SECRET: must be set if NODE_ENV is production, to at least 32 random bytes');
  const isPublic = ({ password }: DemoUser) => DEMO_USERS.some((user) => user.password === password);
  if (demoUsers.some(isPublic)) faults.push('DEMO_USERS: must not have the public passwords of the demonstration');
  return faults;
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

function readHost(value: string): string {
  if (isIP(value) !== 0 || value === 'localhost') return value;
  throw new Error(`must be an IP address to listen on, or localhost; got "${value}"`);
}

/** Never "all": then every client could choose its own address. */
function readProxies(value: string): number | string[] {
  if (/^[1-9]\d?$/.test(value)) return Number(value);
  const names = value.split(',').map((name) => name.trim());
  const isProxy = (name: string) =>
    isIP(name.replace(/\/\d{1,3}$/, '')) !== 0 || /^(loopback|linklocal|uniquelocal)$/.test(name);
  if (names.every(isProxy)) return names;
  throw new Error(
    `must be the number of proxies, or a list of their addresses, such as "loopback, 10.0.0.0/8"; got "${value}"`,
  );
}

function readRedisUrl(url: string): RevocationPush {
  if (/^rediss?:\/\//.test(url) && URL.canParse(url)) return redisPush({ url });
  throw new Error('must be a URL that begins with redis:// or rediss://');
}

function readHttps(cert: string | undefined, key: string | undefined): Environment['https'] {
  return cert === undefined || key === undefined ? undefined : { cert, key };
}

function readPem(path: string): string | undefined {
  const text = readText(path, 'a PEM file');
  if (!text.includes('-----BEGIN ')) throw new Error('must be the path of a PEM file');
  return text;
}

function readText(path: string, kind = 'a JSON file'): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`must be the path of ${kind}; ${(error as Error).message}`, { cause: error });
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
