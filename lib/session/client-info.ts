/**
 * Describes the client of a request. Show it to people, but base no decision on it: the client can send anything, except
 * for its address.
 */
export interface ClientInfo {
  /** The address as the framework sees it, according to its trusted-proxy setting. */
  ipAddress?: string | null;
  userAgent?: string | null;
  /** The header `X-Device-Model`. */
  deviceName?: string | null;
}

/** Trims the values and cuts them to the length of their columns. Missing and blank values become null. */
export function fitClientInfo({ ipAddress, userAgent, deviceName }: ClientInfo): Required<ClientInfo> {
  return { ipAddress: fit(ipAddress, 64), userAgent: fit(userAgent, 512), deviceName: fit(deviceName, 255) };
}

/** Returns the client columns that a new generation writes. A request without a device name keeps the old one. */
export function latestClient(client: ClientInfo): Partial<ClientInfo> {
  const { deviceName, ...place } = fitClientInfo(client);
  return deviceName === null ? place : { ...place, deviceName };
}

function fit(text: string | null | undefined, length: number): string | null {
  return text?.trim() ? storable(text.trim().slice(0, length)) : null;
}

/** Replaces characters that a database cannot store: PostgreSQL refuses NUL, and a lone surrogate is not valid UTF-8. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed();
}
