import { InvalidSessionTypeError } from '../errors.js';
import type { SessionPolicyConfig } from './options.js';
import type { SessionEntity } from './session.entity.js';
import { type LifeState, leastRecentlyUsed, SessionPolicyService } from './policy.js';

/** The name that stands for every session type in lists and endings. */
export const ALL_TYPES = 'ALL';

/** Returns the form in which the names of session types are compared: letter case and surrounding spaces do not matter. */
export function foldedType(type: string): string {
  return type.trim().toUpperCase();
}

/** Whether two names mean the same session type. */
export function isSameType(one: string, other: string): boolean {
  return one === other || foldedType(one) === foldedType(other);
}

/** Whether a name stands for every session type. */
export function isAllTypes(type: string): boolean {
  return foldedType(type) === ALL_TYPES;
}

/** Default of the option `maxSessions`. */
export const DEFAULT_MAX_SESSIONS = 100;

/** The policies of all session types. Letter case and surrounding spaces do not matter in names that a client sends. */
export class SessionPolicies {
  /** The names of the types, in the order of the options. */
  readonly types: readonly string[];
  private readonly byName: ReadonlyMap<string, SessionPolicyService>;
  private readonly byFoldedName: ReadonlyMap<string, SessionPolicyService>;

  /**
   * @param maxActiveSessionsPerUser counts sessions of all types. Default: no limit
   * @param maxSessions the most sessions of all types. Default: 100
   */
  constructor(
    configs: ReadonlyMap<string, SessionPolicyConfig>,
    readonly maxActiveSessionsPerUser = Infinity,
    private readonly maxSessions = DEFAULT_MAX_SESSIONS,
  ) {
    this.types = [...configs.keys()];
    this.byName = new Map([...configs].map(([type, config]) => [type, new SessionPolicyService(type, config)]));
    this.byFoldedName = new Map([...this.byName].map(([type, policy]) => [foldedType(type), policy]));
  }

  /**
   * Returns the policy of a type by its name in a token or a row, in any letter case. Undefined if this process does not know
   * the type: it was removed from the options, or it is another application's. Callers must then fail closed.
   */
  get(type: string): SessionPolicyService | undefined {
    return this.byName.get(type) ?? this.byFoldedName.get(foldedType(type));
  }

  /** Whether a type is permanent. False for a type that this process does not know. */
  isPermanent(type: string): boolean {
    return this.get(type)?.config.permanent === true;
  }

  /**
   * Whether a session has not ended, under the lifetimes that its policy has now. A session of an unknown type lives until its
   * row expires.
   */
  isActive(row: LifeState & Pick<SessionEntity, 'type'>, now: number): boolean {
    return this.endOf(row) > now;
  }

  /** Whether a session has not ended, and this process knows its type. */
  isUsable(row: LifeState & Pick<SessionEntity, 'type'>, now: number): boolean {
    return this.get(row.type)?.isActive(row, now) === true;
  }

  /** Returns when a session ends, in milliseconds since 1970: see `SessionPolicyService.endOf`. */
  endOf(row: LifeState & Pick<SessionEntity, 'type'>): number {
    return this.get(row.type)?.endOf(row) ?? row.expiresAt.getTime();
  }

  /**
   * Returns the policy of a type that a client has named.
   * @throws InvalidSessionTypeError if there is no such type
   */
  named(type: string): SessionPolicyService {
    const policy = this.byFoldedName.get(foldedType(type));
    if (policy) return policy;
    throw new InvalidSessionTypeError(this.types);
  }

  /**
   * Returns the policy of a type that a client asks for at a login.
   * @throws InvalidSessionTypeError if there is no such type, or its policy has `login: false`
   */
  namedForLogin(type: string): SessionPolicyService {
    const policy = this.byFoldedName.get(foldedType(type));
    if (policy?.config.login) return policy;
    throw new InvalidSessionTypeError(this.types.filter((name) => this.byName.get(name)?.config.login));
  }

  /**
   * Returns the policy of one type, or all policies for `ALL`.
   * @throws InvalidSessionTypeError if there is no such type
   */
  namedOrAll(type: string): SessionPolicyService[] {
    if (isAllTypes(type)) return [...this.byName.values()];
    const policy = this.byFoldedName.get(foldedType(type));
    if (policy) return [policy];
    throw new InvalidSessionTypeError([...this.types, ALL_TYPES]);
  }

  /**
   * Returns how many active sessions a user may have when a session of this type is created. The limits of the options are
   * exact. `maxSessions` only bounds the work per user, so logins at the same moment may exceed it.
   */
  limitOf({ config }: SessionPolicyService): { sessions: number; isExact: boolean } {
    const isExact = Number.isFinite(this.maxActiveSessionsPerUser) || Number.isFinite(config.maxActiveSessions);
    return { sessions: this.maxSessions, isExact };
  }

  /**
   * Chooses the sessions to evict so that one more session of this type fits. Sessions of the same type come first, then
   * sessions of any type. Within each group, the least recently updated come first.
   * @param active all active sessions of the user
   */
  evicted<S extends Pick<SessionEntity, 'id' | 'type' | 'lastUpdate' | 'createdAt'>>(
    policy: SessionPolicyService,
    active: readonly S[],
  ): S[] {
    const ofType = policy.evicted(active.filter((row) => isSameType(row.type, policy.type)));
    const others = active.filter((row) => !ofType.includes(row));
    return [
      ...ofType,
      ...leastRecentlyUsed(others, others.length + 1 - Math.min(this.maxActiveSessionsPerUser, this.maxSessions)),
    ];
  }

  /**
   * Returns how many more sessions of this type the user may have.
   * @param active all active sessions of the user
   */
  available(policy: SessionPolicyService, active: readonly Pick<SessionEntity, 'type'>[]): number {
    const ofType = active.filter((row) => isSameType(row.type, policy.type)).length;
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
