import type { Logger } from 'typeorm';

/** A statement as it was sent to the database. */
export interface SentStatement {
  readonly query: string;
  readonly parameters: unknown[];
}

/** Records the statements that a DataSource sends while `during` runs. */
export class StatementLog implements Logger {
  private sent?: SentStatement[];

  logQuery(query: string, parameters: unknown[] = []): void {
    this.sent?.push({ query, parameters });
  }
  /** Whether a statement with this text has been recorded. */
  has(text: string): boolean {
    return this.sent?.some(({ query }) => query.includes(text)) ?? false;
  }
  logQueryError(): void {}
  logQuerySlow(): void {}
  logSchemaBuild(): void {}
  logMigration(): void {}
  log(): void {}

  /**
   * Runs `work` and records its statements.
   *
   * @returns the statements, and the result of `work`
   */
  async during<T>(work: () => Promise<T>): Promise<{ statements: SentStatement[]; result: T }> {
    const sent: SentStatement[] = (this.sent = []);
    try {
      const result = await work();
      return { statements: sent, result };
    } finally {
      this.sent = undefined;
    }
  }
}
