import { type ClientInfo, fitClientInfo } from '../session/client-info.js';

/** The part of an Express or Fastify request that is read here. */
interface RequestLike {
  ip?: string;
  headers?: Record<string, string | string[] | undefined>;
}

/**
 * Reads from a request of Express or Fastify what it says about its client, and cuts it to the length of the columns.
 * @returns the IP address as the framework sees it, the headers `User-Agent` and `X-Device-Model`; null for what is absent
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
