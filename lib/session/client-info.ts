/** What is known of the caller. Shown to people and never relied on: all of it but the address is the client's own word. */
export interface ClientInfo {
  /** As the framework sees it, by its own trusted-proxy setting. */
  ipAddress?: string | null;
  userAgent?: string | null;
  /** The header `X-Device-Model`. */
  deviceName?: string | null;
}

/** The part of an Express or Fastify request that is read here. */
interface RequestLike {
  ip?: string;
  headers?: Record<string, string | string[] | undefined>;
}

/** What a request tells of its caller, cut to what the columns hold. */
export function clientInfoOf(request: unknown): ClientInfo {
  const { ip, headers = {} } = (request ?? {}) as RequestLike;
  return fitClientInfo({
    ipAddress: ip,
    userAgent: first(headers['user-agent']),
    deviceName: first(headers['x-device-model']),
  });
}

/** The same, cut to what the columns hold; what is absent is null. */
export function fitClientInfo({ ipAddress, userAgent, deviceName }: ClientInfo): Required<ClientInfo> {
  return { ipAddress: fit(ipAddress, 64), userAgent: fit(userAgent, 512), deviceName: fit(deviceName, 255) };
}

/** What a new generation writes of who began it. A request that names no device leaves the device's name as it was. */
export function latestClient(client: ClientInfo): Partial<ClientInfo> {
  const { deviceName, ...place } = fitClientInfo(client);
  return deviceName === null ? place : { ...place, deviceName };
}

function first(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}

function fit(text: string | null | undefined, length: number): string | null {
  return text?.trim() ? storable(text.trim().slice(0, length)) : null;
}

/** PostgreSQL stores no NUL, and half a surrogate pair is no character. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed();
}
