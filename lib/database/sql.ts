import { createHash } from 'node:crypto';
import type { DataSource, ObjectLiteral } from 'typeorm';
import type { Dialect } from './dialect.js';
import type { SentStatement, StoredColumn } from './statement.js';
import { storedNamesOf } from './typeorm-internals.js';

/** A value as every driver takes it. Times are milliseconds since 1970. A list is none: its length would be part of the text. */
export type SqlValue = string | number | null;

/** The values of a statement, by the names of its parameters. */
export type SqlValues = Readonly<Record<string, SqlValue>>;

/** The class of an entity. */
export type EntityClass = new () => object;

/**
 * A statement as this library writes it: a text with `:named` parameters that calls tables and columns by their names in the
 * migrations. It must be a constant, since each DataSource prepares it once and finds it again by its identity.
 *
 * `V` is the type of its values, `R` that of its rows.
 */
export interface Sql<V extends object = SqlValues, R extends object = never> {
  /** The entities whose tables and columns it names. */
  readonly entities: readonly EntityClass[];
  /** The text for every database, or what makes it for one of them. */
  readonly text: string | ((dialect: Dialect) => string);
  /**
   * The columns that it returns, in their order and separated by commas: those of the first entity, of which each row is an
   * instance. Absent if it returns none.
   */
  readonly columns?: string;
  /** Carry the types of values and rows; never set. */
  readonly types?: (values: V) => R;
}

/** A statement as one DataSource sends it. */
export class PreparedSql implements SentStatement {
  readonly name: string;
  /** All properties of a row, null. To overwrite a copy of it takes a third of the time of adding each property. */
  private readonly blank: ObjectLiteral;

  /**
   * @param parameters the names of the parameters, in the order in which the driver takes their values
   * @param entity the class of its rows
   */
  constructor(
    readonly text: string,
    private readonly parameters: readonly string[],
    private readonly entity: EntityClass,
    readonly columns: readonly StoredColumn[],
  ) {
    this.name = `multisession_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
    this.blank = Object.fromEntries(columns.map(({ property }) => [property, null]));
  }

  /**
   * Puts the values in the driver's order.
   * @throws TypeError if one is missing
   */
  order(values: ObjectLiteral): unknown[] {
    const { parameters } = this;
    const ordered: unknown[] = [];
    for (let at = 0; at < parameters.length; at++) {
      const value: unknown = values[parameters[at]];
      if (value === undefined) throw new TypeError(`:${parameters[at]} has no value in the statement ${this.text}`);
      ordered.push(value);
    }
    return ordered;
  }

  /** Makes a row of the values that the driver returned. */
  read(values: readonly unknown[]): object {
    const { columns } = this;
    const row: ObjectLiteral = Object.assign(new this.entity(), this.blank);
    for (let at = 0; at < columns.length; at++) row[columns[at].property] = columns[at].read(values[at]);
    return row;
  }
}

/** Prepares the statements for one DataSource, each once, so that no request does any work on a text. */
export class SqlPreparer {
  private readonly prepared = new Map<object, PreparedSql>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly dialect: Dialect,
  ) {}

  /** @throws TypeError for a text with a colon that does not start a parameter, or for columns that the entity lacks */
  prepare<V extends object, R extends object>(sql: Sql<V, R>): PreparedSql {
    let prepared = this.prepared.get(sql);
    if (!prepared) this.prepared.set(sql, (prepared = this.translate(sql)));
    return prepared;
  }

  private translate<V extends object, R extends object>({ entities, text, columns }: Sql<V, R>): PreparedSql {
    const names = entities.map((entity) => storedNamesOf(this.dataSource, entity));
    const identifiers = new Map(names.flatMap((ofEntity) => ofEntity.identifiers));
    const written = typeof text === 'string' ? text : text(this.dialect);
    const [translated, parameters] = translateSql(written, this.dialect.kind === 'postgres', identifiers);
    const returned = (columns?.split(',') ?? []).map((name) => {
      const column = names[0].columns.get(name.trim());
      if (column) return column;
      throw new TypeError(`${entities[0].name} has no column ${name.trim()}`);
    });
    return new PreparedSql(translated, parameters, entities[0], returned);
  }
}

/** A literal, a parameter or another use of a colon, or a word. */
const PART = /'[^']*'|:(\w+)|:|\b[a-z]\w*/g;

/**
 * Translates a text with `:named` parameters into one with `$1` or `?`, and puts in the names of tables and columns.
 * @param isNumbered whether parameters are written `$1`, and a name that occurs twice is sent once
 * @param identifiers the names to be replaced, each with its replacement
 * @returns the text on one line, and the names of its parameters in the order in which their values are sent
 */
export function translateSql(
  text: string,
  isNumbered: boolean,
  identifiers: ReadonlyMap<string, string>,
): [text: string, parameters: string[]] {
  const parameters: string[] = [];
  const translated = text.replace(PART, (part, name: string | undefined) => {
    if (name !== undefined) {
      if (!isNumbered) return parameters.push(name), '?';
      const known = parameters.indexOf(name);
      return `$${known < 0 ? parameters.push(name) : known + 1}`;
    }
    if (part === ':') throw new TypeError(`a colon that starts no parameter: ${text}`);
    return identifiers.get(part) ?? part;
  });
  return [translated.replace(/\s+/g, ' ').trim(), parameters];
}
