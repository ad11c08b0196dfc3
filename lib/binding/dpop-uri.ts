/** Whether a text has only printable ASCII without a backslash. `URL` would silently repair anything else. */
const IS_URI = /^[!-[\]-~]+$/;
const SCHEMES = new Set(['https:', 'http:']);
/** The scheme of a socket's handshake, which is an HTTP request. */
const SOCKET_SCHEME = /^ws(?=s?:)/i;
const ESCAPE = /%[0-9a-f]{2}/gi;
const UNRESERVED = /[\w.~-]/;

/**
 * Normalizes the URI of a request without its query and fragment, so that two spellings can be compared (RFC 9449 section 4.3
 * number 9, RFC 3986 sections 6.2.2 and 6.2.3): the case of scheme and host, the default port, dot segments, escapes, and the
 * empty path. A WebSocket URI counts as the URI of its handshake, so `wss:` is `https:`.
 *
 * @returns undefined if it is not an absolute HTTP or WebSocket URI, or contains a user name or password
 */
export function normalizedUri(uri: string): string | undefined {
  if (!IS_URI.test(uri)) return undefined;
  const text = uri.replace(SOCKET_SCHEME, 'http');
  // `URL` also accepts 'https:host' and 'https:/host'.
  if (!/^https?:\/\/[^/]/i.test(text) || !URL.canParse(text)) return undefined;
  const { protocol, username, password, host, pathname } = new URL(text);
  if (!SCHEMES.has(protocol) || username !== '' || password !== '') return undefined;
  return `${protocol}//${host}${pathname.replace(ESCAPE, normalizedEscape)}`;
}

/** Decodes the escape of an unreserved character, and writes any other in upper case. */
function normalizedEscape(escape: string): string {
  const character = String.fromCharCode(parseInt(escape.slice(1), 16));
  return UNRESERVED.test(character) ? character : escape.toUpperCase();
}

/** Removes the query and the fragment. */
export function withoutQuery(uri: string): string {
  const end = uri.search(/[?#]/);
  return end === -1 ? uri : uri.slice(0, end);
}
