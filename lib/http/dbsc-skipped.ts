import { SKIPPED_HEADER } from '../binding/dbsc-headers.js';
import { UnavailableError } from '../errors.js';
import { type CredentialsCarrier, headerOf } from './request.js';

/**
 * Asserts that the browser has not given up its proof for now. A browser signs only so often in a short time. It then sends
 * requests without the bound cookie, and says so.
 * @throws UnavailableError so that the page tries again later, and does not take the user for logged out
 */
export function assertNotSkipped(request: CredentialsCarrier): void {
  if (headerOf(request, SKIPPED_HEADER) !== undefined) throw new UnavailableError();
}
