/**
 * Maximum number of access cookies of one request whose session's row is read. A forged token costs no statement, so only
 * tokens that we have signed count.
 */
const MAX_READS = 5;

/**
 * Verifies tokens until one is valid.
 *
 * @param isInvalid whether an error says that the token is not valid. Any other error is thrown
 * @returns undefined if none is valid
 */
export async function firstValid<Session>(
  tokens: readonly string[],
  verify: (token: string) => Session | Promise<Session>,
  isInvalid: (error: unknown) => boolean,
): Promise<Session | undefined> {
  let reads = 0;
  for (const token of tokens) {
    try {
      const verified = verify(token);
      if (verified instanceof Promise) reads++;
      return await verified;
    } catch (error) {
      if (!isInvalid(error)) throw error;
      if (reads === MAX_READS) break;
    }
  }
  return undefined;
}
