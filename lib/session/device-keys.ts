import type { Database } from '../database/database.js';
import type { Sql } from '../database/sql.js';
import { bindingOf, type DeviceKey } from './binding.js';
import type { SessionEndings } from './endings.js';
import type { SessionPolicies } from './policies.js';
import type { RefreshStore } from './refresh-store.js';
import { SessionEntity } from './session.entity.js';

interface RegisterValues {
  readonly id: string;
  readonly pendingBinding: string;
  readonly key: string;
  /** How long after the login a browser may register a key, in milliseconds. */
  readonly within: number;
}

/** Registers the pending key of a session that has none, or the same one. */
const REGISTER: Sql<RegisterValues> = {
  entities: [SessionEntity],
  text: ({ now }) => `
    UPDATE user_session SET pending_binding = :pendingBinding, binding_key = :key
    WHERE id = :id AND binding IS NULL AND (pending_binding IS NULL OR pending_binding = :pendingBinding)
      AND transport = 'cookie' AND expires_at > ${now} AND created_at > ${now} - :within`,
};

/** The key that a browser has registered for a session. */
export interface RegisteredKey {
  /** Whether a first proof has bound the session to it. */
  readonly isBound: boolean;
  readonly thumbprint: string;
  readonly jwk: Readonly<Record<string, unknown>>;
}

/**
 * Registers the keys of browsers (Device Bound Session Credentials).
 *
 * Invariant: a session gets at most one key, by compare-and-swap on its row. If two keys are registered for one session, one of
 * them is a thief's, and the session ends.
 */
export class DeviceKeys {
  constructor(
    private readonly database: Database,
    private readonly store: RefreshStore,
    private readonly policies: SessionPolicies,
    private readonly endings: SessionEndings,
  ) {}

  /**
   * Registers a key for a session whose tokens travel in cookies. It becomes the session's with the first proof, at
   * `SessionService.refresh`. May be repeated with the same key.
   *
   * The caller must have verified a proof by this key over a challenge that the session's login was given.
   * @returns false if the policy does not bind such sessions, the login is longer ago than `bindWithin`, or the session ends
   * because it has another key
   */
  async register(sessionId: string, { thumbprint, jwk }: DeviceKey): Promise<boolean> {
    const row = await this.store.findToJudge(sessionId);
    const policy = row && this.policies.get(row.type);
    if (!policy || policy.config.binding === 'off') return false;
    const pendingBinding = bindingOf({ kind: 'dbsc', thumbprint });
    const values = { id: sessionId, pendingBinding, key: JSON.stringify(jwk), within: policy.config.bindWithin };
    await this.database.execute(REGISTER, values);
    // Two requests may register a key at once, and MySQL does not say reliably whether a statement has changed a row.
    const registered = await this.store.findToJudge(sessionId);
    const key = registered?.binding ?? registered?.pendingBinding;
    if (!registered || !key) return false;
    if (key === pendingBinding) return true;
    const age = registered.askedAt - registered.createdAt.getTime();
    if (age < policy.config.bindWithin) await this.endings.end(registered, 'binding-conflict');
    return false;
  }

  /** Returns the key of a session, or null if it has none or has ended. */
  async keyOf(sessionId: string): Promise<RegisteredKey | null> {
    const row = await this.store.findToJudge(sessionId);
    const key = row?.binding ?? row?.pendingBinding;
    if (!row || !key?.startsWith('dbsc:') || !row.bindingKey) return null;
    return { isBound: row.binding !== null, thumbprint: key.slice('dbsc:'.length), jwk: row.bindingKey };
  }
}
