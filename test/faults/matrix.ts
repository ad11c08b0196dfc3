import { selectedDatabases } from '../helpers/databases.js';
import type { ServerName } from './servers.js';

/** The selected databases that have a server, or both if none of those is selected. */
export function selectedServers(): ServerName[] {
  const selected = selectedDatabases().filter((name) => name === 'postgres' || name === 'mariadb');
  return selected.length > 0 ? selected : ['postgres', 'mariadb'];
}
