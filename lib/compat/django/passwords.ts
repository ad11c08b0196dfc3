import { createHash, pbkdf2, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { MultiSessionConfigurationError } from '../../errors.js';

/** Checks a password against the rest of an encoded password, after the name of the algorithm and `$`. */
type Verify = (password: string, rest: string) => Promise<boolean>;

/** One of Django's password hashers. */
interface Hasher {
  readonly verify: Verify;
  /** Whether the rest of an encoded password is as strong as OWASP recommends. */
  readonly isStrong: (rest: string) => boolean;
}

/** bcrypt ignores the rest of a password, and so did the library that Django used. */
const MAX_BCRYPT_BYTES = 72;

const HASHERS: Readonly<Record<string, Hasher>> = {
  pbkdf2_sha256: pbkdf2Hasher('sha256', 32, 600_000),
  pbkdf2_sha1: pbkdf2Hasher('sha1', 20, 1_300_000),
  scrypt: { verify: verifyScrypt, isStrong: isStrongScrypt },
  argon2: { verify: verifyArgon2, isStrong: isStrongArgon2 },
  bcrypt_sha256: {
    verify: (password, rest) => verifyBcrypt(Buffer.from(sha256(password)), rest),
    isStrong: isStrongBcrypt,
  },
  bcrypt: {
    verify: (password, rest) => verifyBcrypt(Buffer.from(password).subarray(0, MAX_BCRYPT_BYTES), rest),
    // It ignores what follows the first 72 bytes.
    isStrong: () => false,
  },
};

/** Hashed if there is no password to check, so that it takes as long: the default of Django 3.2. */
const LIKE_DJANGO_3_2 = `pbkdf2_sha256$260000$salt$${Buffer.alloc(32).toString('base64')}`;

/**
 * Checks a password against one that Django has encoded, as in `auth_user.password`. Knows Django's hashers `pbkdf2_sha256`,
 * `pbkdf2_sha1`, `argon2`, `bcrypt_sha256`, `bcrypt` and `scrypt`.
 *
 * Without a usable password, it hashes all the same, so that the time does not reveal which users exist.
 * @param encoded the encoded password. Undefined or null if there is no such user
 * @param like an encoded password as most of your users have. It is what is hashed if `encoded` is unusable or of an unknown
 * format. Default: `pbkdf2_sha256` with 260,000 rounds, the default of Django 3.2
 * @returns false also for a password that Django calls unusable, and for an unknown format
 * @throws MultiSessionConfigurationError if `@node-rs/argon2` or `@node-rs/bcrypt` is needed and not installed
 */
export async function verifyDjangoPassword(
  password: string,
  encoded: string | null | undefined,
  like: string = LIKE_DJANGO_3_2,
): Promise<boolean> {
  const known = split(encoded ?? '');
  if (known?.isWellFormed) return known.hasher.verify(password, known.rest);
  const other = split(like);
  if (!other?.isWellFormed)
    throw new MultiSessionConfigurationError(
      ['verifyDjangoPassword: the third argument must be an encoded password of Django'],
      'runtime',
    );
  await other.hasher.verify(password, other.rest);
  return false;
}

/**
 * Tells whether you should hash a password again after `verifyDjangoPassword` has accepted it, because its hash is weaker than
 * OWASP recommends. Hash it with your own function, such as argon2id.
 * @returns true also for an unknown format. False for an unusable password, because no input matches it
 */
export function needsRehash(encoded: string): boolean {
  if (encoded.startsWith('!')) return false;
  const known = split(encoded);
  return !known?.isWellFormed || !known.hasher.isStrong(known.rest);
}

/** The form of what follows the algorithm. A text of another form is not given to a library, which could throw. */
const FORMS: Readonly<Record<string, RegExp>> = {
  pbkdf2_sha256: /^[1-9]\d{0,8}\$[^$]+\$[A-Za-z0-9+/]{43}=$/,
  pbkdf2_sha1: /^[1-9]\d{0,8}\$[^$]+\$[A-Za-z0-9+/]{27}=$/,
  scrypt: /^[1-9]\d{0,7}\$[^$]+\$[1-9]\d{0,2}\$[1-9]\d{0,2}\$[A-Za-z0-9+/]{86}==$/,
  argon2: /^argon2(i|d|id)\$(v=\d+\$)?m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+$/,
  bcrypt_sha256: /^\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/,
  bcrypt: /^\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/,
};

function split(encoded: string): { hasher: Hasher; rest: string; isWellFormed: boolean } | undefined {
  const [algorithm] = encoded.split('$', 1);
  if (!Object.hasOwn(HASHERS, algorithm)) return undefined;
  const rest = encoded.slice(algorithm.length + 1);
  return { hasher: HASHERS[algorithm], rest, isWellFormed: FORMS[algorithm].test(rest) };
}

function pbkdf2Hasher(digest: 'sha256' | 'sha1', length: number, strongRounds: number): Hasher {
  return {
    verify: async (password, rest) => {
      const [rounds, salt, hash] = rest.split('$');
      const actual = await promisify(pbkdf2)(password, salt, Number(rounds), length, digest);
      return timingSafeEqual(actual, Buffer.from(hash, 'base64'));
    },
    isStrong: (rest) => digest === 'sha256' && Number(rest.split('$', 1)[0]) >= strongRounds,
  };
}

interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

function scryptCost(rest: string): ScryptCost {
  const [N, , r, p] = rest.split('$').map(Number);
  return { N, r, p };
}

function verifyScrypt(password: string, rest: string): Promise<boolean> {
  const [, salt, , , hash] = rest.split('$');
  const { N, r, p } = scryptCost(rest);
  const expected = Buffer.from(hash, 'base64');
  return new Promise((resolve, reject) => {
    // Node.js allows 32 MiB by default, which Django's own cost exceeds.
    const maxmem = 128 * r * (N + p + 2) + 1024;
    scrypt(password, salt, expected.length, { N, r, p, maxmem }, (error, actual) =>
      error ? reject(error) : resolve(timingSafeEqual(actual, expected)),
    );
  });
}

function isStrongScrypt(rest: string): boolean {
  const { N, r, p } = scryptCost(rest);
  return r >= 8 && N * p >= 2 ** 14 * 5;
}

async function verifyArgon2(password: string, rest: string): Promise<boolean> {
  const { verify } = await loadArgon2();
  return verify(`$${rest}`, password);
}

function isStrongArgon2(rest: string): boolean {
  const [, memory, passes] = /m=(\d+),t=(\d+)/.exec(rest) as RegExpExecArray;
  return rest.startsWith('argon2id$v=19$') && Number(memory) >= 19_456 && Number(passes) >= 2;
}

async function verifyBcrypt(password: Buffer, rest: string): Promise<boolean> {
  const { verify } = await loadBcrypt();
  return verify(password, rest);
}

function isStrongBcrypt(rest: string): boolean {
  return Number(rest.split('$')[2]) >= 10;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

// Optional peers. `await import()` in a `try`, so that webpack and esbuild bundle an application that does not have the package.
async function loadArgon2() {
  try {
    return await import('@node-rs/argon2');
  } catch (error) {
    throw missing('@node-rs/argon2', error);
  }
}

async function loadBcrypt() {
  try {
    return await import('@node-rs/bcrypt');
  } catch (error) {
    throw missing('@node-rs/bcrypt', error);
  }
}

function missing(name: string, error: unknown): MultiSessionConfigurationError {
  return new MultiSessionConfigurationError(
    [`passwords of this format need the package ${name}: npm install ${name} (${(error as Error).message})`],
    'runtime',
  );
}
