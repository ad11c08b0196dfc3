import type { UserId } from '../../token/options.js';
import { type OldSystem, textOf } from '../system.js';

/** drf-jwt-devices: one row per device, which holds its permanent token. */
export const DRF_JWT_DEVICES: OldSystem = {
  name: 'drf-jwt-devices',
  tables: [
    {
      name: 'jwt_devices_device',
      columns: ['id', 'permanent_token', 'created', 'last_request_datetime', 'name', 'details', 'user_id'],
    },
  ],
  primaryKey: 'id',
  keyColumn: 'id',
  select: ({ ms }) => `
    id, permanent_token, ${ms('created')} AS created_ms, ${ms('last_request_datetime')} AS used_ms, name, details,
    user_id`,
  counts: ({ ms }, _type, { config }) => `${ms('last_request_datetime')} > :now - ${config.refreshTokenLifetime}`,

  convert(row, { types, now }) {
    const token = textOf(row.permanent_token);
    if (!token) return { fault: 'the column permanent_token is empty' };
    const policy = types[''];
    const lastUpdate = Number(row.used_ms);
    // The old system stores no expiry. A device ends if it has not been used for the lifetime of its type.
    const expiresAt = lastUpdate + policy.config.refreshTokenLifetime;
    if (expiresAt <= now) return { skip: 'expired' };
    const name = textOf(row.name);
    const details = textOf(row.details);
    return {
      session: {
        oldKey: String(row.id),
        tokenKey: token,
        userId: row.user_id as UserId,
        policy,
        createdAt: Number(row.created_ms),
        lastUpdate,
        expiresAt,
        info: details || name,
        userAgent: details,
        deviceName: name,
      },
    };
  },
};
