import type { AliasStore } from './alias-store.js';
import type { LegacySystem } from './alias.js';
import { canonicalSessionId, isSessionId } from './id.js';
import type { UserId } from '../token/options.js';

/**
 * Translates between session ids and the ids that imported sessions had in their old system, for the routes that clients of
 * that system call. Sends a statement only if the option `legacyTokens` names the system.
 */
export class OldSessionIds {
  constructor(
    private readonly aliases: AliasStore,
    private readonly systems: ReadonlySet<LegacySystem>,
  ) {}

  /**
   * Returns our id of a session that a user names by an id of ours or an old one.
   * @param system the old system whose ids the route takes
   * @returns the canonical id. If it is unknown, the text itself, which is no id of a session then
   */
  async resolve(system: LegacySystem, id: string, userId: UserId): Promise<string> {
    const own = canonicalSessionId(id);
    if (!this.systems.has(system) || isSessionId(own)) return own;
    return (await this.aliases.sessionIdOf([system], id, String(userId))) ?? own;
  }

  /**
   * Returns the ids by which a user's clients know the sessions that were imported from a system.
   * @param sessions the user's sessions. If there are none, sends no statement
   * @returns old ids by our ids
   */
  async oldIdsOf(
    system: LegacySystem,
    sessions: readonly { readonly id: string }[],
    userId: UserId,
  ): Promise<ReadonlyMap<string, string>> {
    if (!this.systems.has(system) || sessions.length === 0) return NONE;
    const keys = await this.aliases.keysOfUser(String(userId));
    return new Map([...keys].flatMap(([id, alias]) => (alias.system === system ? [[id, alias.oldKey] as const] : [])));
  }
}

const NONE: ReadonlyMap<string, string> = new Map();
