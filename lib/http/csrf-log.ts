import { Logger } from '@nestjs/common';

const logger = new Logger('MultiSession');

/** How long the same line is not logged again, in milliseconds. A hostile page must not be able to fill the log. */
const QUIET = 60_000;
const MAX_REMEMBERED = 100;

const loggedAt = new Map<string, number>();

/**
 * Logs why the CSRF check refused a request, at most once a minute per reason and origin.
 * @param origin the header `Origin`, if there is one
 */
export function logCsrfFault(fault: string, origin: string | undefined): void {
  const seen = origin === undefined ? 'without an Origin' : `from the origin ${JSON.stringify(origin.slice(0, 200))}`;
  const line = `the CSRF check refused a request ${seen}: ${fault}`;
  const now = performance.now();
  if (now - (loggedAt.get(line) ?? -Infinity) < QUIET) return;
  // A sender who keeps changing the origin gets a line for each of the first hundred within a minute.
  if (loggedAt.size >= MAX_REMEMBERED) {
    for (const [old, at] of loggedAt) if (now - at >= QUIET) loggedAt.delete(old);
    if (loggedAt.size >= MAX_REMEMBERED) return;
  }
  loggedAt.set(line, now);
  logger.warn(line);
}
