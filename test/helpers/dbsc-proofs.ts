import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

/** A key of a test's device. */
export interface DeviceKeys {
  readonly alg: 'ES256' | 'RS256';
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly jwk: Record<string, unknown>;
}

/** Makes a key as Chromium does: P-256. */
export function deviceKeys(): DeviceKeys {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { alg: 'ES256', ...pair, jwk: pair.publicKey.export({ format: 'jwk' }) };
}

/** Makes an RSA key, as a TPM without elliptic curves does. */
export function rsaKeys(modulusLength = 2048): DeviceKeys {
  const pair = generateKeyPairSync('rsa', { modulusLength });
  return { alg: 'RS256', ...pair, jwk: pair.publicKey.export({ format: 'jwk' }) };
}

/** Signs a proof. Members of `header` and `claims` that are undefined are left out. */
export function proofOf(
  keys: Pick<DeviceKeys, 'alg' | 'privateKey'>,
  header: Record<string, unknown>,
  claims: Record<string, unknown>,
): string {
  const text = unsigned({ alg: keys.alg, typ: 'dbsc+jwt', ...header }, claims);
  const signature = sign('sha256', Buffer.from(text), { key: keys.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}

/** The proof of a registration. */
export const registrationProof = (keys: DeviceKeys, challenge: string): string =>
  proofOf(keys, { jwk: keys.jwk }, { jti: challenge });

/** The proof of a refresh. */
export const refreshProof = (keys: DeviceKeys, challenge: string): string => proofOf(keys, {}, { jti: challenge });

/** A JWT whose MAC is made with a public text, as an attacker tries. */
export function macOf(secret: string | Buffer, header: Record<string, unknown>, claims: Record<string, unknown>) {
  const text = unsigned(header, claims);
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** The first two parts of a JWT. */
export function unsigned(header: Record<string, unknown>, claims: Record<string, unknown>): string {
  return [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
}
