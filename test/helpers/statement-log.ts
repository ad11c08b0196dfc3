import type { Logger } from 'typeorm';

/** A statement as it was sent. */
export interface SentStatement {
  readonly query: string;
  readonly parameters: unknown[];
}

/** The statements that a DataSource sends, while somebody wants to know of them. */
export class StatementLog implements Logger {
  private sent?: SentStatement[];

  logQuery(query: string, parameters: unknown[] = []): void {
    this.sent?.push({ query, parameters });
  }
  logQueryError(): void {}
  logQuerySlow(): void {}
  logSchemaBuild(): void {}
  logMigration(): void {}
  log(): void {}

  /** What `work` has sent, and what it gave. */
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
