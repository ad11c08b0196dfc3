import { type CredentialsCarrier, headerOf } from './request.js';

/** Headers in which gateways state the method of the request that they ask about: nginx as documented, and Traefik. */
const METHOD_HEADERS = ['x-original-method', 'x-forwarded-method'];
/** Headers in which gateways state its path and query, or its whole URL: nginx as documented, ingress-nginx, and Traefik. */
const URI_HEADERS = ['x-original-uri', 'x-original-url', 'x-forwarded-uri'];
const SAFE_METHODS = ['GET', 'HEAD', 'OPTIONS'];

/** Stands for the method of a request whose gateway does not state it. It is not a safe one. */
const UNKNOWN_METHOD = 'UNKNOWN';

/** The method and the parts of the URL that a DPoP proof of the original request must name. */
interface Target {
  readonly method: string;
  readonly url: string;
  readonly protocol?: string | undefined;
  readonly host?: string | undefined;
}

/**
 * Describes the request that a gateway asks about.
 *
 * Several headers may state a method, since a client can send the one that its gateway does not overwrite. The request counts
 * as safe only if all of them name a safe method, so a client can only make the check stricter.
 */
export function originalOf(request: CredentialsCarrier): CredentialsCarrier {
  const own = request.method ?? UNKNOWN_METHOD;
  const stated = statedMethods(request);
  const methods = stated.length > 0 ? [...stated, own] : [SAFE_METHODS.includes(own) ? UNKNOWN_METHOD : own];
  const method = methods.find((name) => !SAFE_METHODS.includes(name)) ?? methods[0];
  const host = headerOf(request, 'x-forwarded-host') ?? headerOf(request, 'host');
  // Gateways drop the header Upgrade. Every browser sends this one when it opens a socket.
  const isHandshake = headerOf(request, 'sec-websocket-key') !== undefined;
  return {
    method,
    headers: { ...request.headers, ...(host && { host }), ...(isHandshake && { upgrade: 'websocket' }) },
    // Without a URL, no proof can be checked, so tokens that are bound to a key are refused.
    request: targetOf(request, own) ?? {},
  };
}

/** Whether the gateway states what a DPoP proof must name. */
export function namesTarget({ request = {} }: CredentialsCarrier): boolean {
  return 'url' in request;
}

/**
 * Reads the target of the original request. Headers that contradict each other come from a client, at least in part.
 * @returns undefined if the gateway states no method or no URL, or if what it states is contradictory
 */
function targetOf(request: CredentialsCarrier, own: string): Target | undefined {
  const methods = new Set(statedMethods(request));
  // A gateway may keep the method of the original request.
  if (own !== 'GET') methods.add(own);
  const uris = URI_HEADERS.map((name) => headerOf(request, name)).flatMap((uri) => (uri ? [partsOf(uri)] : []));
  const urls = new Set(uris.map(({ url }) => url));
  const forwardedHost = headerOf(request, 'x-forwarded-host');
  const hosts = new Set([...uris.map(({ host }) => host), forwardedHost?.toLowerCase()].filter((host) => host));
  const protocols = new Set(uris.flatMap(({ protocol }) => protocol ?? []));
  if (statedMethods(request).length === 0 || methods.size !== 1 || urls.size !== 1 || hosts.size > 1) return undefined;
  const [[method], [url], [host], [protocol]] = [methods, urls, hosts, protocols];
  const asked = request as CredentialsCarrier & { protocol?: string };
  return url === undefined
    ? undefined
    : { method, url, host: host ?? headerOf(request, 'host'), protocol: protocol ?? asked.protocol };
}

function statedMethods(request: CredentialsCarrier): string[] {
  return METHOD_HEADERS.flatMap((name) => headerOf(request, name)?.toUpperCase() || []);
}

/** Reads a path with its query, or a whole URL. `url` is undefined if it is neither. */
function partsOf(uri: string): { url?: string; host?: string; protocol?: string } {
  if (uri.startsWith('/')) return { url: uri };
  if (!/^https?:\/\//i.test(uri) || !URL.canParse(uri)) return {};
  const { protocol, host } = new URL(uri);
  // Not the `pathname`, which is normalized already.
  const [, path = '/'] = /^[^:]+:\/\/[^/?#]*(\/.*)?$/.exec(uri) ?? [];
  return { url: path, host, protocol: protocol.slice(0, -1) };
}
