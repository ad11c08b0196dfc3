import { createHash } from 'node:crypto';
import type { DataSource, EntityManager, EntityTarget, ObjectLiteral, QueryBuilder } from 'typeorm';
import type { QueryDeepPartialEntity } from 'typeorm/query-builder/QueryPartialEntity.js';

/** A condition on properties, with the values of its `:parameters`: `['id = :id', { id }]`. */
export type Condition = readonly [text: string, values?: Readonly<Record<string, unknown>>];

type Values = Readonly<Record<string, unknown>>;

interface Statement {
  readonly name: string;
  readonly text: string;
  /** The names of its parameters, in the order in which the driver takes them. */
  readonly order: readonly string[];
}

/** What a statement came to: rows by the names of columns. */
interface Answer {
  readonly rows: readonly ObjectLiteral[];
  readonly affected: number;
}

/** The part of the driver's client that is needed here. */
interface PostgresClient {
  query(given: {
    name?: string;
    text: string;
    values: unknown[];
  }): Promise<{ rows: ObjectLiteral[]; rowCount: number }>;
}

/** One column of an entity, and what the driver makes of its values. */
interface Column {
  readonly propertyName: string;
  readonly databaseName: string;
  readonly read: (value: unknown) => unknown;
  readonly write: (value: unknown) => unknown;
}

/** Kinds of columns whose values every driver hands over as they are: to ask it for each took half of a list. */
const PLAIN = new Set<unknown>(['varchar', 'text', 'int', 'integer']);

/** The connection does not know the name, knows it already, or the table has changed since. */
const NAME_FAULTS = new Set(['26000', '42P05', '0A000']);

const PLACEHOLDER = 'parameter:';

/**
 * Statements whose text TypeORM's query builder makes once, and which are sent with other values from then on: for one row by
 * its key the builder takes longer than the database. On PostgreSQL they have names too, so that each connection parses and
 * plans them once. Behind a proxy that hands each transaction to another connection a name can be unknown: then nothing was
 * done, it is worth another try, and there are no names from there on.
 */
export class Statements {
  private readonly made = new Map<string, Statement>();
  private readonly columns = new Map<EntityTarget<ObjectLiteral>, readonly Column[]>();
  private hasNames: boolean;

  /** @param returnsRows whether an update can answer the rows that it has changed */
  constructor(
    private readonly dataSource: DataSource,
    private readonly returnsRows: boolean,
  ) {
    this.hasNames = dataSource.options.type === 'postgres';
  }

  /** The entities that meet all conditions. @param order by these properties @param only these properties. Default: all */
  async select<E extends ObjectLiteral, P extends keyof E & string = keyof E & string>(
    manager: EntityManager,
    entity: EntityTarget<E>,
    where: readonly Condition[],
    { order = [], only }: { order?: readonly string[]; only?: readonly P[] } = {},
  ): Promise<Pick<E, P>[]> {
    const all = this.columnsOf(entity);
    const columns = only ? all.filter(({ propertyName }) => only.includes(propertyName as P)) : all;
    const build = () => {
      const query = manager.createQueryBuilder().from(entity, 'row');
      for (const { propertyName, databaseName } of columns) query.addSelect(`row.${propertyName}`, databaseName);
      order.forEach((property) => query.addOrderBy(`row.${property}`));
      // Here alone the builder knows a property by its alias.
      const properties = all.map(({ propertyName }) => propertyName);
      const property = new RegExp(`(?<![:\\w.])(${properties.join('|')})\\b`, 'g');
      return restricted(
        query,
        where.map(([text]) => [text.replace(property, 'row.$1')]),
      );
    };
    const { rows } = await this.send(manager, ['select', entity, only, order], build, where);
    return rows.map((row) => this.hydrate(entity, row, columns));
  }

  /**
   * Writes `set` to the one row that meets all conditions. @param after what holds of the row if the update met it, and only then: where the database
   * cannot answer the row, it is read by that @returns the row after it, or null where none met the conditions
   */
  async updateReturning<E extends ObjectLiteral>(
    manager: EntityManager,
    entity: EntityTarget<E>,
    set: Partial<E>,
    where: readonly Condition[],
    after: readonly Condition[],
  ): Promise<E | null> {
    if (!this.returnsRows) {
      // Not by `affected`: an update that changes nothing in the row counts or not, as the driver's flags have it.
      await this.sendUpdate(manager, entity, set, where, false);
      const [row] = (await this.select(manager, entity, after)) as E[];
      return row ?? null;
    }
    const { rows } = await this.sendUpdate(manager, entity, set, where, true);
    return rows.length ? this.hydrate(entity, rows[0]) : null;
  }

  /** Inserts a row that is complete. */
  async insert<E extends ObjectLiteral>(manager: EntityManager, entity: EntityTarget<E>, row: E): Promise<void> {
    const values = this.stored(entity, row);
    const build = () =>
      manager.createQueryBuilder().insert().into(entity).values(asParameters<E>(row)).updateEntity(false);
    await this.send(manager, ['insert', entity], build, [], values);
  }

  /** Deletes what meets all conditions. @returns how many rows that were */
  async delete<E extends ObjectLiteral>(
    manager: EntityManager,
    entity: EntityTarget<E>,
    where: readonly Condition[],
  ): Promise<number> {
    const build = () => restricted(manager.createQueryBuilder().delete().from(entity), where);
    const { affected } = await this.send(manager, ['delete', entity], build, where);
    return affected;
  }

  /**
   * @param code the driver's, of a fault
   * @returns whether it was one of names, which there are not any more: worth another try, also for those that were under way
   * when another one found it out
   */
  giveUpNames(code: string): boolean {
    if (!NAME_FAULTS.has(code)) return false;
    this.hasNames = false;
    return true;
  }

  private sendUpdate<E extends ObjectLiteral>(
    manager: EntityManager,
    entity: EntityTarget<E>,
    set: Partial<E>,
    where: readonly Condition[],
    returning: boolean,
  ): Promise<Answer> {
    const build = () => restricted(manager.createQueryBuilder().update(entity).set(asParameters<E>(set)), where);
    const shape = ['update', entity, Object.keys(set), returning];
    return this.send(manager, shape, build, where, this.stored(entity, set), returning ? entity : undefined);
  }

  /**
   * @param shape what tells its text from others, beside the conditions'
   * @param returned the entity that it answers, where the query builder has no words for that
   */
  private async send(
    manager: EntityManager,
    shape: readonly unknown[],
    build: () => QueryBuilder<ObjectLiteral>,
    where: readonly Condition[],
    written: Values = {},
    returned?: EntityTarget<ObjectLiteral>,
  ): Promise<Answer> {
    const key = `${shape.map((part) => this.nameOf(part)).join('|')}|${where.map(([text]) => text).join('|')}`;
    const values = Object.assign({}, written, ...where.map(([, given]) => given)) as Values;
    const statement = this.made.get(key) ?? this.make(key, build(), values, returned);
    return this.carryOut(
      manager,
      statement,
      statement.order.map((name) => values[name]),
    );
  }

  private make(
    key: string,
    query: QueryBuilder<ObjectLiteral>,
    values: Values,
    returned: EntityTarget<ObjectLiteral> | undefined,
  ): Statement {
    query.setParameters(Object.fromEntries(Object.keys(values).map((name) => [name, PLACEHOLDER + name])));
    const [made, parameters] = query.getQueryAndParameters() as [string, unknown[]];
    const order = parameters.map((parameter) => {
      if (typeof parameter === 'string' && parameter.startsWith(PLACEHOLDER))
        return parameter.slice(PLACEHOLDER.length);
      throw new TypeError(`a value stands in the text of a statement: ${made}`);
    });
    const text = returned ? `${made} RETURNING ${this.namesOf(returned)}` : made;
    const name = `multisession_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
    const statement = { name, text, order };
    this.made.set(key, statement);
    return statement;
  }

  /** One by one, so that a column which a later version adds changes no answer that a connection has planned. */
  private namesOf(entity: EntityTarget<ObjectLiteral>): string {
    const { driver } = this.dataSource;
    return this.columnsOf(entity)
      .map(({ databaseName }) => driver.escape(databaseName))
      .join(', ');
  }

  private async carryOut(manager: EntityManager, { name, text }: Statement, values: unknown[]): Promise<Answer> {
    const runner = manager.queryRunner;
    if (!runner) throw new TypeError('a statement goes over a connection');
    if (!this.hasNames) {
      const { records, affected = 0 } = (await runner.query(text, values, true)) as {
        records?: ObjectLiteral[];
        affected?: number;
      };
      return { rows: records ?? [], affected };
    }
    const client = (await runner.connect()) as PostgresClient;
    const { logger } = this.dataSource;
    logger.logQuery(text, values, runner);
    try {
      const { rows, rowCount } = await client.query({ name, text, values });
      return { rows, affected: rowCount };
    } catch (error) {
      logger.logQueryError(error as Error, text, values, runner);
      throw error;
    }
  }

  /** As the driver takes them. */
  private stored<E extends ObjectLiteral>(entity: EntityTarget<E>, given: Partial<E>): Values {
    const values: Record<string, unknown> = {};
    for (const { propertyName, write } of this.columnsOf(entity)) {
      if (Object.hasOwn(given, propertyName)) values[`set_${propertyName}`] = write(given[propertyName]);
    }
    return values;
  }

  /** For a key. Not the name of the class, which a bundler may have made the same for two. */
  private nameOf(part: unknown): unknown {
    return typeof part === 'function' ? this.dataSource.getMetadata(part).tablePath : part;
  }

  private hydrate<E extends ObjectLiteral>(
    entity: EntityTarget<E>,
    raw: ObjectLiteral,
    columns = this.columnsOf(entity),
  ): E {
    const row: ObjectLiteral = new (entity as new () => E)();
    for (const { propertyName, databaseName, read } of columns) row[propertyName] = read(raw[databaseName]);
    return row as E;
  }

  private columnsOf(entity: EntityTarget<ObjectLiteral>): readonly Column[] {
    const known = this.columns.get(entity);
    if (known) return known;
    const { driver } = this.dataSource;
    const columns = this.dataSource.getMetadata(entity).columns.map((column) => {
      const { propertyName, databaseName, type, transformer } = column;
      const isPlain = PLAIN.has(type) && !transformer;
      const read = isPlain
        ? (value: unknown) => value
        : (value: unknown): unknown => driver.prepareHydratedValue(value, column);
      const write = (value: unknown): unknown => driver.preparePersistentValue(value, column);
      return { propertyName, databaseName, read, write };
    });
    this.columns.set(entity, columns);
    return columns;
  }
}

function restricted<Q extends { andWhere(text: string): unknown }>(query: Q, where: readonly Condition[]): Q {
  for (const [text] of where) query.andWhere(text);
  return query;
}

/** Each property as the parameter that has its value. */
function asParameters<E extends ObjectLiteral>(given: Partial<E>): QueryDeepPartialEntity<E> {
  const names = Object.keys(given);
  return Object.fromEntries(names.map((name) => [name, () => `:set_${name}`])) as QueryDeepPartialEntity<E>;
}
