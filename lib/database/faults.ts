import { WrongServerError } from './server-state.js';

/** Deadlocks and serialization failures: the database has undone everything, so the whole transaction can be retried. */
const RETRIED = new Set([
  '40001',
  '40P01',
  'ER_LOCK_DEADLOCK',
  'ER_CHECKREAD',
  'ER_TRANSACTION_ROLLBACK_DURING_COMMIT',
  'SQLITE_BUSY',
  'SQLITE_BUSY_SNAPSHOT',
]);
/**
 * PostgreSQL does not know a statement's name, already knows it, or has changed the table since it planned the statement.
 */
const NAME_FAULTS = new Set(['26000', '42P05', '0A000']);

/**
 * The server refuses writes because it is a standby, or a primary that has been replaced, or a Galera node without its
 * cluster. It has not executed the statement.
 */
const WRONG_SERVER = new Set([
  '25006',
  'ER_OPTION_PREVENTS_STATEMENT',
  'ER_READ_ONLY_MODE',
  'ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION',
  'ER_UNKNOWN_COM_ERROR',
]);

/** Whether the server is not the current, writable primary. Another connection may reach the right one. */
export function isWrongServer(error: unknown): boolean {
  return error instanceof WrongServerError || WRONG_SERVER.has(codeOf(error));
}

/** Whether the database did nothing and a retry may succeed. */
export function isRetried(error: unknown): boolean {
  return RETRIED.has(codeOf(error));
}

/** Whether the statement failed because of its name, before it did anything. */
export function isNameFault(error: unknown): boolean {
  return NAME_FAULTS.has(codeOf(error));
}

/** Whether the error is a bug in the code that ran, and not a fault of the database. */
export function isProgrammingError(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}

/**
 * Returns an error that names the fault without any value of the statement. The driver's own error contains the parameters,
 * such as the `jti` of a token, and a logger prints the cause of an error. The driver's message quotes values too, as in
 * MySQL's `Duplicate entry '…'`. Names of entities, tables, columns and constraints stay.
 */
export function withoutValues(error: unknown): Error {
  const code = codeOf(error);
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: typeof error };
  const text = maskValues(message).split('\n')[0].slice(0, 300);
  return Object.assign(new Error(code ? `${code} ${text}` : text), { name, code });
}

/** A quoted text that may be a name, at the beginning. */
const NAME = /^(["'`])[\w.$@ -]{1,128}\1(?!\w)/;
/** What comes before the quoted name of an entity, table, column, constraint and so on, in the messages of all drivers. */
const BEFORE_NAME =
  /(?:\b(?:entity|metadata for|property|relation|table|columns?|field|constraint|key|index|sequence|database|schema|role|user|function|procedure|type|parameter|collation|encoding|savepoint|in|near)\s|@)$/i;
/** What MySQL writes after a value. The end of the message counts, because a value can contain the same words. */
const AFTER_VALUE = / for (?:key|column) ['`][\w.$`]+['`](?: at row \d+)?$/;

/** Replaces quoted values with `…`. Keeps quoted names. */
function maskValues(message: string): string {
  let done = '';
  let rest = message;
  for (let at = nextQuote(rest); at >= 0; at = nextQuote(rest)) {
    done += rest.slice(0, at);
    rest = rest.slice(at);
    const name = NAME.exec(rest)?.[0];
    if (name !== undefined && (rest.startsWith('`') || isBeforeName(done, rest))) {
      done += name;
      rest = rest.slice(name.length);
    } else {
      const end = AFTER_VALUE.exec(rest)?.index ?? rest.lastIndexOf(rest[0]) + 1;
      done += '…';
      rest = rest.slice(Math.max(end, 1));
      // A quote that is never closed.
      if (end <= 1) rest = '';
    }
  }
  return done + rest;
}

/** MySQL shows the rest of the statement after `near`, in single quotes, and with values. Others show one word. */
function isBeforeName(before: string, rest: string): boolean {
  return BEFORE_NAME.test(before) && !(rest.startsWith("'") && /near\s$/i.test(before));
}

/** Finds the next quote that is not an apostrophe within a word. */
function nextQuote(text: string): number {
  return text.search(/(?<!\w)["'`]|["`]/);
}

/** Returns the driver's error code, or an empty string if it has none. */
function codeOf(error: unknown): string {
  const { code, driverError } = error as { code?: unknown; driverError?: { code?: unknown } };
  const found = driverError?.code ?? code;
  return typeof found === 'string' ? found : '';
}
