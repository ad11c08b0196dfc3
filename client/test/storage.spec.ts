import { describe, expect, test } from '@jest/globals';
import { asyncStorage, secureStorage, type SessionStorage } from 'nestjs-multisession-client';
import { Browser } from './helpers/browser.js';
import { ALICE, optionsFor, startServer } from './helpers/server.js';

/** An asynchronous store of a phone. Each call takes longer than the next one, so that calls which overlap would mix up. */
class PhoneStore {
  readonly values = new Map<string, string>();
  /** The next call with this method fails. */
  failing?: 'get' | 'set' | undefined;
  private delay = 20;

  get = (key: string) => this.later('get', () => this.values.get(key) ?? null);
  set = (key: string, value: string) => this.later('set', () => void this.values.set(key, value));

  private async later<Result>(method: 'get' | 'set', work: () => Result): Promise<Result> {
    const delay = this.delay--;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, delay)));
    if (this.failing !== method) return work();
    this.failing = undefined;
    throw new Error('the keychain is locked');
  }
}

const ADAPTERS: [name: string, open: (store: PhoneStore) => SessionStorage][] = [
  ['AsyncStorage', ({ get, set }) => asyncStorage({ getItem: get, setItem: set })],
  ['SecureStore', ({ get, set }) => secureStorage({ getItemAsync: get, setItemAsync: set })],
];

describe.each(ADAPTERS)('%s', (_, open) => {
  test('updates at once are done one after the other, and none is lost', async () => {
    const store = new PhoneStore();
    const storage = open(store);
    const append = async (letter: string) =>
      storage.update('key', (value) => ({ value: (value ?? '') + letter, persistent: true }));
    await Promise.all([...'abcdef'].map(append));
    expect(store.values.get('key')).toBe('abcdef');
  });

  test('a value stays if the change is undefined', async () => {
    const store = new PhoneStore();
    store.values.set('key', 'old');
    const found: unknown[] = [];
    await open(store).update('key', (value) => void found.push(value));
    expect([found, store.values.get('key')]).toEqual([['old'], 'old']);
  });

  test.each(['get', 'set'] as const)('a %s that fails is reported, and does not stop later updates', async (method) => {
    const store = new PhoneStore();
    const storage = open(store);
    const set = async (value: string) => storage.update('key', () => ({ value, persistent: true }));
    store.failing = method;
    const [first, second] = await Promise.allSettled([set('first'), set('second')]);
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled']);
    expect(store.values.get('key')).toBe('second');
  });

  test('keeps the session of an app that is closed and opened again', async () => {
    const app = await startServer();
    const browser = new Browser();
    const store = new PhoneStore();
    const start = () => browser.open({ ...optionsFor(app, 'body'), storage: open(store) });
    const first = start();
    await first.client.login(ALICE);
    await first.client.refresh();
    first.kill();
    // The keychains of phones accept only these characters.
    for (const key of store.values.keys()) expect(key).toMatch(/^[\w.-]+$/);

    const second = start();
    expect((await second.client.sessions()).map(({ current }) => current)).toEqual([true]);
    expect(browser.requests('refresh')).toHaveLength(1);
    await second.client.logout();
    const third = start();
    expect((await third.client.fetch(`${app.url}/notes`)).status).toBe(401);
    browser.close();
    await app.close();
  });
});
