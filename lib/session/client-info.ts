/** What is known about the client. Only show it to people: except for the address, the client can send anything. */
export interface ClientInfo {
  /** The address as the framework sees it, according to its trusted-proxy setting. */
  ipAddress?: string | null;
  userAgent?: string | null;
  /** The header `X-Device-Model`. */
  deviceName?: string | null;
}

/** Cuts what is known of a client to the length of the columns. What is absent becomes null. */
export function fitClientInfo({ ipAddress, userAgent, deviceName }: ClientInfo): Required<ClientInfo> {
  return { ipAddress: fit(ipAddress, 64), userAgent: fit(userAgent, 512), deviceName: fit(deviceName, 255) };
}

/** Returns what a new generation writes about its client. A request without a device name keeps the present name. */
export function latestClient(client: ClientInfo): Partial<ClientInfo> {
  const { deviceName, ...place } = fitClientInfo(client);
  return deviceName === null ? place : { ...place, deviceName };
}

function fit(text: string | null | undefined, length: number): string | null {
  return text?.trim() ? storable(text.trim().slice(0, length)) : null;
}

/** Replaces what a database cannot store: PostgreSQL refuses NUL, and a lone surrogate is not valid UTF-8. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed();
}
