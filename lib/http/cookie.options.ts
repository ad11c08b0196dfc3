import { boolean, checkObject, oneOf, optional, type OptionFaults, text, texts, withDefault } from '../option-check.js';
import { isLoopbackHost } from '../token/public-url.js';

/** The option `cookies`: how tokens travel in cookies. */
export interface CookieOptions {
  /**
   * Whether a request without the header `X-Session-Transport` uses cookies. The CSRF check requires that header, so only safe
   * methods such as GET pass without it. If you set this to true, clients that keep their tokens themselves must send
   * `X-Session-Transport: body`. Default: false.
   */
  default?: boolean | undefined;
  /**
   * Part of the cookies' names: `__Host-<name>-access`, `__Secure-<name>-refresh` and `__Host-<name>-proof`. Default:
   * `'session'`.
   */
  name?: string | undefined;
  /**
   * The path of the refresh cookie, as browsers see it. Set it if a proxy rewrites paths, or if routes of your own read the
   * cookie. Default: the path of the session routes, with the global prefix and the version.
   */
  path?: string | undefined;
  /**
   * A host whose subdomains share the access and the refresh cookie. Each subdomain can then overwrite them too. The name of
   * the access cookie begins with `__Secure-` instead of `__Host-`, and it no longer proves whose session a refresh cookie
   * belongs to. Default: none, so only the host that set the cookies receives them.
   */
  domain?: string | undefined;
  /**
   * `SameSite` of the access cookie. Choose `'none'` if pages of another site use the cookies. `'none'` applies to the other
   * cookies too; otherwise those are `Strict`. Default: `'lax'`.
   */
  sameSite?: 'strict' | 'lax' | 'none' | undefined;
  /**
   * Other origins whose pages may use the cookies, such as `'https://app.example.com'` or `'capacitor://localhost'`. List
   * your own origin too if a proxy changes the header `Host` and your pages open sockets. Default: none.
   */
  origins?: string[] | undefined;
  /**
   * `'auto'` lets developers and tests log in over plain HTTP: on a request to a loopback address, the cookies have no prefix
   * and no attribute `Secure`. It has no effect if `NODE_ENV` is `production`. Default: true.
   */
  secure?: true | 'auto' | undefined;
  /**
   * Whether the cookies are partitioned (CHIPS): a browser keeps them apart for each site that embeds your pages. Requires
   * `sameSite: 'none'`. Default: false.
   */
  partitioned?: boolean | undefined;
  /**
   * Whether the cookies of a login outlive the browser session, unless the login says it itself with `persistent`. Default:
   * true.
   */
  persistent?: boolean | undefined;
  /**
   * Whether a login ends the session that the browser already has, whoever's it is. Otherwise the old session stays in the
   * list of devices, although nobody can use it any more. Default: true.
   */
  replaceOnLogin?: boolean | undefined;
  /**
   * Whether a server renders your pages and renews access tokens for them (`renewal` in a policy). The refresh cookie then has
   * the path `/`, so that the renderer receives it, and it and the proof have the `SameSite` of the access cookie, so that a
   * link from another site opens a page of a user who is logged in. Default: false.
   */
  serverRendering?: boolean | undefined;
}

/** The cookies: the access token, the refresh token, and the proof that this host has set the refresh cookie. */
export const COOKIE_KINDS = ['access', 'refresh', 'proof'] as const;
export type CookieKind = (typeof COOKIE_KINDS)[number];

/** The name and attributes of a cookie, in the format of the package `cookie`. */
export interface CookieShape {
  readonly name: string;
  readonly attributes: {
    /** Undefined for the refresh cookie: see `CookiePath`. */
    readonly path?: string;
    readonly domain?: string;
    readonly sameSite: 'strict' | 'lax' | 'none';
    readonly httpOnly: true;
    readonly secure: boolean;
    readonly partitioned?: boolean;
  };
}

type CookieShapes = Readonly<Record<CookieKind, CookieShape>>;

/** The checked option `cookies`, with defaults. */
export interface CookieConfig extends CookieShapes {
  readonly isDefault: boolean;
  readonly origins: ReadonlySet<string>;
  /** The option `path`. */
  readonly path?: string;
  /** Whether other hosts share the cookies, and can set them. */
  readonly isShared: boolean;
  readonly isPersistent: boolean;
  readonly replaceOnLogin: boolean;
  readonly serverRendering: boolean;
  /** The cookies on a request to a loopback address. Undefined unless `secure` is `'auto'`. */
  readonly loopback?: CookieShapes;
}

type ReadMembers = ReturnType<typeof readMembers>;
type ReadCookies = ReadMembers | false;

/** Reads the option `cookies`. */
export function readCookies(given: unknown, name: string, faults: OptionFaults): ReadCookies {
  if (given === undefined || given === false) return false;
  return readMembers(given === true ? {} : given, name, faults);
}

function readMembers(given: unknown, name: string, faults: OptionFaults) {
  const read = checkObject(given, name, faults, {
    default: withDefault(false, boolean),
    name: withDefault('session', readName),
    path: optional(readPath),
    domain: optional(readDomain),
    sameSite: withDefault('lax', oneOf('strict', 'lax', 'none')),
    origins: withDefault<string[]>([], readOrigins),
    secure: withDefault<true | 'auto'>(true, readSecure),
    partitioned: withDefault(false, boolean),
    persistent: withDefault(true, boolean),
    replaceOnLogin: withDefault(true, boolean),
    serverRendering: withDefault(false, boolean),
  });
  if (read.partitioned && read.sameSite !== 'none')
    faults.add(
      `${name}.partitioned`,
      "needs sameSite: 'none', because a browser sends no other cookie to a page that another site embeds",
    );
  if (read.serverRendering && read.path !== undefined && read.path !== '/')
    faults.add(
      `${name}.path`,
      `must be '/' or left out with serverRendering, because the refresh cookie must reach every page; got ${JSON.stringify(read.path)}`,
    );
  return read;
}

/** Derives the names and attributes of the cookies. */
export function toCookieConfig(read: ReadCookies): CookieConfig | false {
  if (read === false) return false;
  const isAuto = read.secure === 'auto' && process.env.NODE_ENV !== 'production';
  return {
    isDefault: read.default,
    origins: new Set(read.origins),
    ...(read.serverRendering ? { path: '/' } : read.path !== undefined && { path: read.path }),
    isShared: read.domain !== undefined,
    isPersistent: read.persistent,
    replaceOnLogin: read.replaceOnLogin,
    serverRendering: read.serverRendering,
    ...shapesOf(read),
    ...(isAuto && { loopback: shapesOnLoopback(read) }),
  };
}

function shapesOf({ name, domain, sameSite, partitioned, serverRendering }: ReadMembers): CookieShapes {
  const shared = { httpOnly: true, secure: true, ...(partitioned && { partitioned }) } as const;
  const onDomain = domain !== undefined && { domain };
  const strict = sameSite === 'none' || serverRendering ? sameSite : 'strict';
  return {
    access: {
      name: `${domain === undefined ? '__Host' : '__Secure'}-${name}-access`,
      attributes: { ...shared, ...onDomain, path: '/', sameSite },
    },
    refresh: { name: `__Secure-${name}-refresh`, attributes: { ...shared, ...onDomain, sameSite: strict } },
    // Never with a domain: no other host may be able to set it.
    proof: { name: `__Host-${name}-proof`, attributes: { ...shared, path: '/', sameSite: strict } },
  };
}

/** A browser refuses `SameSite=None` and `Partitioned` without `Secure`. */
function shapesOnLoopback({ name, sameSite, serverRendering }: ReadMembers): CookieShapes {
  const shared = { httpOnly: true, secure: false } as const;
  const lax = sameSite === 'none' ? 'lax' : sameSite;
  const strict = serverRendering ? lax : 'strict';
  return {
    access: {
      name: `${name}-access`,
      attributes: { ...shared, path: '/', sameSite: lax },
    },
    refresh: { name: `${name}-refresh`, attributes: { ...shared, sameSite: strict } },
    proof: { name: `${name}-proof`, attributes: { ...shared, path: '/', sameSite: strict } },
  };
}

function readSecure(given: unknown, name: string, faults: OptionFaults): true | 'auto' {
  if (given !== true && given !== 'auto')
    faults.add(name, `must be true, or 'auto' for plain HTTP on a loopback address; got ${JSON.stringify(given)}`);
  return given === 'auto' ? 'auto' : true;
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
        `must be origins as browsers send them, such as 'https://app.example.com': https (http only for localhost) or the scheme of an app such as 'capacitor://localhost', lower case, no path, no wildcard; got ${JSON.stringify(origin)}`,
      );
  }
  return origins;
}

/** Schemes whose pages have the origin `null`, or that no page has. */
const NEVER_ORIGINS = ['about', 'blob', 'data', 'file', 'ftp', 'javascript', 'mailto', 'view-source', 'ws', 'wss'];

function isOrigin(origin: string): boolean {
  if (origin.includes('*') || !URL.canParse(origin)) return false;
  const { origin: exact, protocol, hostname } = new URL(origin);
  if (protocol === 'https:') return exact === origin;
  if (protocol === 'http:') return exact === origin && isLoopbackHost(hostname);
  // The scheme of an app, such as Capacitor's. `URL` knows no origin of it.
  const [, scheme] = /^([a-z][a-z0-9+.-]*):\/\/[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:\d{1,5})?$/.exec(origin) ?? [];
  return scheme !== undefined && !NEVER_ORIGINS.includes(scheme);
}
