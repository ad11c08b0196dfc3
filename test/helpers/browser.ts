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
 * Launches Chromium with a new profile, which is deleted when the browser closes. A private window would not do: there Chromium
 * blocks third-party cookies. Every host that ends in `.test` resolves to this machine.
 * @throws if Chromium is not installed, so that no test is skipped
 */
export async function launchBrowser({
  thirdPartyCookies = true,
  ...more
}: { userAgent?: string; locale?: string; thirdPartyCookies?: boolean } = {}): Promise<BrowserContext> {
  if (!existsSync(CHROMIUM))
    throw new Error(`no Chromium at ${CHROMIUM}: install Debian's package chromium, or set CHROMIUM to its path`);
  const profile = mkdtempSync(join(tmpdir(), 'profile-'));
  mkdirSync(join(profile, 'Default'));
  // By default, third-party cookies are allowed. Otherwise the browser would block the attacks that the tests try.
  const blocking = { cookie_controls_mode: thirdPartyCookies ? 0 : 1, block_third_party_cookies: !thirdPartyCookies };
  const preferences = { profile: blocking };
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
  // Chromium may still write to its profile after it has closed.
  browser.on('close', () => void rm(profile, { recursive: true, force: true, maxRetries: 10 }).catch(() => undefined));
  return browser;
}

/** Creates a key and a self-signed certificate. */
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

/** The port on which a server listens. */
export const portOf = (server: Server): number => (server.address() as AddressInfo).port;

/** Serves an empty page at every path, as another site would. Each query parameter `set` becomes a `Set-Cookie` header. */
export async function serveElsewhere(https: { key: string; cert: string }): Promise<Server> {
  const server = createServer(https, (request, response) => {
    const query = new URL(request.url ?? '/', 'https://elsewhere.test').searchParams;
    response.setHeader('Set-Cookie', query.getAll('set'));
    // As a buffer: Node would write the headers and a text together, in UTF-8, and change the bytes of a cookie.
    response.setHeader('Content-Type', 'text/html').end(Buffer.from('<!doctype html><title>elsewhere</title>'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** A request, and the status of its answer. */
export interface Seen {
  readonly request: string;
  readonly status: number;
  readonly cookies: string;
}

/**
 * Records every request that the server answers from now on.
 * @returns a list that grows
 */
export function watch(server: Server): Seen[] {
  const seen: Seen[] = [];
  server.prependListener('request', ({ method, url, headers }: IncomingMessage, response: ServerResponse) => {
    const cookies = headers.cookie ?? '';
    response.on('finish', () => seen.push({ request: `${method} ${url}`, status: response.statusCode, cookies }));
  });
  return seen;
}

/**
 * Waits until the condition returns a value, and returns it.
 * @param seconds how long at most
 * @throws after that time
 */
export async function until<T>(condition: () => T | undefined | Promise<T | undefined>, seconds = 5): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const result = await condition();
    if (result !== undefined) return result;
    if (Date.now() > end) throw new Error(`no result within ${seconds} s: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
