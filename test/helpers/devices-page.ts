/// <reference lib="dom" />
import { AxeBuilder } from '@axe-core/playwright';
import type { BrowserContext, Page } from 'playwright-core';
import { SAMPLE_SECRET_KEY, type SampleApp } from './sample-app.js';

/** The user agent of a browser that is not the one of the tests. */
export const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0';
export const PASSWORD = 'alice-demo-password';
/** Milliseconds between the updates of the list. */
export const POLL_INTERVAL = 10_000;

/** A page with the elements `<session-login>` and `<session-devices>`, and what it did. */
export interface DevicesPage {
  readonly page: Page;
  /** Console messages, page errors and requests. */
  readonly log: string[];
}

/** Opens a page whose clock can be advanced. */
export async function openDevicesPage(browser: BrowserContext): Promise<DevicesPage> {
  const page = await browser.newPage();
  const log: string[] = [];
  await page.clock.install();
  page.on('console', (message) => log.push(message.text()));
  page.on('pageerror', (error) => log.push(`uncaught: ${error.message}`));
  page.on('request', (request) => log.push(`${request.method()} ${request.url()}`));
  return { page, log };
}

/** Returns the faults in a log: uncaught errors, and what the Content-Security-Policy has blocked. */
export function faultsIn(log: readonly string[]): string[] {
  return log.filter((line) => line.startsWith('uncaught') || line.includes('Content Security Policy'));
}

/** Fills in the form and sends it with the keyboard. */
export async function logIn(
  page: Page,
  {
    username = 'alice',
    password = PASSWORD,
    remember = true,
  }: { username?: string; password?: string; remember?: boolean } = {},
): Promise<void> {
  await page.fill('#username', username);
  await page.fill('#password', password);
  if (await page.isVisible('#remember')) await page.setChecked('#remember', remember);
  await page.press('#password', 'Enter');
}

/** Waits until the list has so many devices, and returns them. */
export async function devices(page: Page, count: number): Promise<{ name?: string | null; isThis: boolean }[]> {
  await page.waitForFunction(
    (wanted) => document.querySelector('session-devices')?.shadowRoot?.querySelectorAll('li').length === wanted,
    count,
  );
  return page.locator('session-devices li').evaluateAll((items) =>
    items.map((item) => ({
      name: item.querySelector('.name')?.textContent,
      isThis: item.querySelector('.bar .badge.this') !== null,
    })),
  );
}

/** Returns the message that is visible, or an empty text. */
export async function message(page: Page): Promise<string> {
  return (await page.locator('.message:visible').allTextContents()).join('\n');
}

export async function waitForMessage(page: Page, text: string): Promise<void> {
  await page.locator('.message:visible', { hasText: text }).waitFor();
}

export async function waitForNoMessage(page: Page): Promise<void> {
  await page.locator('.message:visible').waitFor({ state: 'hidden' });
}

/** Waits for the form, with the message that says why it is there. */
export async function waitForLogin(page: Page, text: string): Promise<void> {
  await page.waitForSelector('#username');
  await waitForMessage(page, text);
}

/** Logs in without a browser, as a client with these headers would. Resolves to the access token. */
export async function logInElsewhere(app: SampleApp, headers: Record<string, string> = {}): Promise<string> {
  const credentials = { username: 'alice', password: PASSWORD, session: 'LONG' };
  const { body } = await app.post('/api/session/login/', { ...credentials, secret_key: SAMPLE_SECRET_KEY }, headers);
  return body.access as string;
}

/** Ends all sessions of the user. */
export async function endAllSessions(app: SampleApp): Promise<void> {
  const headers = { authorization: `Bearer ${await logInElsewhere(app)}` };
  await fetch(`${app.url}/api/session/sessions`, { method: 'DELETE', headers });
  const [own] = (await (await fetch(`${app.url}/api/session/sessions`, { headers })).json()) as { id: string }[];
  await fetch(`${app.url}/api/session/sessions/${own.id}`, { method: 'DELETE', headers });
}

/** Advances the clock until the list updates itself. */
export const later = (page: Page) => page.clock.fastForward(POLL_INTERVAL + 500);

export const triggerUpdate = (page: Page) => page.evaluate(() => void window.dispatchEvent(new Event('online')));

/** Returns the label of the element with the focus, or its id, and whether a ring shows it. */
export function focused(page: Page): Promise<[name: string | undefined, isRinged: boolean]> {
  return page.evaluate(() => {
    let element = document.activeElement;
    while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    const name = element?.getAttribute('aria-label') ?? (element?.id || element?.querySelector('.name')?.textContent);
    return [
      name ?? element?.textContent ?? undefined,
      element !== null && getComputedStyle(element).outlineStyle !== 'none',
    ];
  });
}

/** Returns what axe-core objects to on the page and in its elements, in its present state. */
export async function objections(page: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')} ${failureSummary}`),
  );
}

/** Returns by how many pixels the page is wider than its window. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => Math.max(0, (document.scrollingElement as Element).scrollWidth - window.innerWidth));
}
