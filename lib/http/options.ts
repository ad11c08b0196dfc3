import { type OptionFaults, positiveInteger, text, texts, withDefault } from '../option-check.js';
import { type CookieConfig, type CookieOptions, readCookies, toCookieConfig } from './cookie.options.js';
import type { TokenConfig } from '../token/options.js';

/** The options of the HTTP layer. */
export interface HttpOptions {
  /**
   * The secret key that a caller of login, refresh and logout sends in the field `secret_key` or the header `X-Secret-Key`.
   * Give several keys to rotate without downtime. `false` opens the routes to every caller: choose it for browsers and mobile
   * apps, which cannot keep a secret. Required. It corresponds to `SECRET` in simplejwt_multisessions.
   */
  secretKey: string | string[] | false;
  /** The field of a login that holds the user name. Default: `'username'`. It corresponds to `USERNAME_FIELD` in Django. */
  usernameField?: string;
  /** Maximum length of the field `info` of a login, in characters; at most 16,000. Default: 10,000. */
  maxInfoLength?: number;
  /**
   * Whether browsers may keep their tokens in cookies: true, or an object with details. A request opts in with the header
   * `X-Session-Transport: cookie`. It then needs no secret key, because a browser cannot keep one. Default: false.
   */
  cookies?: boolean | CookieOptions;
  /** The header that carries a permanent token, as in drf-jwt-devices. Default: `'Permanent-Token'`. */
  permanentTokenHeader?: string;
}

/** The checked `HttpOptions`, with defaults. */
export interface HttpConfig {
  readonly secretKeys: readonly string[] | false;
  readonly usernameField: string;
  readonly maxInfoLength: number;
  readonly cookies: CookieConfig | false;
  readonly permanentTokenHeader: string;
  readonly accessTokenHeader: string;
  /** The schemes of the authorization header, each both as configured and in lower case. */
  readonly schemes: ReadonlySet<string>;
}

/** Injection token of `HttpConfig`. */
export const HTTP_CONFIG = 'MULTI_SESSION_HTTP_CONFIG';

/** The checks of `HttpOptions`. The caller merges them with the checks of the other options. */
export const HTTP_CHECKS = {
  secretKey: readSecretKeys,
  usernameField: withDefault('username', readUsernameField),
  maxInfoLength: withDefault(10_000, readMaxInfoLength),
  cookies: readCookies,
  permanentTokenHeader: withDefault('Permanent-Token', readHeaderName),
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
  ...['device-id', 'x-device-model', 'x-secret-key', 'x-session-transport'],
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

function readSecretKeys(given: unknown, name: string, faults: OptionFaults): readonly string[] | false {
  if (given === undefined) {
    faults.add(name, 'is missing; give a long random string, or false if anyone may call login, refresh and logout');
    return false;
  }
  return given === false ? false : texts(given, name, faults);
}

/**
 * Builds the configuration of the HTTP layer from the checked options.
 * @param path the path of the routes, beginning with `/`
 */
export function toHttpConfig(
  read: { [K in keyof typeof HTTP_CHECKS]: ReturnType<(typeof HTTP_CHECKS)[K]> },
  { name, schemes }: TokenConfig['header'],
  path: string,
): HttpConfig {
  return {
    secretKeys: read.secretKey,
    usernameField: read.usernameField,
    maxInfoLength: read.maxInfoLength,
    cookies: toCookieConfig(read.cookies, path),
    permanentTokenHeader: read.permanentTokenHeader,
    accessTokenHeader: name.toLowerCase(),
    // The configured spelling is in the set too, so that the guard rarely has to convert a scheme to lower case.
    schemes: new Set([...schemes, ...schemes.map((scheme) => scheme.toLowerCase())]),
  };
}
