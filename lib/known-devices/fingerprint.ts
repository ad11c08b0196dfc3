import { createHash } from 'node:crypto';
import { describeUserAgent } from '../session/user-agent.js';

/** What a login says of its device. */
export interface DeviceSigns {
  readonly userAgent: string | null;
  readonly deviceName: string | null;
}

/**
 * What makes two logins the same device: the name that it gives itself (`X-Device-Model`), the browser, the operating system and
 * the kind. No version is in it, since an update is no new device, and no address, since a phone changes it all day.
 */
export function fingerprintOf({ userAgent, deviceName }: DeviceSigns): readonly (string | null)[] {
  const { browser, os, kind } = describeUserAgent(userAgent);
  // What is no browser names itself before its version: `okhttp/4.9`.
  const program = browser?.name ?? (userAgent?.split('/', 1)[0].trim() || null);
  return [deviceName, program, os?.name ?? null, kind];
}

/** What is stored of it. It hides the device from who reads the table by chance, and not from who tries all common ones. */
export function deviceIdOf(userId: string, signs: DeviceSigns): string {
  return createHash('sha256')
    .update(JSON.stringify([userId, ...fingerprintOf(signs)]))
    .digest('hex');
}
