import type { Dialect } from '../database/dialect.js';
import type { Sql, SqlValues } from '../database/sql.js';
import { KnownDeviceEntity } from './known-device.entity.js';

/*
 * The statements on known devices. Every time is the database's own. `rememberFor` is this process's option, in milliseconds.
 */

const ENTITIES = [KnownDeviceEntity];

type Device = Pick<KnownDeviceEntity, 'id'>;

interface Remembered {
  readonly rememberFor: number;
}

/** Whether the device is not forgotten yet. A row of an earlier version records no expiry, so the option decides. */
const isKnown = (now: string) => `(expires_at > ${now} OR (expires_at IS NULL AND last_seen > ${now} - :rememberFor))`;

/** The opposite. The first condition uses the index, and deletes no device that this process would still remember. */
const isForgotten = (now: string) =>
  `last_seen <= ${now} - :rememberFor AND (expires_at IS NULL OR expires_at <= ${now})`;

/** Selects a device if it is known, and whether its row must be updated. */
export const FIND_KNOWN: Sql<
  Remembered & { readonly id: string; readonly accuracy: number },
  Device & { readonly isOutdated: boolean }
> = {
  entities: ENTITIES,
  columns: 'id, is_outdated',
  computed: { is_outdated: { property: 'isOutdated', read: (value) => Number(value) === 1 } },
  text: ({ now }) => `
    SELECT id, CASE WHEN last_seen <= ${now} - :accuracy OR expires_at IS NULL THEN 1 ELSE 0 END AS is_outdated
    FROM known_device WHERE id = :id AND ${isKnown(now)}`,
};

/** Selects one known device of a user. */
export const FIND_OTHER: Sql<Remembered & { readonly userId: string }, Device> = {
  entities: ENTITIES,
  columns: 'id',
  text: ({ now, sameText }) => `
    SELECT id FROM known_device WHERE ${sameText('user_id', ':userId')} AND ${isKnown(now)} LIMIT 1`,
};

/** Records a login from a known device. Never moves its expiry to an earlier time. */
export const SEE: Sql<Remembered & { readonly id: string }> = {
  entities: ENTITIES,
  text: ({ now, greatest }) => `
    UPDATE known_device
    SET last_seen = ${now}, expires_at = ${greatest('COALESCE(expires_at, 0)', `${now} + :rememberFor`)}
    WHERE id = :id`,
};

export const DELETE: Sql<{ readonly id: string }> = {
  entities: ENTITIES,
  text: 'DELETE FROM known_device WHERE id = :id',
};

export const INSERT: Sql<Remembered & { readonly id: string; readonly userId: string }> = {
  entities: ENTITIES,
  text: ({ now }) =>
    `INSERT INTO known_device (id, user_id, last_seen, expires_at) VALUES (:id, :userId, ${now}, ${now} + :rememberFor)`,
};

/** Selects devices to delete. */
export const FIND_FORGOTTEN: Sql<Remembered & { readonly limit: number }, Device> = {
  entities: ENTITIES,
  columns: 'id',
  text: ({ now }: Dialect) => `SELECT id FROM known_device WHERE ${isForgotten(now)} LIMIT :limit`,
};

const deletes: Sql<SqlValues>[] = [];

/** Deletes `count` devices, unless they have been seen in the meantime. */
export const deleteForgotten = (count: number): Sql<SqlValues> =>
  (deletes[count] ??= {
    entities: ENTITIES,
    text: ({ now }) => `
      DELETE FROM known_device
      WHERE id IN (${Array.from({ length: count }, (_, at) => `:id${at}`).join(', ')}) AND ${isForgotten(now)}`,
  });

/** Returns the ids as values of `deleteForgotten`. */
export function idValues(ids: readonly string[]): Record<string, string> {
  return Object.fromEntries(ids.map((id, at) => [`id${at}`, id]));
}
