import { createHash } from 'node:crypto';
import { describeUserAgent } from '../session/user-agent.js';

/** What a login says about its device. */
export interface DeviceSigns {
  readonly userAgent: string | null;
  readonly deviceName: string | null;
}

/**
 * Returns what makes two logins the same device: its name (`X-Device-Model`), browser, operating system and kind.
 *
 * Versions are left out because an update does not make a new device, and addresses because a phone changes them all day.
 */
export function fingerprintOf({ userAgent, deviceName }: DeviceSigns): readonly (string | null)[] {
  const { browser, os, kind } = describeUserAgent(userAgent);
  // Other programs give their name before the version: `okhttp/4.9`.
  const program = browser?.name ?? (userAgent?.split('/', 1)[0].trim() || null);
  return [deviceName, program, os?.name ?? null, kind];
}

/**
 * Returns the id under which a device is stored: a hash. It hides the device from a casual reader of the table, but not from
 * someone who tries all common devices.
 */
export function deviceIdOf(userId: string, signs: DeviceSigns): string {
  return createHash('sha256')
    .update(JSON.stringify([userId, ...fingerprintOf(signs)]))
    .digest('hex');
}
