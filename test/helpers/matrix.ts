import { ADAPTERS, type AdapterName } from './app.js';
import { type DatabaseName, selectedDatabases, sharedDatabases } from './databases.js';
import { FULL } from './size.js';

/** Runs a suite on each selected database. */
export function onEachDatabase(suite: (database: DatabaseName) => void): void {
  describe.each(selectedDatabases())('%s', (database) => suite(database));
}

/** Runs a suite on each selected database that several processes can use, or on SQLite if none of those is selected. */
export function onEachSharedDatabase(suite: (database: DatabaseName) => void): void {
  const shared = sharedDatabases();
  describe.each(shared.length > 0 ? shared : (['sqlite'] as const))('%s', (database) => suite(database));
}

/**
 * Runs a suite with each selected database and with each adapter, but not with each combination: both adapters on the first
 * database, and one of them, in turns, on each other. What depends on the adapter (HTTP) does not depend on the database.
 * `TEST_SIZE=full` runs all combinations.
 */
export function onEachDatabaseAndAdapter(suite: (database: DatabaseName, adapter: AdapterName) => void): void {
  const combinations = selectedDatabases().flatMap((database, position) =>
    ADAPTERS.filter((_, turn) => position === 0 || position % ADAPTERS.length === turn || FULL).map(
      (adapter) => [database, adapter] as const,
    ),
  );
  describe.each(combinations)('%s, %s', suite);
}

/** Runs a suite on Express and on Fastify, on the first selected database only, if it hardly depends on the database. */
export function onEachAdapter(suite: (database: DatabaseName, adapter: AdapterName) => void): void {
  const [database] = selectedDatabases();
  describe.each(ADAPTERS)(`${database}, %s`, (adapter) => suite(database, adapter));
}
