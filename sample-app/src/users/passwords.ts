import { hash, type Options, verify } from '@node-rs/argon2';
import { verifyDjangoPassword } from 'nestjs-multisession/django';

/** OWASP's recommendation: argon2id with 19 MiB and 2 passes, about 20 ms. The algorithm is the package's default. */
const ARGON2ID: Options = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** The hash to compare with if the user does not exist. It is as expensive as all others. */
const DUMMY_HASH = hash('not the password of any user', ARGON2ID);

export function hashPassword(password: string): Promise<string> {
  return hash(password, ARGON2ID);
}

/** Whether a hash is one of `hashPassword`. Users who were moved from Django keep Django's until their first login. */
export function isOwnHash(passwordHash: string): boolean {
  return passwordHash.startsWith('$argon2id$');
}

/** Checks a password. It takes the same time without a hash, so that the answer does not reveal which users exist. */
export async function isPasswordOf(passwordHash: string | undefined, password: string): Promise<boolean> {
  if (passwordHash !== undefined && !isOwnHash(passwordHash)) return verifyDjangoPassword(password, passwordHash);
  const isRight = await verify(passwordHash ?? (await DUMMY_HASH), password);
  return isRight && passwordHash !== undefined;
}
