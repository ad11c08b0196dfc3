import type { PollRequest } from '../outbox/event-streams.js';
import { STREAM_STATUSES, type StreamState, type StreamStatus } from '../outbox/stream-states.js';
import { refusal } from './stream-receivers.js';

/** The most events that one request may acknowledge or refuse. */
const MAX_IDS = 1000;
const MAX_ID = 255;
const DEFAULT_MAX_EVENTS = 50;
const MAX_STATE = 1000;
const MAX_REASON = 255;

/** The members of a JSON body. */
export type Body = Readonly<Record<string, unknown>>;

/**
 * Returns a JSON body.
 * @throws HttpException 400 if it is no object
 */
export function objectIn(body: unknown): Body {
  if (isObject(body)) return body;
  throw refusal(400, 'The body must be a JSON object');
}

/**
 * Reads a poll (RFC 8936 section 2.2).
 * @throws HttpException 400 if it is malformed
 */
export function readPoll({
  ack = [],
  setErrs = {},
  maxEvents = DEFAULT_MAX_EVENTS,
  returnImmediately,
}: Body): PollRequest {
  if (!Array.isArray(ack) || !ack.every(isId) || ack.length > MAX_IDS)
    throw refusal(400, `The member ack must be a list of at most ${MAX_IDS} ids`);
  if (!isObject(setErrs) || Object.keys(setErrs).length > MAX_IDS || !Object.keys(setErrs).every(isId))
    throw refusal(400, `The member setErrs must be an object with at most ${MAX_IDS} ids`);
  if (!Number.isSafeInteger(maxEvents) || (maxEvents as number) < 0)
    throw refusal(400, 'The member maxEvents must be a whole number, 0 or more');
  if (returnImmediately !== undefined && typeof returnImmediately !== 'boolean')
    throw refusal(400, 'The member returnImmediately must be true or false');
  return {
    ack,
    refused: new Map(Object.entries(setErrs).map(([id, fault]) => [id, codeOf(fault)])),
    maxEvents: maxEvents as number,
    isImmediate: returnImmediately === true,
  };
}

/**
 * Reads a new status of a stream.
 * @throws HttpException 400 if it is malformed
 */
export function readStatus({ status, reason = null }: Body): StreamState {
  if (!STREAM_STATUSES.includes(status as StreamStatus))
    throw refusal(400, `The member status must be one of ${STREAM_STATUSES.join(', ')}`);
  if (reason !== null && (typeof reason !== 'string' || reason.length > MAX_REASON))
    throw refusal(400, `The member reason must be a text of at most ${MAX_REASON} characters`);
  return { status: status as StreamStatus, reason };
}

/**
 * Reads what a verification event shall contain.
 * @throws HttpException 400 if it is malformed
 */
export function readState({ state = null }: Body): string | null {
  if (state === null || (typeof state === 'string' && state.length <= MAX_STATE)) return state;
  throw refusal(400, `The member state must be a text of at most ${MAX_STATE} characters`);
}

/** Returns the code of an error. The description is not kept, because it could contain anything. */
function codeOf(fault: unknown): string {
  const err = isObject(fault) ? fault.err : undefined;
  return typeof err === 'string' && /^\w{1,40}$/.test(err) ? err : 'no code';
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_ID;
}

function isObject(value: unknown): value is Body {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
