import type { Clock } from '../database/clock.js';
import type { TokenConfig, UserId } from '../token/options.js';
import { foldedType, isAllTypes, isSameType, type SessionPolicies } from './policies.js';
import { type BriefRow, type Session, type SessionSummary, toSession, toSummary } from './session.js';
import type { SessionStore } from './store.js';

/**
 * The active sessions of one type. `available` says how many more of this type the user may have; Infinity if there is no
 * limit, and 0 for a type that this process does not know.
 */
export interface SessionList<S extends SessionSummary = Session> {
  readonly type: string;
  readonly available: number;
  readonly sessions: readonly S[];
}

/** Finds and lists active sessions. */
export class SessionLists {
  constructor(
    private readonly store: SessionStore,
    private readonly policies: SessionPolicies,
    private readonly clock: Clock,
    private readonly config: TokenConfig,
  ) {}

  /** See `SessionService.get`. */
  async get(sessionId: string): Promise<Session | null> {
    const row = await this.store.find(sessionId);
    return row && this.policies.isUsable(row, this.clock.now()) ? toSession(row, this.config) : null;
  }

  /** See `SessionService.list`. */
  async list(userId: UserId, type: string, isBrief: boolean): Promise<SessionList<SessionSummary>[]> {
    const { store, config, policies } = this;
    policies.namedOrAll(type);
    if (isBrief) return this.byType(await store.listBrief(String(userId)), type, (row) => toSummary(row, config));
    return this.byType(await store.listActive(String(userId)), type, (row) => toSession(row, config));
  }

  private byType<R extends BriefRow, S extends SessionSummary>(
    rows: readonly R[],
    type: string,
    convert: (row: R) => S,
  ): SessionList<S>[] {
    const { policies } = this;
    const now = this.clock.now();
    const active = rows.filter((row) => policies.isActive(row, now));
    const listOf = (name: string, available: number) => ({
      type: name,
      available,
      sessions: active
        .filter((row) => isSameType(row.type, name))
        .map((row) => convert({ ...row, expiresAt: new Date(policies.endOf(row)) })),
    });
    const known = policies.namedOrAll(type).map((policy) => listOf(policy.type, policies.available(policy, active)));
    if (!isAllTypes(type)) return known;
    const others = new Map(
      active.filter((row) => !policies.get(row.type)).map((row) => [foldedType(row.type), row.type]),
    );
    return [...known, ...[...others.values()].map((name) => listOf(name, 0))];
  }
}
