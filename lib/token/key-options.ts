import { createPrivateKey, createPublicKey, createSecretKey, type KeyLike, type KeyObject } from 'node:crypto';
import { checkObject, oneOf, type OptionFaults, optional, show, text, withDefault } from '../option-check.js';
import { defaultKid } from './key-id.js';
import { weaknessOf } from './weak-secret.js';

/** The algorithms for keys. A token never chooses its algorithm, and `none` is not supported (RFC 8725 section 3.1). */
export const ALGORITHMS = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
] as const;

/** The name of a signing algorithm, as in the header of a token. */
export type JwtAlgorithm = (typeof ALGORITHMS)[number];

/** One key of `jwt.keys`. The first one signs. All of them verify, each for its own algorithm only. */
export interface JwtKeyOptions {
  /**
   * The key's id in the header of a token: 1 to 64 visible ASCII characters, different for each key. Default: derived from the
   * key, so it is the same on every process.
   */
  kid?: string | undefined;
  /** Default: `HS256`. Simplejwt's `ALGORITHM`. */
  algorithm?: JwtAlgorithm | undefined;
  /** The secret of an HS algorithm, at least 32 bytes. */
  secret?: string | Buffer | KeyObject | undefined;
  /** The key that signs with any other algorithm: PEM or a KeyObject. Simplejwt's `SIGNING_KEY`. */
  privateKey?: KeyLike | undefined;
  /** The key that verifies with any other algorithm. Default: derived from `privateKey`. Simplejwt's `VERIFYING_KEY`. */
  publicKey?: KeyLike | undefined;
}

/** A key, imported once at start. */
export interface JwtKey {
  readonly kid?: string;
  readonly algorithm: JwtAlgorithm;
  /** Undefined if the key can only verify. */
  readonly signingKey?: KeyObject;
  readonly verifyingKey: KeyObject;
}

/**
 * Reads `secret` and `algorithm`, or `keys`. Faults are added to `faults`.
 * @param isManaged whether the library has keys of its own, so that none need be given
 */
export function readKeys(
  given: { secret: unknown; algorithm: unknown; keys: unknown },
  isManaged: boolean,
  faults: OptionFaults,
): JwtKey[] {
  if (given.keys !== undefined) {
    if ((given.secret ?? given.algorithm) !== undefined)
      faults.add('jwt', 'give either secret and algorithm, or keys, not both');
    if (!Array.isArray(given.keys) || given.keys.length === 0) {
      faults.add('jwt.keys', 'must be a list of at least one key');
      return [];
    }
    const read = given.keys.map((entry, at) => readKey(entry, `jwt.keys[${at}]`, faults));
    checkKidsDiffer(read, faults);
    const keys = read.flat();
    if (!isManaged && keys.length === given.keys.length && !keys[0].signingKey) {
      faults.add('jwt.keys[0]', 'must be able to sign: give its secret or its privateKey');
    }
    return keys;
  }
  if (given.secret === undefined) {
    if (isManaged) return [];
    faults.add(
      'jwt.secret',
      'is missing; give at least 32 random bytes, for example from: node -p "crypto.randomBytes(32).toString(\'base64url\')", or set jwt.managed to let the library create its keys',
    );
    return [];
  }
  return readKey({ secret: given.secret, algorithm: given.algorithm }, 'jwt', faults);
}

/** Returns a list with the key, or an empty list if it has a fault. */
function readKey(given: unknown, name: string, faults: OptionFaults): JwtKey[] {
  const before = faults.list.length;
  const read = checkObject(given, name, faults, {
    kid: optional(readKid),
    algorithm: withDefault('HS256', oneOf(...ALGORITHMS)),
    secret: (value) => value as JwtKeyOptions['secret'],
    privateKey: (value) => value as JwtKeyOptions['privateKey'],
    publicKey: (value) => value as JwtKeyOptions['publicKey'],
  });
  if (faults.list.length > before) return [];
  try {
    const key = read.algorithm.startsWith('HS') ? importSecret(read) : importKeyPair(read);
    if (typeof key !== 'string') return [key];
    faults.add(name, key);
  } catch {
    // Do not show the error's own message, because it could quote the key.
    faults.add(name, 'could not be read as a key. Give a PEM, a KeyObject, or a secret for an HS algorithm');
  }
  return [];
}

type ReadKey = Required<Pick<JwtKeyOptions, 'algorithm'>> & JwtKeyOptions;

/** With two keys of one name, tokens of the second one would be refused. */
function checkKidsDiffer(keys: readonly JwtKey[][], faults: OptionFaults): void {
  const places = new Map<string, number>();
  keys.forEach(([key], at) => {
    if (!key) return;
    const kid = key.kid ?? defaultKid(key);
    const first = places.get(kid);
    if (first === undefined) places.set(kid, at);
    else if (key.kid === undefined) faults.add(`jwt.keys[${at}]`, `is the same key as jwt.keys[${first}]; remove one`);
    else faults.add(`jwt.keys[${at}].kid`, `is ${show(kid)}, as in jwt.keys[${first}]; give each key another kid`);
  });
}

/** Reads a key's id. It is written to the header of each token and to a column of 64 characters. */
function readKid(value: unknown, name: string, faults: OptionFaults): string {
  const kid = text(value, name, faults);
  if (kid.length > 64) {
    faults.add(
      name,
      `must have at most 64 characters; got ${kid.length}. Shorten it, or leave it out for a derived one`,
    );
  } else if (kid !== '' && !/^[!-~]+$/.test(kid)) {
    faults.add(name, `may only have visible ASCII characters without spaces; got ${show(kid)}`);
  }
  return kid;
}

/** Returns the key, or its fault. */
function importSecret({ kid, algorithm, secret, privateKey, publicKey }: ReadKey): JwtKey | string {
  if (secret === undefined || privateKey !== undefined || publicKey !== undefined) {
    return `${algorithm} takes a secret, and neither privateKey nor publicKey`;
  }
  const key =
    typeof secret === 'string'
      ? createSecretKey(secret, 'utf8')
      : Buffer.isBuffer(secret)
        ? createSecretKey(secret)
        : secret;
  if (key.type !== 'secret') return `${algorithm} takes a secret`;
  if ((key.symmetricKeySize ?? 0) < 32) return 'a secret must have at least 32 bytes (RFC 7518 section 3.2)';
  const weakness = weaknessOf(key.export());
  if (weakness !== undefined) return `the secret ${weakness}`;
  return { kid, algorithm, signingKey: key, verifyingKey: key };
}

function importKeyPair({ kid, algorithm, secret, privateKey, publicKey }: ReadKey): JwtKey | string {
  if (secret !== undefined || (privateKey ?? publicKey) === undefined) {
    return `${algorithm} takes a privateKey, a publicKey or both, and no secret`;
  }
  const signingKey = privateKey === undefined ? undefined : toKeyObject(privateKey, createPrivateKey);
  const verifyingKey =
    publicKey === undefined ? createPublicKey(signingKey as KeyObject) : toKeyObject(publicKey, createPublicKey);
  if (signingKey && !createPublicKey(signingKey).equals(verifyingKey)) return 'publicKey does not belong to privateKey';
  const wanted = algorithm.startsWith('ES') ? ['ec'] : algorithm.startsWith('PS') ? ['rsa', 'rsa-pss'] : ['rsa'];
  if (!wanted.includes(verifyingKey.asymmetricKeyType ?? ''))
    return `${algorithm} takes a key of type ${wanted.join(' or ')}`;
  const details = verifyingKey.asymmetricKeyDetails;
  if ((details?.modulusLength ?? 2048) < 2048) return 'an RSA key must have at least 2048 bits (RFC 7518 section 3.3)';
  const curve = { ES256: 'prime256v1', ES384: 'secp384r1', ES512: 'secp521r1' }[algorithm as string];
  if (curve !== undefined && details?.namedCurve !== curve) return `${algorithm} takes a key on the curve ${curve}`;
  return { kid, algorithm, signingKey, verifyingKey };
}

function toKeyObject(key: KeyLike, parse: (key: string | Buffer) => KeyObject): KeyObject {
  if (typeof key !== 'string' && !Buffer.isBuffer(key)) return key;
  return parse(key);
}
