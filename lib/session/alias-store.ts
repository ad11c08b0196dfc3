import type { Database } from '../database/database.js';
import { aliasIdOf, aliasTokenOf, type LegacySystem } from './alias.js';
import type { SessionAliasEntity } from './alias.entity.js';
import { FIND_ALIAS, FIND_BY_KEY, FIND_BY_TOKEN, LIST_OF_USER } from './alias-sql.js';
import type { JudgedRow } from './refresh-sql.js';

/** Finds imported sessions by the tokens and keys of the systems they came from. Each method sends one statement per key. */
export class AliasStore {
  constructor(private readonly database: Database) {}

  /**
   * Finds the session of an old refresh token, expired or not, and the database's time by which to judge it.
   * @param tokenKey what identifies the token: see `aliasTokenOf`
   * @returns null if it was not imported or has ended
   */
  async findByToken(system: LegacySystem, tokenKey: string): Promise<JudgedRow | null> {
    const [row] = await this.database.query(FIND_BY_TOKEN, { token: aliasTokenOf(system, tokenKey) });
    return row ?? null;
  }

  /**
   * Finds the session of an old key, as `findByToken` does.
   * @param oldKey the id of the session in the old system, in its own letter case: see `aliasIdOf`
   */
  async findByKey(system: LegacySystem, oldKey: string): Promise<JudgedRow | null> {
    const [row] = await this.database.query(FIND_BY_KEY, { aliasId: aliasIdOf(system, oldKey) });
    return row ?? null;
  }

  /**
   * Returns the id of the session that a user knows by an old key. The session may have ended.
   * @param systems the systems to ask, in order
   * @returns null if the key is not of one of the user's sessions
   */
  async sessionIdOf(systems: readonly LegacySystem[], oldKey: string, userId: string): Promise<string | null> {
    for (const system of systems) {
      const [alias] = await this.database.query(FIND_ALIAS, { aliasId: aliasIdOf(system, oldKey), userId });
      if (alias) return alias.sessionId;
    }
    return null;
  }

  /** Returns the old keys of a user's sessions, by the sessions' ids. */
  async keysOfUser(userId: string): Promise<Map<string, Pick<SessionAliasEntity, 'system' | 'oldKey'>>> {
    const aliases = await this.database.query(LIST_OF_USER, { userId });
    return new Map(aliases.map((alias) => [alias.sessionId, alias]));
  }
}
