/** Headers as Node provides them: names in lower case. */
export type Headers = Record<string, string | string[] | undefined>;

/** An object with the credentials of a call: an HTTP request, the request that opened a socket, a handshake or a message. */
export interface CredentialsCarrier {
  /** The HTTP method, in capitals. A Socket.IO handshake has none. */
  method?: string | undefined;
  headers?: Headers | undefined;
  /**
   * Headers that the client sent in a message after it opened the socket. Only the access token is read from them. They take
   * precedence over `headers`, which a browser cannot set.
   */
  sentHeaders?: Headers | undefined;
  /**
   * The credentials that a Socket.IO client sends: `io(url, { auth: { token } })`, and `dpop` with a proof of the token's key. A
   * header takes precedence.
   */
  auth?: { token?: unknown; dpop?: unknown } | undefined;
  body?: unknown;
  /** The HTTP request behind these credentials, if this is another object. */
  request?: object;
}

/**
 * Reads a header.
 *
 * @param name in lower case
 * @returns the value, or undefined if the header is missing or was sent several times
 */
export function headerOf(carrier: CredentialsCarrier, name: string): string | undefined {
  const value = carrier.headers?.[name];
  return typeof value === 'string' ? value : undefined;
}

/** Returns the texts of an object with their names in lower case, as Node provides headers. */
export function lowerCased(members: unknown): Headers {
  if (typeof members !== 'object' || members === null) return {};
  const texts = Object.entries(members).filter(([, value]) => typeof value === 'string');
  return Object.fromEntries(texts.map(([name, value]) => [name.toLowerCase(), value as string]));
}
