import { CreateSessions1790000000000 } from './1790000000000-create-sessions.js';
import { CreateSigningKeys1795000000000 } from './1795000000000-create-signing-keys.js';
import { CreateKnownDevices1797000000000 } from './1797000000000-create-known-devices.js';
import { CreateDailyCounts1798000000000 } from './1798000000000-create-daily-counts.js';

export {
  CreateDailyCounts1798000000000,
  CreateKnownDevices1797000000000,
  CreateSessions1790000000000,
  CreateSigningKeys1795000000000,
};

/** All migrations of this library, for the option `migrations` of your DataSource. */
export const multiSessionMigrations = [
  CreateSessions1790000000000,
  CreateSigningKeys1795000000000,
  CreateKnownDevices1797000000000,
  CreateDailyCounts1798000000000,
];
