import { type DatabaseName, selectedDatabases } from '../test/helpers/databases.js';
import { benchCleanup } from './cleanup.js';
import { readGrowthOptions } from './growth-options.js';
import { benchSizes } from './growth-sizes.js';
import { writeReport } from './report.js';

/** Databases on disk or on a server. sql.js is left out, because its tables must fit into memory. */
const MEASURED: readonly DatabaseName[] = ['sqlite', 'postgres', 'mariadb'];

const options = readGrowthOptions();
const databases = selectedDatabases().filter((name) => MEASURED.includes(name));
for (const name of databases) {
  await benchSizes(name, options);
  await benchCleanup(name, options);
}
writeReport('growth', { ...options, databases });
