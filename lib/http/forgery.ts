import type { CookieConfig } from './cookie.options.js';
import { isLoopbackHost } from '../token/public-url.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/** The header that selects the token transport. A page of another origin cannot send it unless CORS allows it. */
export const TRANSPORT_HEADER = 'x-session-transport';

const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS'];

/**
 * Checks that a request that uses or sets cookies comes from an allowed page.
 *
 * @param cookies the options, or false if the application does not use cookies
 * @returns what is wrong with the request; undefined if it may pass
 */
export function forgeryFault(carrier: CredentialsCarrier, cookies: CookieConfig | false): string | undefined {
  return isHandshake(carrier) ? handshakeFault(carrier, cookies) : requestFault(carrier, cookies);
}

/** Returns what is wrong with a request; undefined if it may pass. */
function requestFault(carrier: CredentialsCarrier, cookies: CookieConfig | false): string | undefined {
  if (SAFE_METHODS.includes(carrier.method ?? '')) return undefined;
  // The custom header forces a CORS preflight for pages of other origins. Since 2020, all browsers send Origin with every
  // method except GET and HEAD. So a request without Origin and Sec-Fetch-Site does not come from a browser.
  if (headerOf(carrier, TRANSPORT_HEADER) !== 'cookie') return 'the header X-Session-Transport: cookie is missing';
  return originFault(carrier, cookies);
}

/** Whether a request opens a socket. It is a GET that may carry cookies across sites, and a page cannot add headers to it. */
function isHandshake({ method, headers }: CredentialsCarrier): boolean {
  // Socket.IO's own handshake has no method. An HTTP request always has one.
  return method === undefined || String(headers?.upgrade).toLowerCase() === 'websocket';
}

function handshakeFault(carrier: CredentialsCarrier, cookies: CookieConfig | false): string | undefined {
  if (headerOf(carrier, 'origin') === undefined) return 'a request that opens a socket needs the header Origin';
  return originFault(carrier, cookies);
}

/**
 * Returns what is wrong with the origin of a request; undefined if it may pass.
 *
 * The origin's scheme is never compared with the request's own, which is http behind most proxies. Instead, an origin must
 * have a scheme whose pages nobody on the network can change.
 */
export function originFault(carrier: CredentialsCarrier, cookies: CookieConfig | false): string | undefined {
  const origin = headerOf(carrier, 'origin');
  const site = headerOf(carrier, 'sec-fetch-site');
  const isOwn = site === 'same-origin' || site === 'none';
  if (origin === undefined)
    return site === undefined || isOwn ? undefined : `Sec-Fetch-Site is ${quoted(site)}, and there is no Origin`;
  if (cookies && cookies.origins.has(origin)) return undefined;
  if (!hasSafeScheme(origin)) return 'the scheme of the origin is not https, or http on a loopback address';
  if (isOwn) return undefined;
  if (site !== undefined)
    return `Sec-Fetch-Site is ${quoted(site)}, and the option cookies.origins does not list the origin`;
  const host = hostOf(carrier);
  if (new URL(origin).host === host) return undefined;
  return (
    `the origin is not that of the request's own host ${quoted(host ?? '')}, and the option cookies.origins does not list it; ` +
    'if a proxy changes the header Host, list the origin or let the proxy keep the header'
  );
}

function hasSafeScheme(origin: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, hostname } = new URL(origin);
  return protocol === 'https:' || (protocol === 'http:' && isLoopbackHost(hostname));
}

/** Reads the host. HTTP/2 sends it as `:authority`. */
function hostOf(carrier: CredentialsCarrier): string | undefined {
  return (headerOf(carrier, 'host') ?? headerOf(carrier, ':authority'))?.toLowerCase();
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
