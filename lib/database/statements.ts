import { createHash } from 'node:crypto';
import type { DataSource, EntityManager, EntityTarget, ObjectLiteral, QueryBuilder } from 'typeorm';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';
import { type Column, columnsOf } from './columns.js';

/** A condition on properties, with the values of its `:parameters`: `['expiresAt > :now', { now }]`. */
export type Condition = readonly [text: string, values?: Readonly<Record<string, unknown>>];

/** What must hold of a row: what its properties are, and further conditions. */
export interface Where<E extends ObjectLiteral> {
  readonly is?: Partial<E>;
  readonly and?: readonly Condition[];
}

/** The transaction that a statement is a part of; undefined for one by itself. */
export type Transaction = EntityManager | undefined;

/** What a statement came to: rows with their values in the order of `Statement.columns`. */
export interface Answer {
  readonly rows: readonly (readonly unknown[])[];
  readonly affected: number;
}

/** A text to be sent with values. */
export interface Statement {
  /** For databases that know a statement by its name from one time to the next. */
  readonly name: string;
  readonly text: string;
  /** What its rows hold. */
  readonly columns: readonly Column[];
}

/** A row to be inserted: all its values, or for some of them SQL that says them, the same each time. */
export type NewRow<E extends ObjectLiteral> = { readonly [P in keyof E]: E[P] | (() => string) };

/** The values that a statement is sent with. */
interface Given extends Where<ObjectLiteral> {
  readonly set?: ObjectLiteral;
  /** To be inserted. */
  readonly rows?: readonly ObjectLiteral[];
}

type Source = (given: Given) => unknown;

interface MadeStatement extends Statement {
  /** Its values, in the order in which the driver takes them. */
  readonly parameters: readonly Source[];
  /** An entity as its rows make one, without their values: to fill in a copy takes a third of adding each property. */
  readonly blank: ObjectLiteral;
}

/** Statements are found by what tells their texts apart, a part at a time: to join the parts took longer than all of it. */
class Place {
  statement?: MadeStatement;
  private readonly further = new Map<unknown, Place>();

  to(part: unknown): Place {
    let place = this.further.get(part);
    if (!place) this.further.set(part, (place = new Place()));
    return place;
  }
}

const PLACEHOLDER = 'parameter:';

/**
 * Statements whose text TypeORM's query builder makes once, and which are sent with other values from then on: for one row by
 * its key the builder takes longer than the database.
 */
export class Statements {
  private readonly places = new Place();
  private readonly columns = new Map<EntityTarget<ObjectLiteral>, ReadonlyMap<string, Column>>();

  /**
   * @param returnsRows whether an update can answer the rows that it has changed
   * @param send carries a statement out
   */
  constructor(
    private readonly dataSource: DataSource,
    private readonly returnsRows: boolean,
    private readonly send: (within: Transaction, statement: Statement, values: unknown[]) => Promise<Answer>,
  ) {}

  /** The entities of which all of it holds. @param order by these properties @param only these properties. Default: all */
  async select<E extends ObjectLiteral, P extends keyof E & string = keyof E & string>(
    within: Transaction,
    entity: EntityTarget<E>,
    where: Where<E>,
    { order = [], only }: { order?: readonly (keyof E & string)[]; only?: readonly P[] } = {},
  ): Promise<Pick<E, P>[]> {
    let place = this.place('select', entity, where);
    for (const property of order) place = place.to(property);
    place = place.to('only');
    for (const property of only ?? []) place = place.to(property);
    place.statement ??= this.makeSelect(entity, where, order, only);
    const { statement } = place;
    const { rows } = await this.carryOut(within, statement, where);
    return rows.map((values) => filledIn(newOf(entity), statement, values));
  }

  /**
   * Writes `set` to the one row of which all of it holds. Where the database answers the row, what was written and compared is known and
   * not read again: each column of an answer costs more here than in the database.
   * @param after what holds of the row once the update has met it: where the database cannot answer the row, it is read by that
   * @returns the row after it, or null where there was none
   */
  async updateReturning<E extends ObjectLiteral>(
    within: Transaction,
    entity: EntityTarget<E>,
    set: Partial<E>,
    where: Where<E>,
    after: Where<E>,
  ): Promise<E | null> {
    const given = { set, ...where };
    const place = this.place('update', entity, given);
    place.statement ??= this.makeUpdate(entity, set, where);
    const { statement } = place;
    const { rows } = await this.carryOut(within, statement, given);
    if (!this.returnsRows) {
      // Not by `affected`: an update that changes nothing in the row counts or not, as the driver's flags have it.
      const [row] = (await this.select(within, entity, after)) as E[];
      return row ?? null;
    }
    return rows.length > 0 ? Object.assign(filledIn(newOf(entity), statement, rows[0]), where.is, set) : null;
  }

  /** Inserts rows that are complete and alike. @param ifAbsent leaves out those whose key is there already. Default: a fault */
  async insert<E extends ObjectLiteral>(
    within: Transaction,
    entity: EntityTarget<E>,
    rows: readonly NewRow<E>[],
    { ifAbsent = false } = {},
  ): Promise<void> {
    const given = { rows };
    const place = this.place(ifAbsent ? 'insert if absent' : 'insert', entity, given);
    place.statement ??= this.makeInsert(entity, rows, ifAbsent);
    await this.carryOut(within, place.statement, given);
  }

  /** Deletes that of which all of it holds. @returns how many rows that were */
  async delete<E extends ObjectLiteral>(
    within: Transaction,
    entity: EntityTarget<E>,
    where: Where<E>,
  ): Promise<number> {
    const place = this.place('delete', entity, where);
    place.statement ??= this.make(
      restricted(this.dataSource.createQueryBuilder().delete().from(entity), where),
      entity,
      where,
    );
    const { affected } = await this.carryOut(within, place.statement, where);
    return affected;
  }

  /**
   * Deletes the row of which all of it holds, and inserts another where it was there and the other's key is not. After that a successor,
   * where there is one, takes its place in any case. One statement, and so all or nothing. For PostgreSQL alone.
   * @param only these properties of the deleted row @returns it, or undefined where it was not there
   */
  async exchange<E extends ObjectLiteral, O extends ObjectLiteral, P extends keyof E & string>(
    within: Transaction,
    entity: EntityTarget<E>,
    where: Where<E>,
    only: readonly P[],
    [other, row]: [EntityTarget<O>, NewRow<O>],
    successor?: E,
  ): Promise<Pick<E, P> | undefined> {
    const given = { ...where, rows: successor ? [row, successor] : [row] };
    let place = this.place('exchange', entity, given).to(other);
    for (const property of only) place = place.to(property);
    place.statement ??= this.makeExchange(entity, where, only, [other, row], successor);
    const { statement } = place;
    const { rows } = await this.carryOut(within, statement, given);
    return rows.length > 0 ? filledIn(newOf(entity), statement, rows[0]) : undefined;
  }

  private carryOut(within: Transaction, statement: MadeStatement, given: Given): Promise<Answer> {
    return this.send(
      within,
      statement,
      statement.parameters.map((valueOf) => valueOf(given)),
    );
  }

  private place(kind: string, entity: EntityTarget<ObjectLiteral>, { set, rows = [], is, and = [] }: Given): Place {
    let place = this.places.to(kind).to(entity);
    for (const property in set) place = place.to(property);
    for (const row of rows) {
      place = place.to('row');
      for (const property in row) place = place.to(property);
    }
    place = place.to('where');
    for (const property in is) place = place.to(property);
    for (const [text] of and) place = place.to(text);
    return place;
  }

  private makeSelect<E extends ObjectLiteral>(
    entity: EntityTarget<E>,
    { is = {}, and = [] }: Where<E>,
    order: readonly string[],
    only: readonly string[] | undefined,
  ): MadeStatement {
    const all = this.columnsOf(entity);
    const columns = [...all.values()].filter(({ propertyName }) => only?.includes(propertyName) ?? true);
    const query = this.dataSource.createQueryBuilder().from(entity, 'row');
    for (const { propertyName, databaseName } of columns) query.addSelect(`row.${propertyName}`, databaseName);
    order.forEach((property) => query.addOrderBy(`row.${property}`));
    // Here alone the builder knows a property by its alias.
    const property = new RegExp(`(?<![:\\w.])(${[...all.keys()].join('|')})\\b`, 'g');
    for (const name in is) query.andWhere(`row.${name} = :is_${name}`);
    for (const [text] of and) query.andWhere(text.replace(property, 'row.$1'));
    return { ...this.make(query, entity, { is, and }), ...reading(columns) };
  }

  private makeUpdate<E extends ObjectLiteral>(
    entity: EntityTarget<E>,
    set: Partial<E>,
    where: Where<E>,
  ): MadeStatement {
    const query = restricted(
      this.dataSource.createQueryBuilder().update(entity).set(asParameters<E>(set, 'set_')),
      where,
    );
    const known = { ...where.is, ...set };
    const columns = [...this.columnsOf(entity).values()].filter(({ propertyName }) => !(propertyName in known));
    const made = this.make(query, entity, { set, ...where });
    // One by one, so that a column which a later version adds changes no answer that a connection has planned.
    const names = columns.map(({ databaseName }) => this.dataSource.driver.escape(databaseName));
    const text = this.returnsRows ? `${made.text} RETURNING ${names.join(', ')}` : made.text;
    return { ...made, ...named(text), ...reading(columns) };
  }

  private makeInsert<E extends ObjectLiteral>(
    entity: EntityTarget<E>,
    rows: readonly NewRow<E>[],
    ifAbsent: boolean,
  ): MadeStatement {
    const values = rows.map((row, at) => asParameters<E>(row, `row${at}_`));
    const query = this.dataSource.createQueryBuilder().insert().into(entity).values(values).updateEntity(false);
    return this.make(ifAbsent ? query.orIgnore() : query, entity, { rows });
  }

  private makeExchange<E extends ObjectLiteral, O extends ObjectLiteral>(
    entity: EntityTarget<E>,
    where: Where<E>,
    only: readonly string[],
    [other, row]: [EntityTarget<O>, NewRow<O>],
    successor: E | undefined,
  ): MadeStatement {
    const query = restricted(this.dataSource.createQueryBuilder().delete().from(entity), where);
    const gone = this.make(query, entity, where);
    const parameters = [...gone.parameters];
    const come = this.insertFrom('gone', other, row, parameters, 0);
    const columns = only.map((name) => this.columnsOf(entity).get(name) as Column);
    const names = columns.map(({ databaseName }) => this.dataSource.driver.escape(databaseName)).join(', ');
    const parts = [`gone AS (${gone.text} RETURNING ${names})`, `come AS (${come} ON CONFLICT DO NOTHING)`];
    // From what the deletion came to, so that it is done first: all statements lock older rows before newer ones.
    const after = '(SELECT count(*) FROM gone) AS done';
    if (successor) parts.push(`successor AS (${this.insertFrom(after, entity, successor, parameters, 1)})`);
    const text = `WITH ${parts.join(', ')} SELECT ${names} FROM gone`;
    return { ...named(text), parameters, ...reading(columns) };
  }

  /** @param source one row of it makes one @param parameters to which its own are added @param place in `given.rows` */
  private insertFrom(
    source: string,
    entity: EntityTarget<ObjectLiteral>,
    row: ObjectLiteral,
    parameters: Source[],
    place: number,
  ): string {
    const { driver } = this.dataSource;
    const columns = Object.keys(row).map((name) => this.columnsOf(entity).get(name) as Column);
    // Of a SELECT, PostgreSQL does not see what its values are for.
    const values = columns.map(({ propertyName, type, write }) => {
      const value: unknown = row[propertyName];
      if (typeof value === 'function') return (value as () => string)();
      return `CAST($${parameters.push(({ rows }) => write(rows?.[place][propertyName]))} AS ${type})`;
    });
    const path = this.dataSource.getMetadata(entity).tablePath.split('.');
    const names = columns.map(({ databaseName }) => driver.escape(databaseName));
    const table = path.map((part) => driver.escape(part)).join('.');
    return `INSERT INTO ${table} (${names.join(', ')}) SELECT ${values.join(', ')} FROM ${source}`;
  }

  private make(query: QueryBuilder<ObjectLiteral>, entity: EntityTarget<ObjectLiteral>, given: Given): MadeStatement {
    const columns = this.columnsOf(entity);
    const sources = new Map<string, Source>();
    const addAll = (prefix: string, values: ObjectLiteral | undefined, of: (given: Given) => ObjectLiteral) => {
      for (const name in values) {
        const { write } = columns.get(name) as Column;
        if (typeof values[name] !== 'function') sources.set(prefix + name, (sent) => write(of(sent)[name]));
      }
    };
    addAll('set_', given.set, ({ set }) => set as ObjectLiteral);
    addAll('is_', given.is, ({ is }) => is as ObjectLiteral);
    given.rows?.forEach((row, at) => addAll(`row${at}_`, row, ({ rows }) => rows?.[at] as ObjectLiteral));
    given.and?.forEach(([, values], at) => {
      for (const name in values) sources.set(name, ({ and }) => and?.[at][1]?.[name]);
    });
    query.setParameters(Object.fromEntries([...sources.keys()].map((name) => [name, PLACEHOLDER + name])));
    const [text, parameters] = query.getQueryAndParameters() as [string, unknown[]];
    const sourceOf = (parameter: unknown) => {
      const source = typeof parameter === 'string' && sources.get(parameter.slice(PLACEHOLDER.length));
      if (source) return source;
      throw new TypeError(`a value stands in the text of a statement: ${text}`);
    };
    return { ...named(text), parameters: parameters.map(sourceOf), ...reading([]) };
  }

  private columnsOf(entity: EntityTarget<ObjectLiteral>): ReadonlyMap<string, Column> {
    let columns = this.columns.get(entity);
    if (!columns) this.columns.set(entity, (columns = columnsOf(this.dataSource, entity)));
    return columns;
  }
}

function named(text: string): Pick<Statement, 'name' | 'text'> {
  return { name: `multisession_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`, text };
}

function reading(columns: readonly Column[]): Pick<MadeStatement, 'columns' | 'blank'> {
  return { columns, blank: Object.fromEntries(columns.map(({ propertyName }) => [propertyName, null])) };
}

function newOf<E>(entity: EntityTarget<E>): E {
  return new (entity as new () => E)();
}

function filledIn<E extends ObjectLiteral>(
  entity: E,
  { columns, blank }: MadeStatement,
  values: readonly unknown[],
): E {
  const row: ObjectLiteral = Object.assign(entity, blank);
  for (let at = 0; at < columns.length; at++) row[columns[at].propertyName] = columns[at].read(values[at]);
  return entity;
}

function restricted<Q extends { andWhere(text: string): unknown }>(
  query: Q,
  { is = {}, and = [] }: Where<ObjectLiteral>,
): Q {
  for (const name in is) query.andWhere(`${name} = :is_${name}`);
  for (const [text] of and) query.andWhere(text);
  return query;
}

/** Each property as the parameter that has its value, where it is not SQL already. */
function asParameters<E extends ObjectLiteral>(given: ObjectLiteral, prefix: string): QueryDeepPartialEntity<E> {
  const parameter = ([name, value]: [string, unknown]) => [
    name,
    typeof value === 'function' ? value : () => `:${prefix}${name}`,
  ];
  return Object.fromEntries(Object.entries(given).map(parameter)) as QueryDeepPartialEntity<E>;
}
