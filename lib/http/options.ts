import { type OptionFaults, positiveInteger, show, text, texts, withDefault } from '../option-check.js';
import { type CookieConfig, type CookieOptions, readCookies, toCookieConfig } from './cookie.options.js';
import type { TokenConfig } from '../token/options.js';
import { DPOP_CHALLENGE } from '../binding/proof-key.js';
import { BEARER_CHALLENGE } from '../refusal.js';
import { weaknessOf } from '../token/weak-secret.js';

/** The options of the HTTP layer. */
export interface HttpOptions {
  /**
   * The secret key that a caller of login, refresh and logout sends in the field `secret_key` or the header `X-Secret-Key`.
   * Give several keys to rotate without downtime. `false` opens the routes to every caller: choose it for browsers and mobile
   * apps, which cannot keep a secret. Required. It corresponds to `SECRET` in simplejwt_multisessions.
   */
  secretKey: string | string[] | false;
  /**
   * Keys for backends that keep a secret, in the same field or header as the secret key: other services that call `verify/`,
   * and servers that call on behalf of a user and pass the user's client on. Front ends may know `secretKey`, but must never
   * know these. Default: none; `verify/` then takes the secret key.
   */
  backendKeys?: string | string[] | undefined;
  /** The field of a login that holds the user name. Default: `'username'`. It corresponds to `USERNAME_FIELD` in Django. */
  usernameField?: string | undefined;
  /** Maximum length of the field `info` of a login, in characters; at most 16,000. Default: 10,000. */
  maxInfoLength?: number | undefined;
  /**
   * Whether browsers may keep their tokens in cookies: true, or an object with details. A request opts in with the header
   * `X-Session-Transport: cookie`. It then needs no secret key, because a browser cannot keep one. Default: false.
   */
  cookies?: boolean | CookieOptions | undefined;
  /** The header that carries a permanent token, as in drf-jwt-devices. Default: `'Permanent-Token'`. */
  permanentTokenHeader?: string | undefined;
  /**
   * The origin at which clients reach the application, such as `'https://api.example.com'`, or several. Include the path if a proxy
   * removes one. DPoP proofs must name it. Default: the scheme and host of the request, as the framework's trusted-proxy
   * setting sees them. Set it in production: the sender of a request chooses the header Host.
   */
  publicOrigin?: string | string[] | undefined;
}

/** The checked `HttpOptions`, with defaults. */
export interface HttpConfig {
  readonly secretKeys: readonly string[] | false;
  /** Default: none. */
  readonly backendKeys?: readonly string[];
  readonly usernameField: string;
  readonly maxInfoLength: number;
  readonly cookies: CookieConfig | false;
  readonly permanentTokenHeader: string;
  readonly accessTokenHeader: string;
  /** The schemes of the authorization header, each both as configured and in lower case. */
  readonly schemes: ReadonlySet<string>;
  /** Each without a slash at its end. Empty if the framework says how clients reach the application. */
  readonly publicOrigins: readonly string[];
  /** The schemes that a request without credentials may use, for `WWW-Authenticate`. */
  readonly challenge: string;
}

/** Injection token of `HttpConfig`. */
export const HTTP_CONFIG = 'MULTI_SESSION_HTTP_CONFIG';

/** The checks of `HttpOptions`. The caller merges them with the checks of the other options. */
export const HTTP_CHECKS = {
  secretKey: readSecretKeys,
  backendKeys: withDefault<readonly string[]>([], readLongKeys),
  usernameField: withDefault('username', readUsernameField),
  maxInfoLength: withDefault(10_000, readMaxInfoLength),
  cookies: readCookies,
  permanentTokenHeader: withDefault('Permanent-Token', readHeaderName),
  publicOrigin: withDefault<readonly string[]>([], readPublicOrigins),
};

/** Fields of a login that `usernameField` must not take. */
const LOGIN_FIELDS = ['password', 'secret_key', 'session', 'info'];

function readUsernameField(given: unknown, name: string, faults: OptionFaults): string {
  const field = text(given, name, faults);
  if (LOGIN_FIELDS.includes(field))
    faults.add(name, `must not be '${field}', which is another field of a login; give another name`);
  return field;
}

const TAKEN_HEADERS = [
  ...['cookie', 'content-type', 'content-length', 'host', 'origin', 'user-agent', 'accept'],
  ...['device-id', 'x-device-model', 'x-secret-key', 'x-session-transport', 'x-client-address', 'x-client-user-agent'],
];

function readHeaderName(given: unknown, name: string, faults: OptionFaults): string {
  const header = text(given, name, faults);
  if (!/^[A-Za-z0-9-]+$/.test(header))
    faults.add(name, `may only have letters, digits and -; got ${JSON.stringify(header)}`);
  if (TAKEN_HEADERS.includes(header.toLowerCase()))
    faults.add(name, `must not be ${header}, which has another meaning; give another name`);
  return header;
}

function readMaxInfoLength(given: unknown, name: string, faults: OptionFaults): number {
  const length = positiveInteger(given, name, faults);
  // The column is a `text`, which holds 65,535 bytes on MySQL and MariaDB. A character takes up to four.
  if (length > 16_000) faults.add(name, `must be at most 16000; got ${length}`);
  return length;
}

/** Fewer characters can be guessed, and no limit of attempts is built in. */
const MIN_SECRET_KEY = 16;

function faultOf(secretKey: string): string | undefined {
  if (secretKey.length < MIN_SECRET_KEY)
    return `must have at least ${MIN_SECRET_KEY} characters; got ${secretKey.length}. Give a long random string`;
  return weaknessOf(Buffer.from(secretKey));
}

function readSecretKeys(given: unknown, name: string, faults: OptionFaults): readonly string[] | false {
  if (given === undefined) {
    faults.add(name, 'is missing; give a long random string, or false if anyone may call login, refresh and logout');
    return false;
  }
  return given === false ? false : readLongKeys(given, name, faults);
}

function readLongKeys(given: unknown, name: string, faults: OptionFaults): readonly string[] {
  const keys = texts(given, name, faults);
  keys.forEach((key, at) => {
    const fault = key.trim() === '' ? undefined : faultOf(key);
    if (fault !== undefined) faults.add(keys.length > 1 ? `${name}[${at}]` : name, fault);
  });
  return keys;
}

/** Reads the origins at which clients reach an application. Each is returned without a slash at its end. */
export function readPublicOrigins(given: unknown, name: string, faults: OptionFaults): readonly string[] {
  const origins = texts(given, name, faults).filter((origin) => origin.trim() !== '');
  return origins.map((origin) => {
    const { protocol, host, pathname, username, search, hash } = URL.canParse(origin) ? new URL(origin) : NO_URL;
    if (!['https:', 'http:'].includes(protocol) || username + search + hash !== '')
      faults.add(name, `must be an origin such as 'https://api.example.com'; got ${show(origin)}`);
    return `${protocol}//${host}${pathname.replace(/\/+$/, '')}`;
  });
}

const NO_URL = { protocol: '', host: '', pathname: '', username: '', search: '', hash: '' };

/**
 * Builds the configuration of the HTTP layer from the checked options.
 * @param takesDpop whether a policy binds sessions to keys
 */
export function toHttpConfig(
  read: { [K in keyof typeof HTTP_CHECKS]: ReturnType<(typeof HTTP_CHECKS)[K]> },
  { name, schemes }: TokenConfig['header'],
  takesDpop: boolean,
): HttpConfig {
  return {
    secretKeys: read.secretKey,
    backendKeys: read.backendKeys,
    usernameField: read.usernameField,
    maxInfoLength: read.maxInfoLength,
    cookies: toCookieConfig(read.cookies),
    permanentTokenHeader: read.permanentTokenHeader,
    accessTokenHeader: name.toLowerCase(),
    // The configured spelling is in the set too, so that the guard rarely has to convert a scheme to lower case.
    schemes: new Set([...schemes, ...schemes.map((scheme) => scheme.toLowerCase())]),
    publicOrigins: read.publicOrigin,
    challenge: takesDpop ? `${BEARER_CHALLENGE}, ${DPOP_CHALLENGE}` : BEARER_CHALLENGE,
  };
}
