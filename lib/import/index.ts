export { LEGACY_SYSTEMS, type LegacySystem } from '../session/alias.js';
export { readDatabaseUrl } from './database-url.js';
export { ImportDatabaseError, ImportOptionsError } from './errors.js';
export { importSessions } from './import-sessions.js';
export type { EndingsAtOnce, ImportConfig, ImportOptions, ImportProgress, ImportResult } from './options.js';
export type { SkipReason } from './system.js';
