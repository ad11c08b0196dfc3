import { type OptionFaults, positiveInteger, text, texts, withDefault } from '../option-check.js';
import { type CookieConfig, type CookieOptions, readCookies, toCookieConfig } from './cookie.options.js';
import type { TokenConfig } from '../token/options.js';

/** The part of the options that is about HTTP. */
export interface HttpOptions {
  /**
   * What a caller of login, refresh and logout must know, in the field `secret_key` or the header `X-Secret-Key`. One, or
   * several so that one can be replaced; or `false`, which opens the routes: a browser or a mobile application cannot keep a
   * secret. There is no default. `SECRET` in simplejwt_multisessions.
   */
  secretKey: string | string[] | false;
  /** The field of a login's body that names the user. Default: `'username'`. Django's `USERNAME_FIELD`. */
  usernameField?: string;
  /** The longest `info` that a login may send, in characters; at most 16 000. Default: 10 000. */
  maxInfoLength?: number;
  /**
   * Whether tokens may travel in cookies, for browsers: true, or how. A request asks for it with the header
   * `X-Session-Transport: cookie`, and is then not asked for the secret key, which no browser can keep: so it is for you to
   * say. Default: false.
   */
  cookies?: boolean | CookieOptions;
  /** The header in which a permanent token travels. Default: `'Permanent-Token'`. drf-jwt-devices. */
  permanentTokenHeader?: string;
}

/** `HttpOptions`, checked and completed. */
export interface HttpConfig {
  readonly secretKeys: readonly string[] | false;
  readonly usernameField: string;
  readonly maxInfoLength: number;
  readonly cookies: CookieConfig | false;
  readonly permanentTokenHeader: string;
  readonly accessTokenHeader: string;
  /** As written, and in lower case. */
  readonly schemes: ReadonlySet<string>;
}

/** The injection token of `HttpConfig`. */
export const HTTP_CONFIG = 'MULTI_SESSION_HTTP_CONFIG';

/** The checks of `HttpOptions`, for the object that they are a part of. */
export const HTTP_CHECKS = {
  secretKey: readSecretKeys,
  usernameField: withDefault('username', readUsernameField),
  maxInfoLength: withDefault(10_000, readMaxInfoLength),
  cookies: readCookies,
  permanentTokenHeader: withDefault('Permanent-Token', readHeaderName),
};

/** The other fields of a login's body. */
const LOGIN_FIELDS = ['password', 'secret_key', 'session', 'info'];

function readUsernameField(given: unknown, name: string, faults: OptionFaults): string {
  const field = text(given, name, faults);
  if (LOGIN_FIELDS.includes(field)) faults.add(name, `must not be ${field}, which is another field of a login`);
  return field;
}

const TAKEN_HEADERS = [
  ...['cookie', 'content-type', 'content-length', 'host', 'origin', 'user-agent', 'accept'],
  ...['device-id', 'x-device-model', 'x-secret-key', 'x-session-transport'],
];

function readHeaderName(given: unknown, name: string, faults: OptionFaults): string {
  const header = text(given, name, faults);
  if (!/^[A-Za-z0-9-]+$/.test(header)) faults.add(name, 'must be letters, digits and -');
  if (TAKEN_HEADERS.includes(header.toLowerCase()))
    faults.add(name, `must not be ${header}, which says something else`);
  return header;
}

function readMaxInfoLength(given: unknown, name: string, faults: OptionFaults): number {
  const most = positiveInteger(given, name, faults);
  // The column is a `text`, which holds 65 535 bytes on MySQL and MariaDB, and a character takes up to four.
  if (most > 16_000) faults.add(name, `must be at most 16000; got ${most}`);
  return most;
}

function readSecretKeys(given: unknown, name: string, faults: OptionFaults): readonly string[] | false {
  if (given === undefined) {
    faults.add(
      name,
      'is missing; give a long random string, or false to say outright that login, refresh and logout are open to all',
    );
    return false;
  }
  return given === false ? false : texts(given, name, faults);
}

/** What the guards work with, from what the checks have read. @param path where the routes are, beginning with `/` */
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
    // As written too, so that the common spelling is found without being folded.
    schemes: new Set([...schemes, ...schemes.map((scheme) => scheme.toLowerCase())]),
  };
}
