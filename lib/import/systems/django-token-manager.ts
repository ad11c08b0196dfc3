import type { UserId } from '../../token/options.js';
import { type OldSystem, textOf } from '../system.js';

/** django-token-manager: one row per token. A token is good as long as its row exists. */
export const DJANGO_TOKEN_MANAGER: OldSystem = {
  name: 'django-token-manager',
  tables: [
    {
      name: 'token_manager_lookup_id',
      columns: ['id', 'user_id', 'ip', 'os', 'device', 'browser', 'created_at', 'updated_at'],
    },
  ],
  primaryKey: 'id',
  keyColumn: 'id',
  select: ({ ms }) => `id, user_id, ip, os, device, browser, ${ms('created_at')} AS created_ms`,
  counts: () => '1 = 1',

  convert(row, { types, now }) {
    const policy = types[''];
    const os = textOf(row.os);
    const browser = textOf(row.browser);
    return {
      session: {
        oldKey: String(row.id),
        tokenKey: null,
        userId: row.user_id as UserId,
        policy,
        createdAt: Number(row.created_ms),
        // The old system records neither uses nor an expiry, so both count from the import.
        lastUpdate: now,
        expiresAt: now + policy.config.refreshTokenLifetime,
        info: [browser, os].filter(Boolean).join(', '),
        ipAddress: textOf(row.ip),
        deviceName: textOf(row.device),
      },
    };
  },
};
