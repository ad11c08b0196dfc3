import { InvalidSessionTypeError } from '../multi-session.errors.js';
import type { SessionPolicyConfig } from './session.options.js';
import { SessionPolicyService } from './session-policy.service.js';

/** What stands for every type, at list and destroyAllOther. */
export const ALL_TYPES = 'ALL';

/** The policies of all session types. Types are found whatever their case, spaces trimmed. */
export class SessionPolicies {
  /** The types' names, in the order of the options. */
  readonly types: readonly string[];
  private readonly byName: ReadonlyMap<string, SessionPolicyService>;
  private readonly byFoldedName: ReadonlyMap<string, SessionPolicyService>;

  constructor(configs: ReadonlyMap<string, SessionPolicyConfig>) {
    this.types = [...configs.keys()];
    this.byName = new Map([...configs].map(([type, config]) => [type, new SessionPolicyService(type, config)]));
    this.byFoldedName = new Map([...this.byName].map(([type, policy]) => [type.toUpperCase(), policy]));
  }

  /** The policy of a type by its exact name, as it stands in a token or a row; undefined where the type has gone. */
  get(type: string): SessionPolicyService | undefined {
    return this.byName.get(type);
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

  /** The longest that an access token of any type lives, in milliseconds. */
  get longestAccessTokenLifetime(): number {
    return Math.max(...[...this.byName.values()].map((policy) => policy.config.accessTokenLifetime));
  }

  /** The longest that a refresh token of any type lives, in milliseconds. */
  get longestRefreshTokenLifetime(): number {
    return Math.max(...[...this.byName.values()].map((policy) => policy.config.refreshTokenLifetime));
  }
}
