import { hash, type Options, verify } from '@node-rs/argon2';

/** OWASP's first choice: argon2id with 19 MiB and 2 passes, about 20 ms. The algorithm is the package's default. */
const ARGON2ID: Options = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** Of no user; made with the same costs as all the others. */
const NOBODYS_HASH = hash('nobody has this password', ARGON2ID);

export function hashPassword(password: string): Promise<string> {
  return hash(password, ARGON2ID);
}

/** Whether the password is the hash's. Where there is no hash it costs the same time, so that nobody learns who is a user. */
export async function isPasswordOf(passwordHash: string | undefined, password: string): Promise<boolean> {
  const isRight = await verify(passwordHash ?? (await NOBODYS_HASH), password);
  return isRight && passwordHash !== undefined;
}
