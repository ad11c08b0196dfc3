import type { Contract } from '../http/contract.js';
import { EndedAnswer } from '../http/session-management.dto.js';
import {
  AdminSessionPage,
  EndAllDto,
  LIST_QUERY,
  SessionStatisticsAnswer,
  STATISTICS_QUERY,
} from './admin-sessions.dto.js';
import { schemasOf } from './query.js';

/** The routes of `AdminSessionsController`. */
export const ADMIN_ROUTES = {
  list: {
    summary: "List everybody's active sessions, the newest first, page by page",
    method: 'GET',
    path: 'sessions',
    auth: 'administrator',
    query: schemasOf(LIST_QUERY),
    answer: AdminSessionPage,
    errors: { 400: ['validation_failed', 'invalid_session_type'] },
  },
  end: {
    summary: 'End one session of any user',
    method: 'DELETE',
    path: 'sessions/:id',
    auth: 'administrator',
    errors: { 404: ['session_not_found'] },
  },
  endOfUser: {
    summary: 'End all sessions of a user',
    method: 'DELETE',
    path: 'users/:userId/sessions',
    auth: 'administrator',
    answer: EndedAnswer,
  },
  endAll: {
    summary: "End everybody's sessions, including the caller's",
    method: 'POST',
    path: 'sessions/end-all',
    auth: 'administrator',
    body: EndAllDto,
    answer: EndedAnswer,
    errors: { 400: ['validation_failed'] },
  },
  statistics: {
    summary: 'Count active sessions by type, and the logins and endings of each day',
    method: 'GET',
    path: 'statistics',
    auth: 'administrator',
    query: schemasOf(STATISTICS_QUERY),
    answer: SessionStatisticsAnswer,
    errors: { 400: ['validation_failed'] },
  },
} as const satisfies Contract;
