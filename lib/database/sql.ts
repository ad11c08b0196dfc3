import { createHash } from 'node:crypto';
import type { DataSource, ObjectLiteral } from 'typeorm';
import type { Dialect } from './dialect.js';
import { isReadOnly, READ_ONLY, WrongServerError } from './server-state.js';
import type { Answer, SentStatement, StoredColumn } from './statement.js';
import { storedNamesOf } from './typeorm-internals.js';

/**
 * A value that every driver accepts. Times are milliseconds since 1970. Lists are not possible, because their length would
 * change the text of the statement.
 */
export type SqlValue = string | number | null;

/** The values of a statement by parameter name. */
export type SqlValues = Readonly<Record<string, SqlValue>>;

/** Sends a statement whose values are numbers or ids, and returns its rows. */
export type SendSql = <V extends Readonly<Record<keyof V, number | string>>, R extends object>(
  sql: Sql<V, R>,
  values: V,
) => Promise<R[]>;

/** The class of an entity. */
export type EntityClass = new () => object;

/**
 * A statement as this library writes it, with `:named` parameters and the names that tables and columns have in the
 * migrations. It must be a constant, because each DataSource prepares it once and looks it up by identity.
 *
 * `V` is the type of its values, and `R` is the type of its rows.
 */
export interface Sql<V extends object = SqlValues, R extends object = never> {
  /** The entities whose tables and columns occur in the text. */
  readonly entities: readonly EntityClass[];
  /** The text for all databases, or a function that returns the text for one of them. */
  readonly text: string | ((dialect: Dialect) => string);
  /**
   * The columns that it returns, in order and separated by commas. They belong to the first entity, and each row is an
   * instance of that entity. Absent if it returns none. A function if they differ between databases.
   */
  readonly columns?: string | ((dialect: Dialect) => string);
  /** Columns in `columns` that the text computes, by their names in it. */
  readonly computed?: Readonly<Record<string, Pick<StoredColumn, 'property' | 'read'>>>;
  /**
   * Whether an old answer could let somebody in or log somebody out. Outside of a transaction, the statement then also asks
   * whether the server is the primary, and on Galera it waits until the node has every write. It must return at most one
   * row, and the first column must not be null. Default: false.
   */
  readonly isVerdict?: boolean;
  /** Carries the types of values and rows. Never set. */
  readonly types?: (values: V) => R;
}

/** A statement in the form that one DataSource sends. */
export class PreparedSql implements SentStatement {
  readonly name: string;
  /** All properties of a row, set to null. Overwriting a copy of it takes a third of the time of adding each property. */
  private readonly blank: ObjectLiteral;

  /**
   * @param parameters the names of the parameters, in the order in which the driver takes their values
   * @param entity the class of the rows
   */
  constructor(
    readonly text: string,
    private readonly parameters: readonly string[],
    private readonly entity: EntityClass,
    readonly columns: readonly StoredColumn[],
    /** The statement for use outside of a transaction, if it `isVerdict`. */
    readonly verified?: VerifiedSql,
  ) {
    this.name = nameOf(text);
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

  /**
   * Returns the text for PostgreSQL with values in place of its parameters.
   * @throws TypeError if a value is a text with characters that no id has
   */
  textWith(values: ObjectLiteral): string {
    const ordered = this.order(values).map((value) => {
      if (!/^[\w.-]*$/.test(String(value))) throw new TypeError('a value that is neither a number nor an id');
      return typeof value === 'number' ? String(value) : `'${String(value)}'`;
    });
    return this.text.replace(/\$(\d+)/g, (_, at: string) => ordered[Number(at) - 1]);
  }

  /** Makes a row from the values that the driver returned. */
  read(values: readonly unknown[]): object {
    const { columns } = this;
    const row: ObjectLiteral = Object.assign(new this.entity(), this.blank);
    for (let at = 0; at < columns.length; at++) row[columns[at].property] = columns[at].read(values[at]);
    return row;
  }
}

/** A statement that finds at most one row, and reads in the same round trip whether the server is the primary. */
export class VerifiedSql implements SentStatement {
  readonly name: string;
  readonly text: string;
  readonly columns: readonly StoredColumn[];
  /** The same for a Galera cluster, whose nodes apply writes some time after the commit. */
  readonly onGalera?: VerifiedSql;

  constructor(text: string, columns: readonly StoredColumn[], dialect: Dialect, prefix = '') {
    this.text = `${prefix}SELECT found.*, server.read_only FROM (SELECT ${dialect.readOnly} AS read_only) server LEFT JOIN (${text}) found ON TRUE`;
    this.name = nameOf(this.text);
    this.columns = [...columns, { property: 'isReadOnly', name: 'read_only', read: isReadOnly }];
    if (dialect.kind === 'mysql' && !prefix)
      this.onGalera = new VerifiedSql(text, columns, dialect, 'SET STATEMENT wsrep_sync_wait = 1 FOR ');
  }

  faultOf = ({ rows: [row] }: Answer): Error | undefined =>
    isReadOnly(row.at(-1)) ? new WrongServerError(READ_ONLY) : undefined;

  /** Returns the rows of the statement itself. */
  found({ rows }: Answer): Answer['rows'] {
    return rows[0][0] === null ? [] : rows;
  }
}

function nameOf(text: string): string {
  return `multisession_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
}

/** Prepares each statement once for a DataSource, so that a request does no work on its text. */
export class SqlPreparer {
  private readonly prepared = new Map<object, PreparedSql>();

  constructor(
    private readonly dataSource: DataSource,
    private readonly dialect: Dialect,
  ) {}

  /**
   * Returns the prepared statement. Prepares it at the first call.
   * @throws TypeError if a colon in the text does not start a parameter, or the entity lacks one of the columns
   */
  prepare<V extends object, R extends object>(sql: Sql<V, R>): PreparedSql {
    let prepared = this.prepared.get(sql);
    if (!prepared) this.prepared.set(sql, (prepared = this.translate(sql)));
    return prepared;
  }

  private translate<V extends object, R extends object>({
    entities,
    text,
    columns,
    computed = {},
    isVerdict = false,
  }: Sql<V, R>): PreparedSql {
    const names = entities.map((entity) => storedNamesOf(this.dataSource, entity));
    const identifiers = new Map(names.flatMap((ofEntity) => ofEntity.identifiers));
    const written = typeof text === 'string' ? text : text(this.dialect);
    const [translated, parameters] = translateSql(written, this.dialect.kind === 'postgres', identifiers);
    const listed = typeof columns === 'function' ? columns(this.dialect) : columns;
    const returned = (listed?.split(',') ?? []).map((name) => {
      const column = names[0].columns.get(name.trim());
      if (column) return column;
      if (Object.hasOwn(computed, name.trim())) return { name: name.trim(), ...computed[name.trim()] };
      throw new TypeError(`${entities[0].name} has no column ${name.trim()}`);
    });
    const verified =
      isVerdict && this.dialect.kind !== 'sqlite' ? new VerifiedSql(translated, returned, this.dialect) : undefined;
    return new PreparedSql(translated, parameters, entities[0], returned, verified);
  }
}

/** Matches a literal, a parameter, any other colon, or a word. */
const PART = /'[^']*'|:(\w+)|:|\b[a-z]\w*/g;

/**
 * Replaces `:named` parameters with `$1` or `?`, and the names of tables and columns with those in the database.
 * @param isNumbered whether parameters are written as `$1`, so that a name that occurs twice is sent only once
 * @param identifiers the names to replace, each with its replacement
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
      if (!isNumbered) return (parameters.push(name), '?');
      const known = parameters.indexOf(name);
      return `$${known < 0 ? parameters.push(name) : known + 1}`;
    }
    if (part === ':') throw new TypeError(`a colon that starts no parameter: ${text}`);
    return identifiers.get(part) ?? part;
  });
  return [translated.replace(/\s+/g, ' ').trim(), parameters];
}
