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
import type { JwtAlgorithm, JwtKey } from '../token/key-options.js';

/** A signing key that the library has created, with its key id. */
export type ManagedKey = JwtKey & { readonly kid: string; readonly signingKey: KeyObject };

const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** Starts a seal that also covers `activeAt` and the epoch, which stands between two dots. Seals of 0.1.0 have no dots. */
const VERSION = '2';
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

/** The columns of a key's row that its seal covers. */
export interface SealedRow {
  readonly kid: string;
  readonly algorithm: JwtAlgorithm;
  readonly activeAt: Date | null;
  readonly sealed: string;
}

/**
 * Returns the epoch of the database in which a key was sealed.
 * @returns undefined for a seal of 0.1.0, which does not state one
 */
export function sealedEpoch(sealed: string): string | undefined {
  const [version, epoch, ...rest] = sealed.split('.');
  return version === VERSION && rest.length === 1 ? epoch : undefined;
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
   * Encrypts a key. The rest of its row is authenticated too: the result does not decrypt under another kid, algorithm,
   * `activeAt` or epoch. Somebody who can write the table cannot make a replaced key sign again.
   * @param epoch the current epoch of the database
   */
  seal({ kid, algorithm, signingKey }: ManagedKey, activeAt: Date | null, epoch: string): string {
    const iv = randomBytes(IV_BYTES);
    const bound = boundTo({ kid, algorithm, activeAt }, epoch);
    const cipher = createCipheriv(CIPHER, this.secrets[0], iv).setAAD(bound);
    const sealed = Buffer.concat([iv, cipher.update(bytesOf(signingKey)), cipher.final(), cipher.getAuthTag()]);
    return `${VERSION}.${epoch}.${sealed.toString('base64url')}`;
  }

  /**
   * Decrypts a key. Does not check whether its epoch is the current one.
   * @returns undefined if none of the encryption keys decrypts it, or if it was tampered with
   */
  open(row: SealedRow): ManagedKey | undefined {
    const { kid, algorithm, sealed } = row;
    const bound = boundTo(row, sealedEpoch(sealed));
    const bytes = Buffer.from(sealed.slice(sealed.lastIndexOf('.') + 1), 'base64url');
    for (const secret of this.secrets) {
      try {
        const decipher = createDecipheriv(CIPHER, secret, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
          .setAAD(bound)
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

/** @param epoch undefined for a seal of 0.1.0, which covers only the kid and the algorithm */
function boundTo({ kid, algorithm, activeAt }: Omit<SealedRow, 'sealed'>, epoch: string | undefined): Buffer {
  const covered = epoch === undefined ? [kid, algorithm] : [kid, algorithm, activeAt?.getTime() ?? null, epoch];
  return Buffer.from(JSON.stringify(covered));
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
