import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/**
 * With a profile of its own, which is gone with it; not a window in private, where Chromium keeps back the cookies of other
 * sites by itself. Every host that ends in `.test` is this machine.
 * @throws where there is no browser: nothing is skipped for it
 */
export async function launchBrowser(more: { userAgent?: string } = {}): Promise<BrowserContext> {
  if (!existsSync(CHROMIUM))
    throw new Error(`${CHROMIUM} is not there: install Debian's package chromium, or say in CHROMIUM where one is`);
  const profile = mkdtempSync(join(tmpdir(), 'profile-'));
  mkdirSync(join(profile, 'Default'));
  // The cookies of other sites are let through, or the browser itself would defend what is to be tested.
  const preferences = { profile: { cookie_controls_mode: 0, block_third_party_cookies: false } };
  writeFileSync(join(profile, 'Default/Preferences'), JSON.stringify(preferences));
  const browser = await chromium.launchPersistentContext(profile, {
    ...more,
    executablePath: CHROMIUM,
    ignoreHTTPSErrors: true,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--ignore-certificate-errors',
      '--host-resolver-rules=MAP *.test 127.0.0.1',
    ],
  });
  // Chromium still writes a little after it has closed.
  browser.on('close', () => void rm(profile, { recursive: true, force: true, maxRetries: 10 }).catch(() => undefined));
  return browser;
}

/** A key and a certificate that it has signed itself. */
export function selfSigned(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  try {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const subject = ['-subj', '/CN=app.test', '-addext', 'subjectAltName=DNS:*.test,DNS:*.app.test'];
    const files = ['-nodes', '-days', '2', '-keyout', key, '-out', cert];
    execFileSync('openssl', ['req', '-x509', ...curve, ...subject, ...files], { stdio: 'pipe' });
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The port of a server that listens. */
export const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** Serves an empty page under every path and host, with the cookies that its queries `set` name: what is not the application. */
export async function serveElsewhere(https: { key: string; cert: string }): Promise<Server> {
  const server = createServer(https, (request, response) => {
    const query = new URL(request.url ?? '/', 'https://elsewhere.test').searchParams;
    response.setHeader('Set-Cookie', query.getAll('set'));
    response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>elsewhere</title>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** What came to the application, and how it was answered. */
export interface Seen {
  readonly request: string;
  readonly status: number;
  readonly cookies: string;
}

/** Notes every request that the server answers from here on. */
export function watch(server: Server): Seen[] {
  const seen: Seen[] = [];
  server.prependListener('request', ({ method, url, headers }: IncomingMessage, response: ServerResponse) => {
    const cookies = headers.cookie ?? '';
    response.on('finish', () => seen.push({ request: `${method} ${url}`, status: response.statusCode, cookies }));
  });
  return seen;
}

/** Waits until the condition gives something. @throws after five seconds */
export async function until<T>(condition: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const end = Date.now() + 5000;
  for (;;) {
    const result = await condition();
    if (result !== undefined) return result;
    if (Date.now() > end) throw new Error(`waited five seconds in vain: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
