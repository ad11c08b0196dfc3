import type { CredentialsCarrier } from './request.js';

/**
 * Tells when the browser of a request has proved the key of its session. `DeviceProofGuard` depends only on this, so that
 * services without the database can use its decorators.
 */
export abstract class DeviceProofs {
  /** Whether the browser has proved the key of a session within this time, in milliseconds. */
  abstract isProvenWithin(request: CredentialsCarrier, sessionId: string, maxAge: number): boolean;
}
