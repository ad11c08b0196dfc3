import type { DataSource } from 'typeorm';
import { type DatabaseKind, KINDS } from '../database/dialect.js';
import { translateSql } from '../database/sql.js';

/** A value of a row in the old system's database. */
export type SourceValue = string | number | boolean | null;

/** A row of the old system's database, by the names in the statement. */
export type SourceRow = Readonly<Record<string, SourceValue>>;

/** A table of an old system. */
export interface SourceTable {
  readonly name: string;
  readonly columns: readonly string[];
}

/** SQL fragments for a source. */
export interface SourceDialect {
  /** An expression for a date column as milliseconds since 1970. A date without a time zone counts as UTC. */
  readonly ms: (column: string) => string;
}

const DIALECTS: Readonly<Record<DatabaseKind, SourceDialect>> = {
  postgres: { ms: (column) => `CAST(FLOOR(EXTRACT(EPOCH FROM ${column}) * 1000) AS bigint)` },
  mysql: { ms: (column) => `(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', ${column}) DIV 1000)` },
  sqlite: { ms: (column) => `CAST(ROUND((julianday(${column}) - 2440587.5) * 86400000) AS INTEGER)` },
};

/** The database of the old system. The importer only reads it. */
export class Source {
  readonly dialect: SourceDialect;
  private readonly kind: DatabaseKind;
  private readonly identifiers = new Map<string, string>();
  private readonly texts = new Map<string, [text: string, parameters: string[]]>();
  private readonly types = new Map<string, string>();

  constructor(private readonly dataSource: DataSource) {
    this.kind = KINDS[dataSource.options.type] as DatabaseKind;
    this.dialect = DIALECTS[this.kind];
  }

  /**
   * Checks that tables and their columns exist, and learns their names for `query`.
   * @returns what is missing
   */
  async check(tables: readonly SourceTable[]): Promise<string[]> {
    const faults: string[] = [];
    const runner = this.dataSource.createQueryRunner();
    try {
      for (const { name, columns } of tables) {
        this.learn([name, ...columns]);
        const table = await runner.getTable(name);
        const missing = columns.filter((column) => !table?.findColumnByName(column));
        if (!table) faults.push(`the source has no table ${name}`);
        else if (missing.length > 0) faults.push(`table ${name} of the source lacks the columns ${missing.join(', ')}`);
        for (const column of table?.columns ?? []) this.types.set(`${name}.${column.name}`, column.type);
      }
      return faults;
    } finally {
      await runner.release();
    }
  }

  /** Whether a column that `check` has found holds whole numbers. */
  isWholeNumber(table: string, column: string): boolean {
    return /int|serial/i.test(this.types.get(`${table}.${column}`) ?? '');
  }

  /**
   * Sends a statement.
   * @param text with `:named` parameters, and with the names of tables and columns as `check` got them
   */
  async query<R extends SourceRow>(text: string, values: Readonly<Record<string, unknown>>): Promise<R[]> {
    let translated = this.texts.get(text);
    if (!translated) {
      translated = translateSql(text, this.kind === 'postgres', this.identifiers);
      this.texts.set(text, translated);
    }
    const [sql, parameters] = translated;
    return this.dataSource.query<R[]>(
      sql,
      parameters.map((name) => values[name]),
    );
  }

  private learn(names: readonly string[]): void {
    for (const name of names) this.identifiers.set(name, this.dataSource.driver.escape(name));
  }
}

/**
 * Returns a condition that a column is one of several values, and the values.
 * @param size the number of parameters, so that the text stays the same. The last value fills the rest
 */
export function isOneOf(column: string, values: readonly SourceValue[], size: number) {
  const names = Array.from({ length: size }, (_, at) => `v${at}`);
  return {
    condition: `${column} IN (${names.map((name) => `:${name}`).join(', ')})`,
    values: Object.fromEntries(names.map((name, at) => [name, values[Math.min(at, values.length - 1)]])),
  };
}
