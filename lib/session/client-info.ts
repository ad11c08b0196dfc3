import { isIP, SocketAddress } from 'node:net';

/**
 * Describes the client of a request. Show it to people, but base no decision on it: the client can send anything, except
 * for its address.
 */
export interface ClientInfo {
  /** The address as the framework sees it, according to its trusted-proxy setting. */
  ipAddress?: string | null | undefined;
  userAgent?: string | null | undefined;
  /** The header `X-Device-Model`. */
  deviceName?: string | null | undefined;
}

/** The length of the column of addresses. */
const MAX_ADDRESS = 64;
/** The number of addresses whose forms are remembered. */
const MAX_REMEMBERED = 1000;

/** Trims the values and cuts them to the length of their columns. Missing and blank values become null. */
export function fitClientInfo({ ipAddress, userAgent, deviceName }: ClientInfo): Required<ClientInfo> {
  return {
    ipAddress: fit(canonicalAddress(ipAddress), MAX_ADDRESS),
    userAgent: fit(userAgent, 512),
    deviceName: fit(deviceName, 255),
  };
}

/**
 * Tells whether a refresh comes from another client than the last one: its user agent differs, or its address is in another
 * network. An address or user agent that has not been recorded yet differs from none.
 *
 * The statements of a refresh make the same comparison in SQL: see `CLIENT_CHANGED` in `refresh-sql.ts`.
 */
export function isAnotherClient(recorded: ClientInfo, seen: Required<ClientInfo>): boolean {
  const { userAgent, ipAddress } = recorded;
  if (userAgent && userAgent !== (seen.userAgent ?? '')) return true;
  return Boolean(ipAddress && seen.ipAddress && !isInNetworkOf(ipAddress, seen.ipAddress));
}

function isInNetworkOf(address: string, other: string): boolean {
  const prefixes = networkOf(other);
  return prefixes.isWhole ? address === other : prefixes.texts.some((prefix) => address.startsWith(prefix));
}

/** The patterns for SQL's LIKE that match the addresses in the network of an address. Null if the address is unknown. */
export function networkPatterns(address: string | null): readonly [string | null, string | null] {
  return address === null ? UNKNOWN : patternsOf(address);
}

const UNKNOWN = [null, null] as const;

const patternsOf = remembering((address): readonly [string, string] => {
  const { texts, isWhole } = networkOf(address);
  // An underscore matches any character, so it also matches the wildcards themselves.
  const pattern = (text: string) => text.replace(/[%_\\]/g, '_') + (isWhole ? '' : '%');
  return [pattern(texts[0]), pattern(texts[1])];
});

/**
 * Returns the two texts with which an address in the same network can begin: an IPv4 address shares its first 24 bits, and
 * an IPv6 address its first 48. A household or an office usually has one such network.
 * @param address in canonical form. Any other text is a network of its own, and `isWhole` is true
 */
function networkOf(address: string): { texts: [string, string]; isWhole: boolean } {
  if (isIP(address) === 4) {
    const prefix = address.slice(0, address.lastIndexOf('.') + 1);
    return { texts: [prefix, `::ffff:${prefix}`], isWhole: false };
  }
  if (isIP(address) !== 6) return { texts: [address, address], isWhole: true };
  const [before, after] = address.split('::').map((part) => part.split(':').filter((group) => group !== ''));
  const groups = after ? [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after] : before;
  const site = groups.slice(0, 3);
  const significant = site.join(':').replace(/(^|:)0(:0)*$/, '');
  // `::` can stand for zeros at the end of the prefix only if the prefix ends with a zero.
  const compressed = site[2] === '0' ? `${significant}::` : `${site.join(':')}:`;
  return { texts: [`${site.join(':')}:`, compressed], isWhole: false };
}

/**
 * Returns an address in the form in which we store it: IPv6 as in RFC 5952, without a zone, and an IPv4 address in an IPv6 one
 * as IPv4. A server that listens on both sees every IPv4 client in that form. Returns any other text unchanged.
 */
function canonicalAddress(address: string | null | undefined): string | null | undefined {
  const text = address?.trim();
  if (!text || isIP(text) !== 6) return address;
  return canonicalOf(text);
}

const canonicalOf = remembering((address) => {
  const canonical = new SocketAddress({ address: address.replace(/%.*$/, ''), family: 'ipv6' }).address;
  const mapped = canonical.replace(/^::ffff:/, '');
  return isIP(mapped) === 4 ? mapped : canonical;
});

/**
 * Remembers the results for recent addresses. Node.js takes 10 µs to write an IPv6 address in its canonical form, which is a
 * noticeable part of a refresh.
 */
function remembering<T>(compute: (address: string) => T): (address: string) => T {
  const known = new Map<string, T>();
  return (address) => {
    let result = known.get(address);
    if (result === undefined) {
      result = compute(address);
      if (known.size >= MAX_REMEMBERED) known.clear();
      if (address.length <= MAX_ADDRESS) known.set(address, result);
    }
    return result;
  };
}

function fit(text: string | null | undefined, length: number): string | null {
  return text?.trim() ? storable(text.trim().slice(0, length)) : null;
}

/** Replaces characters that a database cannot store: PostgreSQL refuses NUL, and a lone surrogate is not valid UTF-8. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed();
}
