import type { Sql, SqlValues } from '../database/sql.js';
import { SessionEntity } from './session.entity.js';
import { SessionProviderEntity } from './session-provider.entity.js';
import { SessionSignalEntity } from './session-signal.entity.js';

/* The statements on logins at identity providers and on their signals. Every time is the database's own. */

const PROVIDERS = [SessionProviderEntity];
const SIGNALS = [SessionSignalEntity];

type Link = Pick<SessionProviderEntity, 'sessionId' | 'subjectKey' | 'sidKey'>;

const LINK = 'session_id, subject_key, sid_key';

/** Records at which provider the login of a session took place. */
export const INSERT_LINK: Sql<Link> = {
  entities: PROVIDERS,
  text: ({ now, insertIfAbsent }) =>
    insertIfAbsent(`INTO session_provider (${LINK}, created_at) VALUES (:sessionId, :subjectKey, :sidKey, ${now})`),
};

/** Selects where the login of a session took place. */
export const FIND_LINK: Sql<{ sessionId: string }, Link> = {
  entities: PROVIDERS,
  columns: LINK,
  text: `SELECT ${LINK} FROM session_provider WHERE session_id = :sessionId`,
};

/** Selects the sessions of a provider's user or session. */
export const LIST_LINKED: Sql<{ key: string }, Link> = {
  entities: [SessionProviderEntity, SessionEntity],
  columns: LINK,
  text: `
    SELECT ${LINK} FROM session_provider
    WHERE (subject_key = :key OR sid_key = :key)
      AND EXISTS (SELECT 1 FROM user_session WHERE user_session.id = session_provider.session_id)`,
};

/** Selects one signal that a login must not survive. */
export const FIND_OVERTAKING: Sql<
  { subjectKey: string; sidKey: string; startedAt: number; maxLogin: number },
  Pick<SessionSignalEntity, 'id'>
> = {
  entities: SIGNALS,
  columns: 'id',
  // A provider uses no id of a session twice. But it may let a user in again whom it has logged out everywhere.
  text: ({ now }) => `
    SELECT id FROM session_signal
    WHERE (subject_key = :sidKey AND received_at > ${now} - :maxLogin)
      OR (subject_key = :subjectKey AND received_at >= :startedAt) LIMIT 1`,
};

/** Records that a signal was received. Changes nothing if that was recorded before. */
export const INSERT_SIGNAL: Sql<{ id: string; subjectKey: string | null; keepFor: number }> = {
  entities: SIGNALS,
  text: ({ now, insertIfAbsent }) =>
    insertIfAbsent(
      `INTO session_signal (id, subject_key, received_at, handled, expires_at)
       VALUES (:id, :subjectKey, ${now}, 0, ${now} + :keepFor)`,
    ),
};

export const FIND_SIGNAL: Sql<{ id: string }, Pick<SessionSignalEntity, 'id' | 'handled'>> = {
  entities: SIGNALS,
  columns: 'id, handled',
  text: 'SELECT id, handled FROM session_signal WHERE id = :id',
};

/** Records that the sessions of a signal have ended. */
export const MARK_HANDLED: Sql<{ id: string }> = {
  entities: SIGNALS,
  text: 'UPDATE session_signal SET handled = 1 WHERE id = :id',
};

/** Selects signals to delete. */
export const FIND_OLD_SIGNALS: Sql<{ limit: number }, Pick<SessionSignalEntity, 'id'>> = {
  entities: SIGNALS,
  columns: 'id',
  text: ({ now }) => `SELECT id FROM session_signal WHERE expires_at <= ${now} ORDER BY expires_at LIMIT :limit`,
};

/**
 * Selects records of logins whose sessions have ended. A record is written before its session, so a young one may have none yet.
 */
export const FIND_OLD_LINKS: Sql<{ age: number; limit: number }, Pick<SessionProviderEntity, 'sessionId'>> = {
  entities: [SessionProviderEntity, SessionEntity],
  columns: 'session_id',
  text: ({ now }) => `
    SELECT session_id FROM session_provider
    WHERE created_at <= ${now} - :age
      AND NOT EXISTS (SELECT 1 FROM user_session WHERE user_session.id = session_provider.session_id)
    ORDER BY created_at LIMIT :limit`,
};

const list = (count: number) => Array.from({ length: count }, (_, at) => `:id${at}`).join(', ');
const ofSignals: Sql<SqlValues>[] = [];
const ofLinks: Sql<SqlValues>[] = [];

/** Deletes `count` signals. */
export const deleteSignals = (count: number): Sql<SqlValues> =>
  (ofSignals[count] ??= { entities: SIGNALS, text: `DELETE FROM session_signal WHERE id IN (${list(count)})` });

/** Deletes the records of `count` logins. */
export const deleteLinks = (count: number): Sql<SqlValues> =>
  (ofLinks[count] ??= {
    entities: PROVIDERS,
    text: `DELETE FROM session_provider WHERE session_id IN (${list(count)})`,
  });
