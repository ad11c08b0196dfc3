import type { EntityManager } from 'typeorm';
import type { SendSql, Sql } from '../database/sql.js';
import { inSigningOrder } from './schedule.js';
import { SigningKeyEntity } from './signing-key.entity.js';

const COLUMNS = 'kid, algorithm, sealed, created_at, active_at, longest_lifetime';
const READ: Sql<object, SigningKeyEntity> = {
  entities: [SigningKeyEntity],
  columns: COLUMNS,
  text: `SELECT ${COLUMNS} FROM session_signing_key`,
};
const RAISE: Sql<{ lifetime: number; signing: number }> = {
  entities: [SigningKeyEntity],
  text: `
    UPDATE session_signing_key SET longest_lifetime = :lifetime
    WHERE (active_at IS NULL OR active_at >= :signing) AND (longest_lifetime IS NULL OR longest_lifetime < :lifetime)`,
};

/** Reads all keys, in the order in which they sign. */
export async function readKeys(send: SendSql): Promise<SigningKeyEntity[]> {
  return inSigningOrder(await send(READ, {}));
}

/** Inserts a new key. */
export async function insertKey(manager: EntityManager, row: SigningKeyEntity): Promise<void> {
  await manager.createQueryBuilder().insert().into(SigningKeyEntity).values(row).updateEntity(false).execute();
}

/**
 * Records in the rows of the keys that may sign how long a token may live that this process signs. Only ever raises the value.
 * Sends no statement if the rows state enough.
 * @param keys the key that signs and those that follow it
 * @param longestLifetime in milliseconds
 */
export async function raiseLifetimes(
  send: SendSql,
  keys: readonly SigningKeyEntity[],
  longestLifetime: number,
): Promise<void> {
  const low = keys.filter((key) => key.longestLifetime === null || key.longestLifetime < longestLifetime);
  if (low.length === 0) return;
  await send(RAISE, { lifetime: longestLifetime, signing: keys[0].activeAt?.getTime() ?? 0 });
  for (const key of low) key.longestLifetime = longestLifetime;
}

/** Identifies a key together with everything that its seal covers. If any of it changes, the key must be decrypted again. */
export function sealOf({ kid, algorithm, activeAt, sealed }: SigningKeyEntity): string {
  return JSON.stringify([kid, algorithm, activeAt?.getTime(), sealed]);
}
