import type { DataSource, EntityTarget, ObjectLiteral } from 'typeorm';
import { instant } from './instant.js';

/** One column of an entity, and what the driver makes of its values. */
export interface Column {
  readonly propertyName: string;
  readonly databaseName: string;
  /** As the database calls it. */
  readonly type: string;
  readonly read: (value: unknown) => unknown;
  readonly write: (value: unknown) => unknown;
}

/** Kinds of columns whose values every driver takes and gives as they are: to ask it for each took half of a list. */
const PLAIN = new Set<unknown>(['varchar', 'text', 'int', 'integer']);
const asItIs = (value: unknown) => value;

/** The columns of an entity by the names of their properties. */
export function columnsOf(dataSource: DataSource, entity: EntityTarget<ObjectLiteral>): ReadonlyMap<string, Column> {
  const { driver } = dataSource;
  return new Map(
    dataSource.getMetadata(entity).columns.map((column) => {
      const { propertyName, databaseName, type, transformer } = column;
      const conversion =
        transformer === instant
          ? { read: instant.from, write: instant.to }
          : PLAIN.has(type) && !transformer
            ? { read: asItIs, write: asItIs }
            : {
                read: (value: unknown): unknown => driver.prepareHydratedValue(value, column),
                write: (value: unknown): unknown => driver.preparePersistentValue(value, column),
              };
      return [propertyName, { propertyName, databaseName, type: driver.normalizeType(column), ...conversion }];
    }),
  );
}

/** What a driver answers by the names of columns, in their order. */
export function inOrder(columns: readonly Column[], rows: readonly ObjectLiteral[]): unknown[][] {
  return rows.map((row) => columns.map(({ databaseName }): unknown => row[databaseName]));
}
