import type { Contract } from '../http/contract.js';
import { HISTORY_QUERY } from '../http/session-history.dto.js';
import { EndedAnswer } from '../http/session-management.dto.js';
import {
  DEAD_LETTERS_QUERY,
  DeadLetterAnswer,
  EventStatusAnswer,
  ReplayedEventsAnswer,
  ReplayEventsDto,
} from './admin-events.dto.js';
import {
  AdminHistoryPage,
  AdminSessionPage,
  EndAllAnswer,
  EndAllDto,
  LIST_QUERY,
  SessionStatisticsAnswer,
  SigningKeyAnswer,
  STATISTICS_QUERY,
} from './admin-sessions.dto.js';
import { schemasOf } from '../http/query.js';

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
  historyOfUser: {
    summary: "List what happened to a user's sessions, and who caused it, the latest first, page by page",
    method: 'GET',
    path: 'users/:userId/history',
    auth: 'administrator',
    query: schemasOf(HISTORY_QUERY),
    answer: AdminHistoryPage,
    errors: { 400: ['validation_failed'] },
  },
  endAll: {
    summary: "Start to end everybody's sessions, including the caller's",
    method: 'POST',
    path: 'sessions/end-all',
    auth: 'administrator',
    body: EndAllDto,
    answer: EndAllAnswer,
    errors: { 400: ['validation_failed'] },
  },
  endAllProgress: {
    summary: "Show the progress of ending everybody's sessions",
    method: 'GET',
    path: 'sessions/end-all',
    auth: 'administrator',
    answer: EndAllAnswer,
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
  keys: {
    summary: 'List the signing keys of `jwt.managed`, in the order in which they sign',
    method: 'GET',
    path: 'keys',
    auth: 'administrator',
    answer: { listOf: SigningKeyAnswer },
  },
  eventStatus: {
    summary: 'Show how many durable events wait, how long, and for what',
    method: 'GET',
    path: 'events',
    auth: 'administrator',
    answer: EventStatusAnswer,
  },
  deadLetters: {
    summary: 'List the events that a destination has refused ten times, page by page',
    method: 'GET',
    path: 'events/dead-letters',
    auth: 'administrator',
    query: schemasOf(DEAD_LETTERS_QUERY),
    answer: { listOf: DeadLetterAnswer },
    errors: { 400: ['validation_failed'] },
  },
  replay: {
    summary: 'Deliver one event or those of a time to a destination again',
    method: 'POST',
    path: 'events/replay',
    auth: 'administrator',
    body: ReplayEventsDto,
    answer: ReplayedEventsAnswer,
    errors: { 400: ['validation_failed'] },
  },
} as const satisfies Contract;
