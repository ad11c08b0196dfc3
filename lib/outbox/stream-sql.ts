import type { Sql, SqlValues } from '../database/sql.js';
import { SessionStreamEntity } from './session-stream.entity.js';
import { SessionStreamSubjectEntity } from './session-stream-subject.entity.js';

/* The statements on what receivers change at their streams. Every time is the database's own. */

const STREAMS = [SessionStreamEntity];
const SUBJECTS = [SessionStreamSubjectEntity];

export type StreamRow = Pick<SessionStreamEntity, 'name' | 'status' | 'reason'>;

export const READ_STREAM: Sql<{ name: string }, StreamRow> = {
  entities: STREAMS,
  columns: 'name, status, reason',
  text: 'SELECT name, status, reason FROM session_stream WHERE name = :name',
};

export const LIST_STREAMS: Sql<SqlValues, StreamRow> = {
  entities: STREAMS,
  columns: 'name, status, reason',
  text: 'SELECT name, status, reason FROM session_stream',
};

/** Creates the row of a stream, enabled, unless it exists. */
export const INSERT_STREAM: Sql<{ name: string }> = {
  entities: STREAMS,
  text: ({ insertIfAbsent }) =>
    insertIfAbsent("INTO session_stream (name, status, reason, verified_at) VALUES (:name, 'enabled', NULL, NULL)"),
};

export const SET_STATUS: Sql<{ name: string; status: string; reason: string | null }> = {
  entities: STREAMS,
  text: 'UPDATE session_stream SET status = :status, reason = :reason WHERE name = :name',
};

/** Records a request for a verification event, unless the last one was less than `interval` milliseconds ago. */
export const SET_VERIFIED: Sql<{ name: string; interval: number }> = {
  entities: STREAMS,
  text: ({ now }) => `
    UPDATE session_stream SET verified_at = ${now}
    WHERE name = :name AND (verified_at IS NULL OR verified_at <= ${now} - :interval)`,
};

type Subject = Pick<SessionStreamSubjectEntity, 'stream' | 'subjectKey' | 'included'>;

export const INSERT_SUBJECT: Sql<Subject> = {
  entities: SUBJECTS,
  text: ({ insertIfAbsent }) =>
    insertIfAbsent(
      'INTO session_stream_subject (stream, subject_key, included) VALUES (:stream, :subjectKey, :included)',
    ),
};

export const UPDATE_SUBJECT: Sql<Subject> = {
  entities: SUBJECTS,
  text: `
    UPDATE session_stream_subject SET included = :included
    WHERE stream = :stream AND subject_key = :subjectKey`,
};

export const DELETE_SUBJECT: Sql<{ subjectKey: string }> = {
  entities: SUBJECTS,
  text: 'DELETE FROM session_stream_subject WHERE subject_key = :subjectKey',
};

const lists: Sql<SqlValues, Subject>[] = [];

/** Selects what the receivers of all streams have said about `count` users. */
export const listSubjects = (count: number): Sql<SqlValues, Subject> =>
  (lists[count] ??= {
    entities: SUBJECTS,
    columns: 'stream, subject_key, included',
    text: `
      SELECT stream, subject_key, included FROM session_stream_subject
      WHERE subject_key IN (${Array.from({ length: count }, (_, at) => `:key${at}`).join(', ')})`,
  });
