import { createHash } from 'node:crypto';
import { describeUserAgent } from '../session/user-agent.js';

/** The properties that identify the device of a login. */
export interface DeviceSigns {
  readonly userAgent: string | null;
  readonly deviceName: string | null;
}

/**
 * Returns the fingerprint of a device: its name (`X-Device-Model`), browser, operating system and kind. Two logins with the same
 * fingerprint count as one device.
 *
 * It contains no versions, because an update does not make a new device. It contains no IP address, because a phone's address
 * changes all day.
 */
export function fingerprintOf({ userAgent, deviceName }: DeviceSigns): readonly (string | null)[] {
  const { browser, os, kind } = describeUserAgent(userAgent);
  // A user agent that is not a browser begins with the program's name: `okhttp/4.9`.
  const program = browser?.name ?? (userAgent?.split('/', 1)[0].trim() || null);
  return [deviceName, program, os?.name ?? null, kind];
}

/**
 * Returns the hash under which a device is stored. The hash hides the device from a casual reader of the table, but not from
 * someone who tries all common devices.
 */
export function deviceIdOf(userId: string, signs: DeviceSigns): string {
  return createHash('sha256')
    .update(JSON.stringify([userId, ...fingerprintOf(signs)]))
    .digest('hex');
}
