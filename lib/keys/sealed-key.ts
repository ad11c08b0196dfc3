import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPair,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { promisify } from 'node:util';
import type { JwtAlgorithm, JwtKey } from '../token/options.js';

/** A signing key that the library has created, with its key id. */
export type ManagedKey = JwtKey & { readonly kid: string; readonly signingKey: KeyObject };

const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;
const CURVES: Partial<Record<JwtAlgorithm, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };

/** Creates a key for this algorithm, with a random key id. */
export async function generateKey(algorithm: JwtAlgorithm): Promise<ManagedKey> {
  const kid = randomBytes(12).toString('base64url');
  if (algorithm.startsWith('HS')) {
    // RFC 7518 section 3.2: the key must be at least as long as the hash.
    return toManagedKey(kid, algorithm, createSecretKey(randomBytes(Number(algorithm.slice(2)) / 8)));
  }
  const namedCurve = CURVES[algorithm];
  const { privateKey } = namedCurve
    ? await promisify(generateKeyPair)('ec', { namedCurve })
    : await promisify(generateKeyPair)('rsa', { modulusLength: 3072 });
  return toManagedKey(kid, algorithm, privateKey);
}

/** Encrypts keys for the table and decrypts them, with the encryption keys of the options. */
export class KeySealer {
  private readonly secrets: readonly Buffer[];

  /** @param encryptionKeys the first one encrypts, and any of them can decrypt */
  constructor(encryptionKeys: readonly string[]) {
    this.secrets = encryptionKeys.map((key) =>
      Buffer.from(hkdfSync('sha256', key, '', 'nestjs-multisession signing keys', 32)),
    );
  }

  /**
   * Encrypts a key. Its kid and algorithm are authenticated too: the result does not decrypt under another kid or algorithm.
   * @returns base64url, without padding
   */
  seal({ kid, algorithm, signingKey }: ManagedKey): string {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv(CIPHER, this.secrets[0], iv).setAAD(boundTo(kid, algorithm));
    const sealed = Buffer.concat([iv, cipher.update(bytesOf(signingKey)), cipher.final(), cipher.getAuthTag()]);
    return sealed.toString('base64url');
  }

  /**
   * Decrypts a key.
   * @param sealed the result of `seal`
   * @returns undefined if none of the encryption keys decrypts it, or if it was tampered with
   */
  open(kid: string, algorithm: JwtAlgorithm, sealed: string): ManagedKey | undefined {
    const bytes = Buffer.from(sealed, 'base64url');
    for (const secret of this.secrets) {
      try {
        const decipher = createDecipheriv(CIPHER, secret, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
          .setAAD(boundTo(kid, algorithm))
          .setAuthTag(bytes.subarray(-TAG_BYTES));
        const key = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]);
        return toManagedKey(kid, algorithm, importKey(algorithm, key));
      } catch {
        // Encrypted with another key, or tampered with: the tag does not say which.
      }
    }
    return undefined;
  }
}

function boundTo(kid: string, algorithm: JwtAlgorithm): Buffer {
  return Buffer.from(JSON.stringify([kid, algorithm]));
}

function bytesOf(key: KeyObject): Buffer {
  return key.type === 'secret' ? key.export() : key.export({ type: 'pkcs8', format: 'der' });
}

function importKey(algorithm: JwtAlgorithm, bytes: Buffer): KeyObject {
  if (algorithm.startsWith('HS')) return createSecretKey(bytes);
  return createPrivateKey({ key: bytes, type: 'pkcs8', format: 'der' });
}

function toManagedKey(kid: string, algorithm: JwtAlgorithm, signingKey: KeyObject): ManagedKey {
  const verifyingKey = signingKey.type === 'secret' ? signingKey : createPublicKey(signingKey);
  return { kid, algorithm, signingKey, verifyingKey };
}
