import { type ClientInfo, fitClientInfo } from '../session/client-info.js';

/** The part of an Express or Fastify request that `clientInfoOf` reads. */
interface RequestLike {
  ip?: string;
  headers?: Record<string, string | string[] | undefined>;
}

/**
 * Reads information about the client from an Express or Fastify request, and cuts each value to the length of its column.
 * @returns the IP address as the framework sees it, and the headers `User-Agent` and `X-Device-Model`. Absent values are null.
 */
export function clientInfoOf(request: unknown): ClientInfo {
  const { ip, headers = {} } = (request ?? {}) as RequestLike;
  return fitClientInfo({
    ipAddress: ip,
    userAgent: first(headers['user-agent']),
    deviceName: first(headers['x-device-model']),
  });
}

function first(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
