import { hkdfSync, type KeyObject } from 'node:crypto';
import type { TokenConfig } from './options.js';

/**
 * Derives a key for one purpose (HKDF, RFC 5869) from each secret of the options: the encryption keys of `jwt.managed`, then
 * the keys of `jwt.keys` that can sign. Every process with the same options derives the same keys.
 *
 * Write with the first key and accept each of them, so that a secret can be replaced.
 * @param purpose a name that no other use has
 */
export function derivedKeys({ managed, keys }: Pick<TokenConfig, 'managed' | 'keys'>, purpose: string): Buffer[] {
  const secrets = [
    ...(managed?.encryptionKeys ?? []).map((key) => Buffer.from(key)),
    ...keys.flatMap(({ signingKey }) => (signingKey ? [bytesOf(signingKey)] : [])),
  ];
  return secrets.map((secret) => Buffer.from(hkdfSync('sha256', secret, '', `nestjs-multisession ${purpose}`, 32)));
}

function bytesOf(key: KeyObject): Buffer {
  return key.type === 'secret' ? key.export() : key.export({ type: 'pkcs8', format: 'der' });
}
