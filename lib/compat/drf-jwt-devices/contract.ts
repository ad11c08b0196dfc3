import type { Contract } from '../../http/contract.js';
import { EXAMPLES } from '../../http/examples.js';
import { DeviceAnswer, DeviceTokenAnswer } from './devices.dto.js';

/** The routes of `DevicesController`, which are those of drf-jwt-devices. */
export const DEVICE_ROUTES = {
  refresh: {
    summary: 'Get a new access token for a permanent token',
    method: 'POST',
    path: 'device-refresh-token',
    auth: 'secret-key',
    headers: {
      'Permanent-Token': { type: 'string', description: 'Permanent token', example: EXAMPLES.refreshToken },
    },
    answer: DeviceTokenAnswer,
    errors: {
      400: ['validation_failed', 'invalid_dpop_proof', 'use_dpop_nonce'],
      401: ['token_not_valid', 'session_not_found', 'device_proof_required'],
    },
  },
  logout: {
    summary: "End one of the caller's devices, named in a header",
    method: 'DELETE',
    path: 'device-logout',
    auth: 'access-token',
    headers: { 'Device-Id': { type: 'string', description: 'Device id', example: EXAMPLES.sessionId } },
    errors: { 400: ['validation_failed'], 404: ['session_not_found'] },
  },
  list: {
    summary: "List the caller's devices, the oldest first",
    method: 'GET',
    path: 'devices',
    auth: 'access-token',
    answer: { listOf: DeviceAnswer },
  },
  endDevice: {
    summary: "End one of the caller's devices",
    method: 'DELETE',
    path: 'devices/:id',
    auth: 'access-token',
    errors: { 404: ['session_not_found'] },
  },
} as const satisfies Contract;
