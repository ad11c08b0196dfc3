import type { Contract } from './contract.js';
import { DeviceSessionInstructions, DeviceSessionOver } from './dbsc.dto.js';

const PROOF = { 'Secure-Session-Response': { type: 'string', description: 'A proof of the key, as a JWT' } } as const;

/**
 * The routes of `DbscController`. Browsers call the first two by themselves (Device Bound Session Credentials), pages the third
 * one.
 */
export const DBSC_ROUTES = {
  register: {
    summary: 'Register the key of a browser, which the session will be bound to',
    method: 'POST',
    path: 'dbsc/register',
    auth: 'browser',
    headers: PROOF,
    answer: DeviceSessionInstructions,
    errors: { 401: ['device_proof_required'] },
  },
  refresh: {
    summary: 'Refresh a session with a proof of its key',
    method: 'POST',
    path: 'dbsc/refresh',
    auth: 'browser',
    headers: {
      'Sec-Secure-Session-Id': { type: 'string', description: 'Session id' },
      ...PROOF,
    },
    answer: DeviceSessionOver,
    errors: { 401: ['device_proof_required'], 403: ['device_challenge'] },
  },
  stepUp: {
    summary: 'Let the browser prove its key now, for routes with `@RequireDeviceProof`',
    method: 'POST',
    path: 'dbsc/step-up',
    auth: 'access-token',
    errors: { 401: ['device_proof_required'] },
  },
} as const satisfies Contract;
