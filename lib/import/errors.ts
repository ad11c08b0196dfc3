/** The source or the target cannot be used: it does not answer, or lacks tables or columns. Nothing is lost: run it again. */
export class ImportDatabaseError extends Error {
  /** @param faults what is wrong, each with its remedy. They contain no passwords and no values of rows */
  constructor(
    readonly faults: readonly string[],
    cause?: unknown,
  ) {
    super(`the import cannot use a database:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`, { cause });
    this.name = 'ImportDatabaseError';
  }
}

/** The options of the import are wrong. */
export class ImportOptionsError extends Error {
  /** @param faults what is wrong, each with its remedy */
  constructor(readonly faults: readonly string[]) {
    super(`the import cannot start:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`);
    this.name = 'ImportOptionsError';
  }
}
