import { CreateSessions1790000000000 } from './1790000000000-create-sessions.js';
import { CreateSigningKeys1795000000000 } from './1795000000000-create-signing-keys.js';
import { CreateKnownDevices1797000000000 } from './1797000000000-create-known-devices.js';
import { CreateDailyCounts1798000000000 } from './1798000000000-create-daily-counts.js';
import { CreateUserRows1800000000000 } from './1800000000000-create-user-rows.js';
import { CreateAliases1801000000000 } from './1801000000000-create-aliases.js';
import { AddBinding1802000000000 } from './1802000000000-add-binding.js';
import { CreateEvents1803000000000 } from './1803000000000-create-events.js';
import { CreateSignals1804000000000 } from './1804000000000-create-signals.js';
import { CreateStreams1805000000000 } from './1805000000000-create-streams.js';
import { IndexCleanupTime1806000000000 } from './1806000000000-index-cleanup-time.js';
import { CreateAdminActions1807000000000 } from './1807000000000-create-admin-actions.js';

export {
  AddBinding1802000000000,
  CreateAdminActions1807000000000,
  CreateAliases1801000000000,
  CreateDailyCounts1798000000000,
  CreateEvents1803000000000,
  CreateKnownDevices1797000000000,
  CreateSessions1790000000000,
  CreateSignals1804000000000,
  CreateSigningKeys1795000000000,
  CreateStreams1805000000000,
  CreateUserRows1800000000000,
  IndexCleanupTime1806000000000,
};

/** All migrations of this library, for the option `migrations` of your DataSource. */
export const multiSessionMigrations = [
  CreateSessions1790000000000,
  CreateSigningKeys1795000000000,
  CreateKnownDevices1797000000000,
  CreateDailyCounts1798000000000,
  CreateUserRows1800000000000,
  CreateAliases1801000000000,
  AddBinding1802000000000,
  CreateEvents1803000000000,
  CreateSignals1804000000000,
  CreateStreams1805000000000,
  IndexCleanupTime1806000000000,
  CreateAdminActions1807000000000,
];
