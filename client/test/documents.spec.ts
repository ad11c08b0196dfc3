import { once } from 'node:events';
import { createServer, request as send, type Server } from 'node:http';
import { rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { SecureStoreLike, SessionClient } from 'nestjs-multisession-client';
import { codeBlocks } from '../../test/docs/documents.js';
import { SECRET_KEY, type TestApp } from '../../test/helpers/app.js';
import { folderForBlocks, importBlock } from '../../test/helpers/code-block.js';
import { Browser } from './helpers/browser.js';
import { NotesController, startServer } from './helpers/server.js';

const DOCUMENT = 'docs/front-end.md';

/** Runs the examples in this process, whose globals are those of a page. */
describe('the examples for front ends', () => {
  let app: TestApp;
  let folder: string;
  let browser: Browser;
  const globals = Object.fromEntries(
    ['fetch', 'location', 'localStorage', 'sessionStorage', 'addEventListener', 'removeEventListener'].map((name) => [
      name,
      Object.getOwnPropertyDescriptor(globalThis, name),
    ]),
  );

  beforeAll(async () => {
    folder = folderForBlocks();
    app = await startServer({
      secretKey: [
        SECRET_KEY,
        'a key that every visitor can read',
        'a key that every owner of the app can read',
      ] as never,
    });
  });
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true });
    await app?.close();
  });
  beforeEach(() => {
    browser = new Browser();
  });
  afterEach(() => {
    browser.close();
    for (const [name, property] of Object.entries(globals))
      if (property) Object.defineProperty(globalThis, name, property);
      else delete (globalThis as Record<string, unknown>)[name];
  });

  /** Makes this process a page of the given origin. Requests to `https://api.example.com` go to the server of the test. */
  const bePage = (origin: string) => {
    const tab = browser.open({ url: `${app.url}/unused`, transport: 'body' });
    const toServer: typeof fetch = (input, init) =>
      tab.fetch(new URL((input as string).replace('https://api.example.com', app.url), origin), init);
    const values = { ...(tab.page as object), fetch: toServer, location: new URL(origin) };
    for (const [name, value] of Object.entries(values))
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  };

  test('are shorter than twenty lines each', () => {
    const long = codeBlocks([DOCUMENT]).filter(({ text }) => text.trimEnd().split('\n').length >= 20);
    expect(long.map(({ line }) => line)).toEqual([]);
  });

  test('a page with cookies logs in, reads, shows who is logged in, and logs out', async () => {
    bePage(app.url);
    const page = (await importBlock(folder, DOCUMENT, 'cookies/session.ts')) as {
      session: SessionClient;
      readonly login: (username: string, password: string, remember: boolean) => Promise<string>;
      notes(): Promise<unknown>;
      logout(): Promise<void>;
    };
    const { showStatus } = (await importBlock(folder, DOCUMENT, 'cookies/status.ts')) as {
      readonly showStatus: (session: SessionClient, show: (text: string) => void) => void;
    };
    const shown: string[] = [];
    showStatus(page.session, (text) => shown.push(text));
    expect(await page.login('alice', 'wrong', true)).toMatch(/^Invalid credentials/);
    expect(await page.login('alice', 'alice-password', true)).toBe('Welcome!');
    expect(await page.notes()).toEqual({ userId: 'alice' });
    await page.logout();
    expect(shown).toEqual(['You are logged in.', 'You have signed out.']);
    page.session.close();
  });

  test('a page with tokens logs in and writes', async () => {
    bePage('https://app.example.com');
    const page = (await importBlock(folder, DOCUMENT, 'tokens/session.ts')) as {
      session: SessionClient;
      login(username: string, password: string, remember: boolean): Promise<void>;
      writeNote(text: string): Promise<boolean>;
    };
    await page.login('alice', 'alice-password', true);
    expect(await page.writeNote('hello')).toBe(true);
    expect(app.get(NotesController).written).toEqual([{ text: 'hello' }]);
    expect([...browser.local.values()].join()).toContain('eyJ');
    page.session.close();
  });

  test('an app keeps its tokens in the keychain, and refreshes when it comes to the foreground', async () => {
    bePage(app.url);
    const values = new Map<string, string>();
    const keychain: SecureStoreLike = {
      getItemAsync: (key) => {
        if (!/^[\w.-]+$/.test(key)) throw new Error(`SecureStore does not accept the key ${key}`);
        return Promise.resolve(values.get(key) ?? null);
      },
      setItemAsync: (key, value) => {
        if (value.length > 2048) throw new Error('SecureStore warns about this');
        values.set(key, value);
        return Promise.resolve();
      },
    };
    const { openSession, onForeground } = (await importBlock(folder, DOCUMENT, 'mobile/session.ts')) as {
      readonly openSession: (store: SecureStoreLike) => SessionClient;
      readonly onForeground: (session: SessionClient) => Promise<void>;
    };
    const first = openSession(keychain);
    await first.login({ username: 'alice', password: 'alice-password', session: 'LONG' });
    first.close();
    const restarted = openSession(keychain);
    expect((await restarted.fetch('https://api.example.com/notes')).status).toBe(200);
    await onForeground(restarted);
    expect(browser.requests('refresh').map(({ status }) => status)).toEqual([200]);
    expect([...values.values()].join()).toContain('"generation":1');
    restarted.close();
  });

  test("Vite's setting gives pages and API one origin", async () => {
    const config = (await importBlock(folder, DOCUMENT, 'vite.config.ts')) as {
      default: { server: { proxy: Record<string, string> } };
    };
    const { proxy } = config.default.server;
    const server = await forwarding(Object.keys(proxy), app.url);
    const { port } = server.address() as AddressInfo;
    bePage(`http://127.0.0.1:${port}`);
    const tab = browser.open({ url: `http://127.0.0.1:${port}/api/session`, transport: 'cookie' });
    try {
      await tab.client.login({ username: 'alice', password: 'alice-password', session: 'LONG' });
      expect((await tab.client.fetch(`http://127.0.0.1:${port}/notes`)).status).toBe(200);
    } finally {
      server.close();
    }
  });
});

/** A server that forwards requests whose path begins like one of these, as Vite does. */
async function forwarding(paths: readonly string[], target: string): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    const path = incoming.url ?? '';
    if (!paths.some((start) => path.startsWith(start))) return outgoing.writeHead(404).end();
    const { hostname, port } = new URL(target);
    const options = { hostname, port, path, method: incoming.method, headers: incoming.headers };
    const forwarded = send(options, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      answer.pipe(outgoing);
    });
    incoming.pipe(forwarded);
    return undefined;
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
