import { InvalidSessionTypeError } from '../errors.js';
import type { SessionPolicyConfig } from './options.js';
import type { SessionEntity } from './session.entity.js';
import { leastRecentlyUsed, SessionPolicyService } from './policy.js';

/** What stands for every type, at list and destroyAllOther. */
export const ALL_TYPES = 'ALL';

/** The policies of all session types. Types are found whatever their case, spaces trimmed. */
export class SessionPolicies {
  /** The types' names, in the order of the options. */
  readonly types: readonly string[];
  private readonly byName: ReadonlyMap<string, SessionPolicyService>;
  private readonly byFoldedName: ReadonlyMap<string, SessionPolicyService>;

  /** @param maxActiveSessionsPerUser over all types. Default: any number */
  constructor(
    configs: ReadonlyMap<string, SessionPolicyConfig>,
    readonly maxActiveSessionsPerUser = Infinity,
  ) {
    this.types = [...configs.keys()];
    this.byName = new Map([...configs].map(([type, config]) => [type, new SessionPolicyService(type, config)]));
    this.byFoldedName = new Map([...this.byName].map(([type, policy]) => [type.toUpperCase(), policy]));
  }

  /** The policy of a type by its exact name, as it stands in a token or a row; undefined where the type has gone. */
  get(type: string): SessionPolicyService | undefined {
    return this.byName.get(type);
  }

  /** Whether sessions of a type are permanent devices. False if the type no longer exists. */
  isPermanent(type: string): boolean {
    return this.byName.get(type)?.config.permanent === true;
  }

  /** @throws InvalidSessionTypeError */
  named(type: string): SessionPolicyService {
    const policy = this.byFoldedName.get(type.trim().toUpperCase());
    if (policy) return policy;
    throw new InvalidSessionTypeError(this.types);
  }

  /** The policies of one type, or of every type where `ALL` is said. @throws InvalidSessionTypeError */
  namedOrAll(type: string): SessionPolicyService[] {
    if (type.trim().toUpperCase() === ALL_TYPES) return [...this.byName.values()];
    const policy = this.byFoldedName.get(type.trim().toUpperCase());
    if (policy) return [policy];
    throw new InvalidSessionTypeError([...this.types, ALL_TYPES]);
  }

  /** Of which types a user's sessions are counted at a login to this one; undefined where nothing limits it. */
  countedTypes({ type, config }: SessionPolicyService): readonly string[] | undefined {
    if (Number.isFinite(this.maxActiveSessionsPerUser)) return this.types;
    return Number.isFinite(config.maxActiveSessions) ? [type] : undefined;
  }

  /**
   * The sessions that must go so that one more of this type fits: of its own type first, then of any, the least recently
   * updated first. @param active all that `countedTypes` names
   */
  evicted<S extends Pick<SessionEntity, 'id' | 'type' | 'lastUpdate' | 'createdAt'>>(
    policy: SessionPolicyService,
    active: readonly S[],
  ): S[] {
    const ofType = policy.evicted(active.filter((row) => row.type === policy.type));
    const others = active.filter((row) => !ofType.includes(row));
    return [...ofType, ...leastRecentlyUsed(others, others.length + 1 - this.maxActiveSessionsPerUser)];
  }

  /** How many more sessions of this type a user may have. @param active all that `countedTypes` names */
  available(policy: SessionPolicyService, active: readonly Pick<SessionEntity, 'type'>[]): number {
    const ofType = active.filter((row) => row.type === policy.type).length;
    return Math.min(policy.available(ofType), Math.max(0, this.maxActiveSessionsPerUser - active.length));
  }

  /** The longest that an access token of any type lives, in milliseconds. */
  get longestAccessTokenLifetime(): number {
    return Math.max(...[...this.byName.values()].map((policy) => policy.config.accessTokenLifetime));
  }

  /** The longest that a refresh token of any type lives, in milliseconds. */
  get longestRefreshTokenLifetime(): number {
    return Math.max(...[...this.byName.values()].map((policy) => policy.config.refreshTokenLifetime));
  }
}
