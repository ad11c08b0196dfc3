import { boolean, checkObject, oneOf, optional, type OptionFaults, text, texts, withDefault } from '../option-check.js';

/** The option `cookies`: how tokens travel in cookies. */
export interface CookieOptions {
  /**
   * Whether a request without the header `X-Session-Transport` uses cookies. The CSRF check requires that header, so only safe
   * methods such as GET pass without it. If you set this to true, clients that keep their tokens themselves must send
   * `X-Session-Transport: body`. Default: false.
   */
  default?: boolean;
  /** Part of the cookies' names, `__Host-<name>-access` and `__Secure-<name>-refresh`. Default: `'session'`. */
  name?: string;
  /**
   * The path of the refresh cookie, as browsers see it. Set it if the session routes are below a global prefix or a version,
   * or if a proxy rewrites paths. Default: the module's `path`, with a leading `/`. If `controller` is your own class and
   * `path` is not set, the default is `/`.
   */
  path?: string;
  /**
   * A host whose subdomains share the cookies. Each subdomain can then overwrite the cookies too. The name of the access cookie
   * begins with `__Secure-` instead of `__Host-`. Default: none, so only the host that set the cookies receives them.
   */
  domain?: string;
  /**
   * `SameSite` of the access cookie. Choose `'none'` if pages of another site use the cookies. `'none'` applies to the refresh
   * cookie too; otherwise that one is `Strict`. Default: `'lax'`.
   */
  sameSite?: 'strict' | 'lax' | 'none';
  /** Other origins whose pages may use the cookies, such as `'https://app.example.com'`. Default: none. */
  origins?: string[];
}

/** The name and attributes of one of the two cookies, in the format of the package `cookie`. */
export interface CookieShape {
  readonly name: string;
  readonly attributes: {
    readonly path: string;
    readonly domain?: string;
    readonly sameSite: 'strict' | 'lax' | 'none';
    readonly httpOnly: true;
    readonly secure: true;
  };
}

/** The checked option `cookies`, with defaults. */
export interface CookieConfig {
  readonly isDefault: boolean;
  readonly origins: ReadonlySet<string>;
  readonly access: CookieShape;
  readonly refresh: CookieShape;
}

type ReadCookies = ReturnType<typeof readMembers> | false;

/** Reads the option `cookies`. */
export function readCookies(given: unknown, name: string, faults: OptionFaults): ReadCookies {
  if (given === undefined || given === false) return false;
  return readMembers(given === true ? {} : given, name, faults);
}

function readMembers(given: unknown, name: string, faults: OptionFaults) {
  return checkObject(given, name, faults, {
    default: withDefault(false, boolean),
    name: withDefault('session', readName),
    path: optional(readPath),
    domain: optional(readDomain),
    sameSite: withDefault('lax', oneOf('strict', 'lax', 'none')),
    origins: withDefault<string[]>([], readOrigins),
  });
}

/**
 * Derives the names and attributes of the two cookies.
 * @param defaultPath the path of the refresh cookie if the options have none
 */
export function toCookieConfig(read: ReadCookies, defaultPath: string): CookieConfig | false {
  if (read === false) return false;
  const { name, domain, sameSite, path = defaultPath } = read;
  const shared = { httpOnly: true, secure: true, ...(domain !== undefined && { domain }) } as const;
  return {
    isDefault: read.default,
    origins: new Set(read.origins),
    access: {
      name: `${domain === undefined ? '__Host' : '__Secure'}-${name}-access`,
      attributes: { ...shared, path: '/', sameSite },
    },
    refresh: {
      name: `__Secure-${name}-refresh`,
      attributes: { ...shared, path, sameSite: sameSite === 'none' ? 'none' : 'strict' },
    },
  };
}

function readName(given: unknown, name: string, faults: OptionFaults): string {
  const read = text(given, name, faults);
  if (!/^[\w!#$%&'*+.^`|~-]*$/.test(read))
    faults.add(name, `may only have letters, digits, - and _; got ${JSON.stringify(read)}`);
  return read;
}

function readPath(given: unknown, name: string, faults: OptionFaults): string {
  const read = text(given, name, faults);
  if (!/^\/[!-:<-~]*$/.test(read))
    faults.add(name, `must be a path, such as '/api/session'; got ${JSON.stringify(read)}`);
  return read;
}

function readDomain(given: unknown, name: string, faults: OptionFaults): string {
  const read = text(given, name, faults);
  const label = '[a-z0-9]([a-z0-9-]*[a-z0-9])?';
  if (!new RegExp(`^${label}(\\.${label})*$`, 'i').test(read))
    faults.add(
      name,
      `must be a host such as 'example.com', without a scheme, a port or a leading dot; got ${JSON.stringify(read)}`,
    );
  return read;
}

function readOrigins(given: unknown, name: string, faults: OptionFaults): string[] {
  if (Array.isArray(given) && given.length === 0) return [];
  const origins = texts(given, name, faults);
  for (const origin of origins) {
    if (!isOrigin(origin))
      faults.add(
        name,
        `must be origins as browsers send them, such as 'https://app.example.com': https (http only for localhost), lower case, no path, no wildcard; got ${JSON.stringify(origin)}`,
      );
  }
  return origins;
}

function isOrigin(origin: string): boolean {
  if (origin.includes('*') || !URL.canParse(origin)) return false;
  const { origin: exact, protocol, hostname } = new URL(origin);
  const isLocal = /^(localhost|.+\.localhost|127\.0\.0\.1|\[::1\])$/.test(hostname);
  return exact === origin && (protocol === 'https:' || (protocol === 'http:' && isLocal));
}
