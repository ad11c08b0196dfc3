import { MultiSessionConfigurationError } from '../errors.js';
import type { Claims } from '../token/claims.js';
import { reservedClaims, type TokenConfig } from '../token/options.js';
import { type ShownRow, toSession, userIdOf } from './session.js';
import { checkData } from './data.js';
import type { SessionEntity } from './session.entity.js';
import type { AuthenticatedUser, Users } from './authenticator.js';

/** Maximum size of claims, in bytes of JSON. Servers limit the header that carries a token to 8 or 16 KiB. */
export const MAX_CLAIMS_BYTES = 4096;

/** Checks and builds the application's own claims. */
export class ApplicationClaims {
  private readonly reserved: ReadonlySet<string>;

  /** @param users returns the application's users, or null if it has none */
  constructor(
    private readonly config: TokenConfig,
    private readonly users: Users,
  ) {
    this.reserved = new Set(reservedClaims(config));
  }

  /**
   * Checks the names and the size of claims.
   * @throws MultiSessionConfigurationError if the library writes a claim of that name
   * @throws SessionDataError if they are larger than 4 KiB as JSON, or not JSON
   */
  check(claims: Claims = {}): void {
    const taken = Object.keys(claims).filter((name) => this.reserved.has(name));
    if (taken.length > 0) {
      throw new MultiSessionConfigurationError(
        [`claims: the library writes ${taken.join(', ')} itself. Choose other names`],
        'runtime',
      );
    }
    checkData(claims, { name: 'claims', most: MAX_CLAIMS_BYTES });
  }

  /**
   * Returns the user of an existing session, for `build`. Asks `findActive` if the application has it and builds claims.
   * Otherwise, or if `findActive` returns null, the user has only an id.
   * @throws whatever `findActive` throws
   */
  async userOf(row: SessionEntity, request?: unknown): Promise<AuthenticatedUser> {
    const authenticator = await this.users(request);
    const id = userIdOf(row, this.config);
    return (authenticator?.buildClaims && (await authenticator.findActive?.(id, request))) || { id };
  }

  /**
   * Builds the claims with `UserDirectory.buildClaims`.
   * @returns the checked claims, or undefined if the application has no `buildClaims`
   * @throws the errors of `check`, and whatever `buildClaims` throws
   */
  async build(row: ShownRow, user: AuthenticatedUser, request?: unknown): Promise<Claims | undefined> {
    const authenticator = await this.users(request);
    if (!authenticator?.buildClaims) return undefined;
    const session = toSession(row, this.config);
    const claims = await authenticator.buildClaims(session, user, request);
    this.check(claims);
    return claims;
  }
}
