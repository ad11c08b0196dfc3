import { isUtf8 } from 'node:buffer';
import { type ClientInfo, fitClientInfo } from '../session/client-info.js';

/** The part of an Express or Fastify request that `clientInfoOf` reads. */
interface RequestLike {
  ip?: string;
  headers?: Record<string, string | string[] | undefined>;
}

/** The headers with which a backend passes its user's client on. The device name has a header of its own: `X-Device-Model`. */
export const CLIENT_ADDRESS_HEADER = 'x-client-address';
export const CLIENT_USER_AGENT_HEADER = 'x-client-user-agent';

/** The requests that came with a backend key. */
const fromBackends = new WeakSet<object>();

/** Marks a request whose sender knows a backend key. */
export function markBackend(request: object): void {
  fromBackends.add(request);
}

/**
 * Reads information about the client from an Express or Fastify request, and cuts each value to the length of its column.
 *
 * If the request came with a backend key (option `backendKeys`), the client is the one that the backend passes on, in the
 * headers `X-Client-Address`, `X-Client-User-Agent` and `X-Device-Model`. The backend itself is never taken for the client.
 * @returns the IP address as the framework sees it, and the headers `User-Agent` and `X-Device-Model`. Absent values are null.
 *   An IPv4 address that the system maps to IPv6 (`::ffff:192.0.2.1`) is returned as IPv4. UTF-8 in the headers is decoded.
 *   An empty object if a backend passes no client on
 */
export function clientInfoOf(request: unknown): ClientInfo {
  const { ip, headers = {} } = (request ?? {}) as RequestLike;
  const deviceName = decoded(first(headers['x-device-model']));
  if (typeof request !== 'object' || request === null || !fromBackends.has(request)) {
    const userAgent = decoded(first(headers['user-agent']));
    return fitClientInfo({ ipAddress: ip && withoutMapping(ip), userAgent, deviceName });
  }
  const address = first(headers[CLIENT_ADDRESS_HEADER]);
  const userAgent = decoded(first(headers[CLIENT_USER_AGENT_HEADER]));
  if (address === undefined && userAgent === undefined && deviceName === undefined) return {};
  return fitClientInfo({ ipAddress: address && withoutMapping(address), userAgent, deviceName });
}

function first(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

/** Node reports the IPv4 clients of a server that listens on IPv6 as `::ffff:192.0.2.1` (RFC 4291 section 2.5.5.2). */
function withoutMapping(address: string): string {
  return /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(address)?.[1] ?? address;
}

/** Decodes a header that the client sent in UTF-8. Node reads each byte of a header as one character of Latin-1. */
function decoded(header: string | undefined): string | undefined {
  if (header === undefined || !/[\x80-\xff]/.test(header) || /[\u0100-\uffff]/.test(header)) return header;
  const bytes = Buffer.from(header, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : header;
}
