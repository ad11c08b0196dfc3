/**
 * The application is configured wrongly. The error at start lists every fault of the options, the entities and the tables,
 * each with its remedy. Later, it is thrown for faults that only show at runtime, such as a user id of the wrong type.
 */
export class MultiSessionConfigurationError extends Error {
  /**
   * @param faults what is wrong, each with its remedy
   * @param shownAt when the faults showed. Default: `'start'`
   */
  constructor(
    readonly faults: readonly string[],
    shownAt: 'start' | 'runtime' = 'start',
  ) {
    const what = shownAt === 'start' ? 'cannot start' : 'is not configured correctly';
    super(`nestjs-multisession ${what}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
    this.name = 'MultiSessionConfigurationError';
  }
}
