import { TokenNotValidError, UnavailableError } from '../errors.js';
import { senderErrorOf } from '../session/sender-check.js';
import { RefusedError } from '../verifier/refused-error.js';
import { SenderRefusedError } from '../verifier/sender-refused-error.js';

/** Calls a part of the verifier, and throws its refusals as errors of Nest. */
export function translated<T>(ask: () => T): T {
  try {
    const answer = ask();
    return answer instanceof Promise ? (answer.catch(rethrow) as T) : answer;
  } catch (error) {
    return rethrow(error);
  }
}

function rethrow(error: unknown): never {
  if (error instanceof SenderRefusedError) throw senderErrorOf(error.refusal);
  if (!(error instanceof RefusedError)) throw error;
  throw error.code === 'unavailable' ? new UnavailableError(error.cause) : new TokenNotValidError('access');
}
