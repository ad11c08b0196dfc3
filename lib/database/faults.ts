/** Deadlocks and serialization failures: the database has undone everything, so the whole transaction can be retried. */
const RETRIED = new Set([
  '40001',
  '40P01',
  'ER_LOCK_DEADLOCK',
  'ER_CHECKREAD',
  'SQLITE_BUSY',
  'SQLITE_BUSY_SNAPSHOT',
]);
/** PostgreSQL does not know a statement's name, knows it already, or has changed the table since it planned the statement. */
const NAME_FAULTS = new Set(['26000', '42P05', '0A000']);

/** Whether the database did nothing and a retry may succeed. */
export function isRetried(error: unknown): boolean {
  return RETRIED.has(codeOf(error));
}

/** Whether the statement failed because of its name, before it did anything. */
export function isNameFault(error: unknown): boolean {
  return NAME_FAULTS.has(codeOf(error));
}

/** Whether it is a bug in the code that ran, and not a fault of the database. */
export function isProgrammingError(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}

/**
 * Makes an error that names the fault without any value of the statement. The driver's own error carries the parameters, among
 * them the `jti` of a token, and a logger prints the cause of an error. Its message quotes values too, as in MySQL's
 * `Duplicate entry '…'`.
 */
export function withoutValues(error: unknown): Error {
  const code = codeOf(error);
  const { name, message } = error instanceof Error ? error : { name: 'Error', message: typeof error };
  const text = message
    .replace(/(["'`])[^]*\1(?!\w)/, '…')
    .split('\n')[0]
    .slice(0, 300);
  return Object.assign(new Error(code ? `${code} ${text}` : text), { name, code });
}

/** The driver's name of the fault; empty if it has none. */
function codeOf(error: unknown): string {
  const { code, driverError } = error as { code?: unknown; driverError?: { code?: unknown } };
  const found = driverError?.code ?? code;
  return typeof found === 'string' ? found : '';
}
