import { Equals } from 'class-validator';
import { Expose } from 'class-transformer';
import type { DescribedSession } from '../http/session-management.dto.js';
import { ValidationFailedError } from '../errors.js';
import type { AdministeredSessions } from '../session/administration.js';
import { isSessionId } from '../session/id.js';
import type { UserId } from '../token/options.js';

/** What `admin/sessions/end-all` must be sent in its field `confirm`. */
export const END_ALL = 'END ALL SESSIONS';

/** The body of `admin/sessions/end-all`. */
export class EndAllDto {
  @Expose()
  @Equals(END_ALL, { always: true, message: `Must be «${END_ALL}».` })
  confirm!: string;
}

/** One session in the answer of `GET admin/sessions`. */
export interface AdminSession extends DescribedSession {
  user_id: UserId;
}

/** The answer of `GET admin/sessions`. */
export interface AdminSessionPage {
  sessions: AdminSession[];
  /** What the query `after` of the next page is; null on the last. */
  next: string | null;
}

/** A query as Express and Fastify read it: a name that is repeated is a list. */
export type Query = Readonly<Record<string, unknown>>;

/** So many sessions one page of `admin/sessions` may have, and so many days `admin/statistics` may go back. */
export const MAX_PAGE_SIZE = 200;
export const MAX_DAYS = 366;
const TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

/** @throws ValidationFailedError that names every fault, and every name that means nothing: a filter that is misspelt must not show all */
export function readListQuery(query: Query): AdministeredSessions {
  return readQuery(query, {
    user: [
      'userId',
      (text) => (text === '' || text.length > 255 || text.includes('\0') ? undefined : text),
      'Not a user id.',
    ],
    type: ['type', (text) => text, ''],
    since: ['since', readTime, 'Not a time, such as 2026-11-24 or 2026-11-24T08:00:00Z.'],
    after: ['after', (text) => (isSessionId(text) ? text : undefined), 'Not what `next` was.'],
    limit: ['limit', wholeNumber(MAX_PAGE_SIZE), `Must be a whole number from 1 to ${MAX_PAGE_SIZE}.`],
  });
}

/** @throws ValidationFailedError as `readListQuery` */
export function readStatisticsQuery(query: Query): { days?: number } {
  return readQuery(query, {
    days: ['days', wholeNumber(MAX_DAYS), `Must be a whole number from 1 to ${MAX_DAYS}.`],
  });
}

/** For each name in the query: what it is called within, how it is read (undefined for a fault), and what is wrong then. */
type QueryRules = Record<string, readonly [name: string, read: (text: string) => unknown, fault: string]>;

function readQuery(query: Query, rules: QueryRules): Record<string, unknown> {
  const errors: Record<string, string[]> = {};
  const values: Record<string, unknown> = {};
  for (const [field, given] of Object.entries(query)) {
    const rule = Object.hasOwn(rules, field) ? rules[field] : undefined;
    if (!rule) {
      errors[field] = [`Not known; known are ${Object.keys(rules).join(', ')}.`];
      continue;
    }
    const [name, read, fault] = rule;
    values[name] = typeof given === 'string' ? read(given) : undefined;
    if (values[name] === undefined) errors[field] = [typeof given === 'string' ? fault : 'Must be given once.'];
  }
  if (Object.keys(errors).length > 0) throw new ValidationFailedError(errors);
  return values;
}

function readTime(text: string): Date | undefined {
  const time = new Date(text);
  return TIME.test(text) && !Number.isNaN(time.getTime()) ? time : undefined;
}

function wholeNumber(most: number): (text: string) => number | undefined {
  return (text) => (/^\d{1,4}$/.test(text) && Number(text) >= 1 && Number(text) <= most ? Number(text) : undefined);
}
