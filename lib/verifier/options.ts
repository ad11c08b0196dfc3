import { faultOfIssuer } from './issuer-url.js';
import { type CookieConfig, type CookieOptions, readCookies, toCookieConfig } from '../http/cookie.options.js';
import type { CredentialsConfig } from '../http/authorization-header.js';
import { readPublicOrigins } from '../http/options.js';
import { BEARER_CHALLENGE } from '../refusal.js';
import {
  checkObject,
  type Duration,
  type OptionFaults,
  optional,
  positiveInteger,
  text,
  texts,
  timerSpan,
  withDefault,
} from '../option-check.js';
import type { RevocationPush } from '../revocation/push.js';

/** The options of a service that verifies access tokens without the database. */
export interface VerifierOptions {
  /** The URL of the issuer's session routes, such as `'https://auth.example/api/session'`. `http:` only on a loopback address. */
  issuer: string;
  /** One of the issuer's `backendKeys`. */
  backendKey: string;
  /**
   * The names of this service. A token must name at least one of them in `aud`, so the issuer needs `jwt.audience`. `false`
   * accepts tokens for any service.
   */
  audience: string | string[] | false;
  /** The issuer's option `cookies`, if the service is on the same site and browsers send it the access cookie. Default: false. */
  cookies?: boolean | CookieOptions | undefined;
  /** The header that carries the access token, as in the issuer's `jwt.header`. */
  header?:
    | {
        /** Default: `'authorization'`. */
        name?: string | undefined;
        /** The schemes before the token, in any case. Default: `['Bearer', 'JWT']`. */
        schemes?: string | string[] | undefined;
      }
    | undefined;
  /**
   * The origin at which clients reach this service, such as `'https://notes.example.com'`, or several. Include the path if a proxy
   * removes one. DPoP proofs must name it. Default: the scheme and host of the request. Set it in production: the sender of a
   * request chooses the header Host.
   */
  publicOrigin?: string | string[] | undefined;
  /**
   * If the issuer has not answered for this long, every token is refused with 503. Give it the value of the issuer's
   * `revocation.maxStaleness`, or more. Default: `'10s'`.
   */
  maxStaleness?: Duration | undefined;
  /**
   * Maximum number of ended sessions in memory. While there are more, the service asks the issuer about each token. Default:
   * 1,000,000.
   */
  maxEntries?: number | undefined;
  /** The issuer's option `revocation.push`, such as `redisPush`, to learn of ended sessions even sooner. Default: none. */
  push?: RevocationPush | undefined;
  /** The issuer's `revocation.pushKey`. Required with `push`. */
  pushKey?: string | string[] | undefined;
  /** Receives warnings. Default: `console`, or Nest's logger. */
  logger?: { warn(message: string): void } | undefined;
}

/** `VerifierOptions`, checked and complete. All times are in milliseconds. */
export interface VerifierConfig {
  /** Without a slash at the end. */
  readonly issuer: string;
  readonly backendKey: string;
  readonly audience: readonly string[] | false;
  readonly cookies: CookieConfig | false;
  readonly header: { readonly name: string; readonly schemes: readonly string[] };
  readonly publicOrigins: readonly string[];
  readonly maxStaleness: number;
  readonly maxEntries: number;
  readonly push?: RevocationPush;
  readonly pushKey?: readonly string[];
  readonly logger: { warn(message: string): void };
}

interface ReadOptions extends Omit<VerifierConfig, 'cookies' | 'publicOrigins'> {
  readonly cookies: ReturnType<typeof readCookies>;
  readonly publicOrigin: readonly string[];
}

/** Checks the options and adds the faults it finds to `faults`. */
export function readVerifierOptions(given: unknown, faults: OptionFaults): VerifierConfig {
  const { publicOrigin, ...read } = checkObject<ReadOptions>(given, 'options', faults, {
    issuer: readIssuer,
    backendKey: text,
    audience: readAudience,
    cookies: readCookies,
    header: (value, name) =>
      checkObject(value ?? {}, name, faults, {
        name: withDefault('authorization', text),
        schemes: withDefault(['Bearer', 'JWT'], texts),
      }),
    publicOrigin: withDefault<readonly string[]>([], readPublicOrigins),
    maxStaleness: withDefault(10_000, timerSpan),
    maxEntries: withDefault(1_000_000, positiveInteger),
    push: optional(readPush),
    pushKey: optional(texts),
    logger: withDefault<VerifierConfig['logger']>(console, readLogger),
  });
  if (read.push && !read.pushKey)
    faults.add('options.pushKey', "is missing; give the issuer's revocation.pushKey, which authenticates the messages");
  return { ...read, cookies: toCookieConfig(read.cookies), publicOrigins: publicOrigin };
}

/** Returns what the credentials of a request look like. */
export function credentialsConfigOf({ header, cookies, publicOrigins }: VerifierConfig): CredentialsConfig {
  const { name, schemes } = header;
  return {
    accessTokenHeader: name.toLowerCase(),
    schemes: new Set([...schemes, ...schemes.map((scheme) => scheme.toLowerCase())]),
    cookies,
    publicOrigins,
    challenge: BEARER_CHALLENGE,
  };
}

function readIssuer(value: unknown, name: string, faults: OptionFaults): string {
  const url = text(value, name, faults);
  if (url !== '') {
    const fault = faultOfIssuer(url);
    if (fault !== undefined) faults.add(name, fault);
  }
  return url.replace(/\/+$/, '');
}

function readAudience(value: unknown, name: string, faults: OptionFaults): readonly string[] | false {
  if (value === false) return false;
  if (value !== undefined) return texts(value, name, faults);
  faults.add(name, "is missing; name this service, as in the issuer's jwt.audience, or give false to accept any token");
  return false;
}

function readPush(value: unknown, name: string, faults: OptionFaults): RevocationPush {
  const methods = value as Partial<Record<string, unknown>> | null;
  if (!['start', 'publish', 'stop'].every((method) => typeof methods?.[method] === 'function'))
    faults.add(name, 'must be an object with the methods start, publish and stop, such as redisPush({ url })');
  return value as RevocationPush;
}

function readLogger(value: unknown, name: string, faults: OptionFaults): VerifierConfig['logger'] {
  if (typeof (value as { warn?: unknown } | null)?.warn !== 'function')
    faults.add(name, 'must be an object with the method warn');
  return value as VerifierConfig['logger'];
}
