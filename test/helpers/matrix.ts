import { ADAPTERS, type AdapterName } from './app.js';
import { type DatabaseName, selectedDatabases } from './databases.js';

/** Runs a suite on each selected database. */
export function onEachDatabase(suite: (database: DatabaseName) => void): void {
  describe.each(selectedDatabases())('%s', (database) => suite(database));
}

/** Runs a suite on each selected database, on Express and on Fastify. */
export function onEachDatabaseAndAdapter(suite: (database: DatabaseName, adapter: AdapterName) => void): void {
  describe.each(selectedDatabases().flatMap((database) => ADAPTERS.map((adapter) => [database, adapter] as const)))(
    '%s, %s',
    suite,
  );
}

/** Runs a suite on Express and on Fastify, on the first selected database only, if it hardly depends on the database. */
export function onEachAdapter(suite: (database: DatabaseName, adapter: AdapterName) => void): void {
  const [database] = selectedDatabases();
  describe.each(ADAPTERS)(`${database}, %s`, (adapter) => suite(database, adapter));
}
