import { SessionError } from '../errors.js';
import { inWords } from './describe.js';
import type { Language } from './language.js';
import type { SessionTexts } from './texts.js';

/** The texts of the errors that a user can do something about, by code. */
const TEXT_OF_CODE = {
  invalid_credentials: 'invalidCredentials',
  session_limit_reached: 'sessionLimitReached',
  csrf_failed: 'csrfFailed',
  unavailable: 'unavailable',
  unreachable: 'unreachable',
  not_kept: 'notKept',
} as const satisfies Record<string, keyof SessionTexts>;

/** Waits for which a 429 gives no `Retry-After`, in seconds. */
const DEFAULT_WAIT = 60;

/** Returns what to tell the user about an error. */
export function wordsOf(error: SessionError, language: Language): string {
  const { texts } = language;
  if (error.status === 429) return texts.tooManyAttempts(inWords(waitOf(error), language));
  if (error.status === 403 && error.code !== 'csrf_failed') return texts.notPermitted;
  if (error.code === 'logged_out') return texts.ended.logout;
  if (error.status === 503) return texts.unavailable;
  if (Object.hasOwn(TEXT_OF_CODE, error.code)) return texts[TEXT_OF_CODE[error.code as keyof typeof TEXT_OF_CODE]];
  return texts.unknownError;
}

/** Returns how long to wait after too many attempts, in seconds. */
export function waitOf({ retryAfter }: SessionError): number {
  return retryAfter ?? DEFAULT_WAIT;
}

/** Returns the error if it is one that a user may see. Other errors are mistakes in a program, and are thrown again. */
export function sessionErrorOf(error: unknown): SessionError {
  if (error instanceof SessionError) return error;
  throw error;
}
