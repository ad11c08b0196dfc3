import type { MultiSessionConfig } from '../engine/options.js';
import { overallTimeoutOf, spanOf } from '../session/assurance.js';
import type { SessionPolicyConfig } from '../session/options.js';

/** The routes of the library that the application has. */
export interface ReportedRoutes {
  /** `login/`, `logout/`, `list/`, `destroy/` and so on. */
  readonly sessions: boolean;
  /** `GET sessions`, `DELETE sessions` and so on. */
  readonly management: boolean;
  /** The routes of the option `admin`. */
  readonly admin: boolean;
}

/** What the rows of a report are about: the checked options and the routes. */
export class Facts {
  readonly policies: readonly (readonly [type: string, policy: SessionPolicyConfig])[];

  constructor(
    readonly config: MultiSessionConfig,
    readonly routes: ReportedRoutes,
  ) {
    this.policies = [...config.policies];
  }

  /** Describes each type, such as `SHORT 1 d, LONG 30 d`. */
  each(describe: (policy: SessionPolicyConfig) => string): string {
    return this.policies.map(([type, policy]) => `${type} ${describe(policy)}`).join(', ');
  }

  /** Returns the names of the types for which this is true. */
  typesWith(isSo: (policy: SessionPolicyConfig) => boolean): string[] {
    return this.policies.filter(([, policy]) => isSo(policy)).map(([type]) => type);
  }

  /** The lifetimes of each type. */
  get lifetimes(): string {
    return this.each(
      (policy) => `${spanOf(policy.refreshTokenLifetime)} without activity, ${overallTextOf(policy)} overall`,
    );
  }
}

/** The time after which sessions of a type end in any case, as text. */
export function overallTextOf(policy: SessionPolicyConfig): string {
  const overall = overallTimeoutOf(policy);
  return Number.isFinite(overall) ? spanOf(overall) : 'no limit';
}
