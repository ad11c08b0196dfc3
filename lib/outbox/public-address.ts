import { lookup as resolve } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';

/** The networks that are not public: RFC 6890, its IANA registries, and ways to write an IPv4 address in an IPv6 one. */
const NOT_PUBLIC: readonly (readonly [network: string, bits: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
];

/** Public unicast addresses of IPv6 begin with the bits 001. */
const PUBLIC_V6 = blockList([['2000::', 3]]);
const NOT_PUBLIC_V4 = blockList(NOT_PUBLIC);
const NOT_PUBLIC_V6 = blockList([
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]);

/** Whether an address belongs to the public internet. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !NOT_PUBLIC_V4.check(address, 'ipv4');
    case 6:
      return PUBLIC_V6.check(address, 'ipv6') && !NOT_PUBLIC_V6.check(address, 'ipv6');
    default:
      return false;
  }
}

/** A host has an address that is not public, so nothing is sent to it. */
export class PrivateAddressError extends Error {
  constructor() {
    super('the host has an address that is not public');
    this.name = 'PrivateAddressError';
  }
}

/**
 * Resolves a host once. Connect to the result and do not resolve the name again: its owner could answer with another address.
 * @param hostname as in a URL. The address of an IPv6 literal has brackets
 * @param allowsPrivate whether addresses that are not public are allowed
 * @param resolveAll resolves a name. Default: the system's resolver
 * @throws PrivateAddressError if any of its addresses is not public, and `allowsPrivate` is false
 */
export async function addressOf(
  hostname: string,
  allowsPrivate: boolean,
  resolveAll: (name: string) => Promise<readonly { address: string; family: number }[]> = (name) =>
    resolve(name, { all: true }),
): Promise<{ address: string; family: 4 | 6 }> {
  const literal = hostname.replace(/^\[|\]$/g, '');
  const addresses = isIP(literal) ? [{ address: literal }] : await resolveAll(literal);
  if (!allowsPrivate && !addresses.every(({ address }) => isPublicAddress(address))) throw new PrivateAddressError();
  if (addresses.length === 0) throw new Error('the host has no address');
  const [{ address }] = addresses;
  return { address, family: isIP(address) as 4 | 6 };
}

function blockList(networks: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [network, bits] of networks) list.addSubnet(network, bits, isIP(network) === 4 ? 'ipv4' : 'ipv6');
  return list;
}
