import { CreateSessions1790000000000 } from './1790000000000-create-sessions.js';
import { CreateSigningKeys1795000000000 } from './1795000000000-create-signing-keys.js';

export { CreateSessions1790000000000, CreateSigningKeys1795000000000 };

/** All migrations of this library, for the `migrations` of a DataSource. */
export const multiSessionMigrations = [CreateSessions1790000000000, CreateSigningKeys1795000000000];
