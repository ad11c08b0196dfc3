import { boolean, checkObject, oneOf, optional, type OptionFaults, text, texts, withDefault } from '../option-check.js';

/** How the cookie transport works, in the option `cookies`. */
export interface CookieOptions {
  /**
   * Whether a request that has no header `X-Session-Transport` is in the cookie transport. Such a request is then refused
   * where it may change something, so a client that keeps its tokens itself has to say `X-Session-Transport: body`.
   * Default: false.
   */
  default?: boolean;
  /** What the names of the cookies are made of: `__Host-<name>-access` and `__Secure-<name>-refresh`. Default: `'session'`. */
  name?: string;
  /**
   * The path of the refresh cookie, as browsers see it: the session routes behind a global prefix, a version, or a proxy that
   * rewrites. Default: `/` and the module's `path`; `/` where `controller` is a class of the application without one.
   */
  path?: string;
  /**
   * The host whose subdomains get the cookies too, and may then overwrite them: the access cookie's name begins with
   * `__Secure-` instead. Default: none, so that the cookies stay with the host that set them.
   */
  domain?: string;
  /**
   * `SameSite` of the access cookie. The refresh cookie is `Strict`, unless this is `'none'`, for pages of another site.
   * Default: `'lax'`.
   */
  sameSite?: 'strict' | 'lax' | 'none';
  /** The origins of pages elsewhere that may use the cookies: `'https://app.example.com'`. Default: none. */
  origins?: string[];
}

/** One of the two cookies: its name, and its attributes as the package `cookie` has them. */
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

/** `CookieOptions`, checked and completed. */
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

/** The shapes of the two cookies. @param defaultPath the path of the refresh cookie where the options name none */
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
  if (!/^[\w!#$%&'*+.^`|~-]*$/.test(read)) faults.add(name, 'must be a token: letters, digits, - and _');
  return read;
}

function readPath(given: unknown, name: string, faults: OptionFaults): string {
  const read = text(given, name, faults);
  if (!/^\/[!-:<-~]*$/.test(read)) faults.add(name, "must be a path, such as '/api/session'");
  return read;
}

function readDomain(given: unknown, name: string, faults: OptionFaults): string {
  const read = text(given, name, faults);
  const label = '[a-z0-9]([a-z0-9-]*[a-z0-9])?';
  if (!new RegExp(`^${label}(\\.${label})*$`, 'i').test(read))
    faults.add(name, "must be a host without a scheme, a port or a dot before it, such as 'example.com'");
  return read;
}

function readOrigins(given: unknown, name: string, faults: OptionFaults): string[] {
  if (Array.isArray(given) && given.length === 0) return [];
  const origins = texts(given, name, faults);
  for (const origin of origins) {
    if (!isOrigin(origin))
      faults.add(
        name,
        `must be origins as a browser sends them, such as 'https://app.example.com': https (http for localhost alone), in lower case, with no path and no wildcard; got ${JSON.stringify(origin)}`,
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
