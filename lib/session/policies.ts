import { InvalidSessionTypeError } from '../errors.js';
import type { SessionPolicyConfig } from './options.js';
import type { SessionEntity } from './session.entity.js';
import { leastRecentlyUsed, SessionPolicyService } from './policy.js';

/** The name that stands for every session type in lists and endings. */
export const ALL_TYPES = 'ALL';

/** The policies of all session types. Names given by a client are matched in any case, surrounding spaces trimmed. */
export class SessionPolicies {
  /** The names of the types, in the order of the options. */
  readonly types: readonly string[];
  private readonly byName: ReadonlyMap<string, SessionPolicyService>;
  private readonly byFoldedName: ReadonlyMap<string, SessionPolicyService>;

  /** @param maxActiveSessionsPerUser over all types. Default: no limit */
  constructor(
    configs: ReadonlyMap<string, SessionPolicyConfig>,
    readonly maxActiveSessionsPerUser = Infinity,
  ) {
    this.types = [...configs.keys()];
    this.byName = new Map([...configs].map(([type, config]) => [type, new SessionPolicyService(type, config)]));
    this.byFoldedName = new Map([...this.byName].map(([type, policy]) => [type.toUpperCase(), policy]));
  }

  /** Returns the policy of a type by its exact name in a token or a row; undefined if the type was removed. */
  get(type: string): SessionPolicyService | undefined {
    return this.byName.get(type);
  }

  /** Whether sessions of a type are permanent devices. False if the type no longer exists. */
  isPermanent(type: string): boolean {
    return this.byName.get(type)?.config.permanent === true;
  }

  /**
   * Returns the policy of a type that a client has named.
   * @throws InvalidSessionTypeError if there is no such type
   */
  named(type: string): SessionPolicyService {
    const policy = this.byFoldedName.get(type.trim().toUpperCase());
    if (policy) return policy;
    throw new InvalidSessionTypeError(this.types);
  }

  /**
   * Returns the policy of one type, or all policies for `ALL`.
   * @throws InvalidSessionTypeError if there is no such type
   */
  namedOrAll(type: string): SessionPolicyService[] {
    if (type.trim().toUpperCase() === ALL_TYPES) return [...this.byName.values()];
    const policy = this.byFoldedName.get(type.trim().toUpperCase());
    if (policy) return [policy];
    throw new InvalidSessionTypeError([...this.types, ALL_TYPES]);
  }

  /** Returns the types whose sessions count towards the limits of a login to this type; undefined if no limit applies. */
  countedTypes({ type, config }: SessionPolicyService): readonly string[] | undefined {
    if (Number.isFinite(this.maxActiveSessionsPerUser)) return this.types;
    return Number.isFinite(config.maxActiveSessions) ? [type] : undefined;
  }

  /**
   * Chooses the sessions to evict so that one more session of this type fits: sessions of the same type first, then of any
   * type, the least recently used first.
   * @param active the user's active sessions of all `countedTypes`
   */
  evicted<S extends Pick<SessionEntity, 'id' | 'type' | 'lastUpdate' | 'createdAt'>>(
    policy: SessionPolicyService,
    active: readonly S[],
  ): S[] {
    const ofType = policy.evicted(active.filter((row) => row.type === policy.type));
    const others = active.filter((row) => !ofType.includes(row));
    return [...ofType, ...leastRecentlyUsed(others, others.length + 1 - this.maxActiveSessionsPerUser)];
  }

  /**
   * Returns how many more sessions of this type the user may have.
   * @param active the user's active sessions of all `countedTypes`
   */
  available(policy: SessionPolicyService, active: readonly Pick<SessionEntity, 'type'>[]): number {
    const ofType = active.filter((row) => row.type === policy.type).length;
    return Math.min(policy.available(ofType), Math.max(0, this.maxActiveSessionsPerUser - active.length));
  }

  /** The longest lifetime of an access token over all types, in milliseconds. */
  get longestAccessTokenLifetime(): number {
    return Math.max(...[...this.byName.values()].map((policy) => policy.config.accessTokenLifetime));
  }

  /** The longest lifetime of a refresh token over all types, in milliseconds. */
  get longestRefreshTokenLifetime(): number {
    return Math.max(...[...this.byName.values()].map((policy) => policy.config.refreshTokenLifetime));
  }
}
