import type { Blacklist } from '../revocation/blacklist.js';
import type { Telemetry } from '../telemetry/telemetry.js';
import type { AccessTokens } from '../token/access-token.js';
import type { RefreshTokens } from '../token/refresh-token.js';
import type { TokenConfig } from '../token/options.js';
import type { Clock } from '../database/clock.js';
import type { SeenGenerations } from './seen-generations.js';
import type { SessionEvents } from './events.js';
import type { SessionEndings } from './endings.js';
import type { SessionPolicies } from './policies.js';
import type { SessionStore } from './store.js';
import type { UserDirectory } from './authenticator.js';

/** What `SessionService` and its parts work with. The module puts it together. */
export interface SessionParts {
  readonly tokens: TokenConfig;
  readonly policies: SessionPolicies;
  readonly store: SessionStore;
  readonly endings: SessionEndings;
  readonly blacklist: Blacklist;
  readonly accessTokens: AccessTokens;
  readonly refreshTokens: RefreshTokens;
  readonly confirmed: SeenGenerations;
  readonly events: SessionEvents;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** Looked up at each login and not at start: the application's users may themselves inject the service. */
  readonly authenticator: () => UserDirectory | null;
}
