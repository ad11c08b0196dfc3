import type { Database } from '../database/database.js';
import type { Job } from '../database/job.js';
import { MAX_LOGIN, USER_ROW_LIFE } from '../engine/timing.js';
import { MultiSessionConfigurationError } from '../errors.js';
import { type ProviderLogin, sidKeyOf, subjectKeyOf } from './provider-login.js';
import {
  deleteLinks,
  deleteSignals,
  FIND_LINK,
  FIND_OLD_LINKS,
  FIND_OLD_SIGNALS,
  FIND_OVERTAKING,
  FIND_SIGNAL,
  INSERT_LINK,
  INSERT_SIGNAL,
  LIST_LINKED,
  MARK_HANDLED,
} from './provider-sql.js';
import { idValues } from './session-sql.js';
import type { SessionProviderEntity } from './session-provider.entity.js';

/** A session and where its login took place. */
export type LinkedSession = Pick<SessionProviderEntity, 'sessionId' | 'subjectKey' | 'sidKey'>;

/** A hash has no empty text. */
const NO_KEY = '';

/**
 * Remembers at which identity provider the login of each session took place, and which signals the providers have sent.
 *
 * Invariant: no login survives a signal that ends it, even if both happen at the same moment on different processes. A login
 * records its provider before the session, and looks for signals after the commit of the session. A signal is committed before
 * the sessions are looked up. At least one of them therefore sees the other. No token is handed out before the login has looked.
 */
export class ProviderSessions {
  /**
   * @param issuers the issuers of the option `identityProviders`; empty if it is off
   * @param cleanup elects the process that cleans up
   */
  constructor(
    private readonly database: Database,
    private readonly issuers: ReadonlySet<string>,
    private readonly cleanup: Pick<Job, 'run'>,
  ) {}

  /**
   * Checks where a login took place.
   * @throws MultiSessionConfigurationError if the provider is not one of the option `identityProviders`
   */
  check(provider: ProviderLogin | undefined): void {
    if (!provider) return;
    const { issuer, subject, sid } = provider;
    const isText = (value: unknown) => typeof value === 'string' && value !== '';
    if (!this.issuers.has(issuer))
      throw new MultiSessionConfigurationError(
        [
          `provider.issuer: ${JSON.stringify(String(issuer).slice(0, 100))} is not the issuer of one of identityProviders; ` +
            'add it there, or leave provider out',
        ],
        'runtime',
      );
    if (!isText(subject) || (sid !== undefined && !isText(sid)))
      throw new MultiSessionConfigurationError(
        [
          'provider: subject and sid must be the texts of the claims sub and sid of the ID token; leave sid out if there is none',
        ],
        'runtime',
      );
  }

  /** Records where the login of a session takes place. Call it before the session exists. */
  async record(sessionId: string, provider: ProviderLogin | undefined): Promise<void> {
    if (!provider) return;
    const { issuer, subject, sid } = provider;
    await this.database.execute(INSERT_LINK, {
      sessionId,
      subjectKey: subjectKeyOf(issuer, subject),
      sidKey: sid === undefined ? null : sidKeyOf(issuer, sid),
    });
  }

  /** Records the login of a session for the session that will replace it. */
  async copy(fromSessionId: string, toSessionId: string): Promise<void> {
    if (this.issuers.size === 0) return;
    const [link] = await this.database.query(FIND_LINK, { sessionId: fromSessionId });
    if (link)
      await this.database.execute(INSERT_LINK, {
        sessionId: toSessionId,
        subjectKey: link.subjectKey,
        sidKey: link.sidKey,
      });
  }

  /**
   * Tells whether a signal has ended the login of a session. Call it after the commit of the session.
   * @param startedAt a time that was not after the start of the login, in milliseconds since 1970
   */
  async isOvertaken(sessionId: string, startedAt: number): Promise<boolean> {
    if (this.issuers.size === 0) return false;
    const [link] = await this.database.query(FIND_LINK, { sessionId });
    if (!link) return false;
    const { subjectKey, sidKey } = link;
    const values = { subjectKey, sidKey: sidKey ?? NO_KEY, startedAt, maxLogin: MAX_LOGIN };
    return (await this.database.query(FIND_OVERTAKING, values)).length > 0;
  }

  /** Lists the live sessions of a provider's user or session. */
  async sessionsOf(key: string): Promise<LinkedSession[]> {
    return this.database.query(LIST_LINKED, { key });
  }

  /**
   * Records a signal. Call it before the sessions are looked up.
   * @param subjectKey which logins must not survive it. Null for none
   * @param keepFor how long to remember it, in milliseconds
   * @returns false if the signal was received before and its sessions have ended
   */
  async receive(id: string, subjectKey: string | null, keepFor: number): Promise<boolean> {
    if ((await this.database.execute(INSERT_SIGNAL, { id, subjectKey, keepFor })) > 0) return true;
    const [known] = await this.database.query(FIND_SIGNAL, { id });
    return known?.handled !== 1;
  }

  /** Records that the sessions of a signal have ended, so that it does nothing if it comes again. */
  async finish(id: string): Promise<void> {
    await this.database.execute(MARK_HANDLED, { id });
  }

  /**
   * Deletes up to `limit` old rows in one transaction.
   * @returns how many were deleted, or undefined if another process is doing it
   */
  async deleteOld(limit: number): Promise<number | undefined> {
    if (this.issuers.size === 0) return 0;
    const { database } = this;
    return this.cleanup.run(async (manager) => {
      const signals = await database.query(FIND_OLD_SIGNALS, { limit }, manager);
      if (signals.length > 0) {
        const ids = idValues(signals.map(({ id }) => id));
        return database.execute(deleteSignals(signals.length), ids, manager);
      }
      // A login that takes longer than `MAX_LOGIN` is refused, so an old record without a session will never have one.
      const links = await database.query(FIND_OLD_LINKS, { age: USER_ROW_LIFE, limit }, manager);
      if (links.length === 0) return 0;
      return database.execute(deleteLinks(links.length), idValues(links.map(({ sessionId }) => sessionId)), manager);
    });
  }
}
