import { MultiSessionConfigurationError } from '../errors.js';
import type { Claims } from '../token/keyring.js';
import { reservedClaims, type TokenConfig } from '../token/options.js';
import { toSession, userIdOf } from './session.js';
import { checkData } from './data.js';
import type { SessionEntity } from './session.entity.js';
import type { AuthenticatedUser, UserDirectory } from './authenticator.js';

/** The most that claims may take, in bytes of JSON: a token travels in a header, which servers bound at 8 or 16 KiB. */
export const MAX_CLAIMS_BYTES = 4096;

/** The application's own claims: checked, and built. */
export class ApplicationClaims {
  private readonly reserved: ReadonlySet<string>;

  /** @param users looks up the application's users; null if it has none */
  constructor(
    private readonly config: TokenConfig,
    private readonly users: () => UserDirectory | null,
  ) {
    this.reserved = new Set(reservedClaims(config));
  }

  /** @throws MultiSessionConfigurationError for a name that the library writes, SessionDataError for more than 4 KiB */
  check(claims: Claims = {}): void {
    const taken = Object.keys(claims).filter((name) => this.reserved.has(name));
    if (taken.length > 0) {
      throw new MultiSessionConfigurationError([
        `claims: ${taken.join(', ')} are written by the library; choose other names`,
      ]);
    }
    checkData(claims, { name: 'claims', most: MAX_CLAIMS_BYTES });
  }

  /** The user of a session that goes on, where the claims are built of more than the id. @throws what `findActive` throws */
  async userOf(row: SessionEntity): Promise<AuthenticatedUser> {
    const authenticator = this.users();
    const id = userIdOf(row, this.config);
    return (authenticator?.buildClaims && (await authenticator.findActive?.(id))) || { id };
  }

  /** What `UserDirectory.buildClaims` says; undefined where there is none. @throws as `check`, and what it throws */
  async build(row: SessionEntity, user: AuthenticatedUser): Promise<Claims | undefined> {
    const authenticator = this.users();
    if (!authenticator?.buildClaims) return undefined;
    const session = toSession(row, this.config);
    const claims = await authenticator.buildClaims(session, user);
    this.check(claims);
    return claims;
  }
}
