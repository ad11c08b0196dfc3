import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** What Chromium reports about a bound session. */
export interface DeviceEvent {
  readonly succeeded: boolean;
  readonly sessionId?: string;
  readonly creationEventDetails?: { readonly fetchResult: string };
  readonly refreshEventDetails?: { readonly refreshResult: string };
  readonly terminationEventDetails?: { readonly deletionReason: string };
}

/** A profile of Chromium, which stays on the disk from one start to the next. */
export function newProfile(): { folder: string; delete: () => Promise<void> } {
  const folder = mkdtempSync(join(tmpdir(), 'bound-profile-'));
  mkdirSync(join(folder, 'Default'));
  return { folder, delete: () => rm(folder, { recursive: true, force: true, maxRetries: 10 }) };
}

/**
 * Launches Chromium with Device Bound Session Credentials and keys in software. It accepts the certificate as if an authority
 * had signed it: with a certificate that it merely ignores, it would bind no session.
 * @param options.limitsSigning whether it signs only a few times in a short time, as it does for users
 * @throws if Chromium is not installed, so that no test is skipped
 */
export async function launchBound(
  certificate: string,
  folder: string,
  { limitsSigning = false }: { limitsSigning?: boolean } = {},
): Promise<BrowserContext> {
  if (!existsSync(CHROMIUM))
    throw new Error(`no Chromium at ${CHROMIUM}: install Debian's package chromium, or set CHROMIUM to its path`);
  const key = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
  const hash = createHash('sha256').update(key).digest('base64');
  const sessions = limitsSigning ? 'DeviceBoundSessions' : 'DeviceBoundSessions:RefreshQuota/false';
  return chromium.launchPersistentContext(folder, {
    executablePath: CHROMIUM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--ignore-certificate-errors-spki-list=${hash}`,
      '--host-resolver-rules=MAP *.test 127.0.0.1',
      `--enable-features=${sessions},EnableBoundSessionCredentialsSoftwareKeysForManualTesting`,
    ],
  });
}

/**
 * Records what a browser reports about its bound sessions.
 * @returns a list that grows
 */
export async function recordDeviceEvents(page: Page): Promise<DeviceEvent[]> {
  const events: DeviceEvent[] = [];
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.enableDeviceBoundSessions', { enable: true });
  session.on('Network.deviceBoundSessionEventOccurred', (event) => events.push(event as DeviceEvent));
  return events;
}
