/**
 * The epoch of the database, which every token states as the claim `ep`. The operator replaces it after restoring a backup, to
 * end everything that is older.
 */
export interface TokenEpochs {
  /**
   * The epoch that new tokens state. Undefined if tokens do not state one.
   * @throws UnavailableError if it has not been read yet
   */
  readonly current: string | undefined;
  /**
   * Whether memory knows this epoch as the current one. False proves nothing.
   * @param epoch undefined for a token that does not state one
   */
  matches(epoch: string | undefined): boolean;
  /**
   * Whether tokens of this epoch are valid. Reads the database if memory does not know the epoch or is stale.
   * @throws UnavailableError if the database cannot be reached
   */
  isCurrent(epoch: string | undefined): boolean | Promise<boolean>;
}

/** Tokens state no epoch. */
export const WITHOUT_EPOCHS: TokenEpochs = {
  current: undefined,
  matches: (epoch) => epoch === undefined,
  isCurrent: (epoch) => epoch === undefined,
};
