import { selectedDatabases } from '../helpers/databases.js';
import type { ServerName } from './servers.js';

/** Whether this is the run for CI, which leaves some repetitions out. */
export const SMALL = process.env.TEST_SIZE === 'small';

/** The databases with a server among those selected; both where there is none, since these suites are about servers. */
export function selectedServers(): ServerName[] {
  const selected = selectedDatabases().filter((name) => name === 'postgres' || name === 'mariadb');
  return selected.length > 0 ? selected : ['postgres', 'mariadb'];
}
