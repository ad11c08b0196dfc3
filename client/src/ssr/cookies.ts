/** The session's cookies in one request. */
export interface SessionCookies {
  /** The access tokens. There can be several, if another host has set a cookie of the same name. */
  readonly access: readonly string[];
  readonly hasRefresh: boolean;
  readonly hasProof: boolean;
  /** The session's cookies as one header, without those of other programs. */
  readonly header: string;
}

/** The headers of a request, as the frameworks have them. */
export type RequestHeaders = Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

/** Reads a header. */
export function headerOf(headers: RequestHeaders, name: string): string | undefined {
  if (typeof (headers as Headers).get === 'function') return (headers as Headers).get(name) ?? undefined;
  const value = (headers as Readonly<Record<string, string | readonly string[] | undefined>>)[name];
  return Array.isArray(value) ? value.join('; ') : (value as string | undefined);
}

/**
 * Reads the session's cookies.
 * @param name the server's option `cookies.name`
 */
export function sessionCookies(header: string | undefined, name: string): SessionCookies {
  const pairs = (header ?? '').split(';').map((pair) => pair.trim());
  // Without a prefix on a loopback address: see the server's option `cookies.secure`.
  const ofKind = (kind: string) => {
    const starts = ['__Host-', '__Secure-', ''].map((prefix) => `${prefix}${name}-${kind}=`);
    return pairs.filter((pair) => starts.some((start) => pair.startsWith(start) && pair.length > start.length));
  };
  const [access, refresh, proof] = [ofKind('access'), ofKind('refresh'), ofKind('proof')];
  return {
    access: access.map((pair) => pair.slice(pair.indexOf('=') + 1)),
    hasRefresh: refresh.length > 0,
    hasProof: proof.length > 0,
    header: [...access, ...refresh, ...proof].join('; '),
  };
}

/** Reads when a token expires, in milliseconds since 1970, without verifying it. 0 if it is not a token. */
export function expiryOf(token: string): number {
  try {
    const payload = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const { exp } = JSON.parse(atob(payload)) as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1000 : 0;
  } catch {
    return 0;
  }
}
