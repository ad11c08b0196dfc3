/** What is known of the caller. Shown to people and never relied on: all of it but the address is the client's own word. */
export interface ClientInfo {
  /** As the framework sees it, by its own trusted-proxy setting. */
  ipAddress?: string | null;
  userAgent?: string | null;
  /** The header `X-Device-Model`. */
  deviceName?: string | null;
}

/** Cuts what is known of a client to the length of the columns. What is absent becomes null. */
export function fitClientInfo({ ipAddress, userAgent, deviceName }: ClientInfo): Required<ClientInfo> {
  return { ipAddress: fit(ipAddress, 64), userAgent: fit(userAgent, 512), deviceName: fit(deviceName, 255) };
}

/** What a new generation writes of who began it. A request that names no device leaves the device's name as it was. */
export function latestClient(client: ClientInfo): Partial<ClientInfo> {
  const { deviceName, ...place } = fitClientInfo(client);
  return deviceName === null ? place : { ...place, deviceName };
}

function fit(text: string | null | undefined, length: number): string | null {
  return text?.trim() ? storable(text.trim().slice(0, length)) : null;
}

/** PostgreSQL stores no NUL, and half a surrogate pair is no character. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed();
}
