/** A value, or a promise of it. */
export type Awaitable<Value> = Value | Promise<Value>;

/** A new value for a storage. */
export interface Change {
  readonly value: string;
  /** Whether the value should outlive the browser. */
  readonly persistent: boolean;
}

/** Where the client keeps its record. */
export interface SessionStorage {
  /** Whether other tabs have the same values. The client then reads them before each request. Default: false. */
  readonly shared?: boolean;
  /**
   * Reads a value, and changes it in one step, as far as the storage can. It may be asynchronous.
   * @param change gets the value that is stored now, or null; if it returns undefined, that value stays
   */
  update(key: string, change: (value: string | null) => Change | undefined): Awaitable<void>;
  /** Calls the listener if another tab may have changed the value. Returns a function that stops that. */
  subscribe?(key: string, listener: () => void): () => void;
}

/** Parses a value of the storage. Anything may be there. */
export function parsed<Value>(text: string | null): Value | null {
  try {
    return JSON.parse(text as string) as Value | null;
  } catch {
    return null;
  }
}

/** Keeps the record in memory: a reload of the page ends the session. */
export function memoryStorage(): SessionStorage {
  const values = new Map<string, string>();
  return {
    update(key, change) {
      const next = change(values.get(key) ?? null);
      if (next) values.set(key, next.value);
    },
  };
}

/** The parts of a window that are used. */
export type StoragePage = Pick<
  typeof globalThis,
  'localStorage' | 'sessionStorage' | 'addEventListener' | 'removeEventListener'
>;

/**
 * Keeps the record in `localStorage`, for all tabs. After a login with `remember: false` it is in `sessionStorage` instead, so
 * only this tab has the session, until it is closed. Scripts of the page can read both.
 * @param page the window. Default: the global one
 */
export function browserStorage(page: StoragePage = globalThis): SessionStorage {
  const tab = page.sessionStorage;
  const all = page.localStorage;
  return {
    shared: true,
    update(key, change) {
      const next = change(tab.getItem(key) ?? all.getItem(key));
      if (!next) return;
      set(next.persistent ? all : tab, key, next.value);
      if (next.persistent) tab.removeItem(key);
    },
    subscribe(key, listener) {
      const onStorage = (event: StorageEvent) => {
        // Without a key, all of the storage was cleared.
        if ((event.key ?? key) === key) listener();
      };
      page.addEventListener('storage', onStorage);
      return () => page.removeEventListener('storage', onStorage);
    },
  };
}

/**
 * Keeps the record in `sessionStorage`: each tab has its own session, which a reload of the page keeps.
 * @param page the window. Default: the global one
 */
export function tabStorage(page: Pick<StoragePage, 'sessionStorage'> = globalThis): SessionStorage {
  const tab = page.sessionStorage;
  return {
    update(key, change) {
      const next = change(tab.getItem(key));
      if (next) set(tab, key, next.value);
    },
  };
}

/** A full storage must not keep an old token, because another tab would use it. */
function set(storage: Storage, key: string, value: string): void {
  try {
    storage.setItem(key, value);
  } catch (error) {
    storage.removeItem(key);
    throw error;
  }
}

/** Keeps the record in IndexedDB, for all tabs. Unlike `localStorage`, it exists in workers too. */
export function indexedDBStorage(database = 'nestjs-multisession'): SessionStorage {
  let opened: Promise<IDBDatabase> | undefined;
  const open = () =>
    (opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(database, 1);
      request.onupgradeneeded = () => request.result.createObjectStore('records');
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => {
        opened = undefined;
        reject(request.error ?? new Error('IndexedDB is not available'));
      };
    }));
  return {
    shared: true,
    async update(key, change) {
      const transaction = (await open()).transaction('records', 'readwrite');
      const store = transaction.objectStore('records');
      const request = store.get(key) as IDBRequest<string | undefined>;
      request.onsuccess = () => {
        const next = change(request.result ?? null);
        if (next) store.put(next.value, key);
      };
      return new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error ?? new Error('The transaction was aborted'));
      });
    },
  };
}

/** The methods of React Native's AsyncStorage that are used. */
export interface AsyncStorageLike {
  getItem(key: string): Promise<string | null>;
  setItem(key: string, value: string): Promise<void>;
}

/** Keeps the record in React Native's AsyncStorage, which is not encrypted. */
export function asyncStorage(storage: AsyncStorageLike): SessionStorage {
  return inTurn(
    (key) => storage.getItem(key),
    (key, value) => storage.setItem(key, value),
  );
}

/** The methods of Expo's SecureStore that are used. */
export interface SecureStoreLike {
  getItemAsync(key: string): Promise<string | null>;
  setItemAsync(key: string, value: string): Promise<void>;
}

/** Keeps the record in the keychain of the phone, with Expo's SecureStore. */
export function secureStorage(store: SecureStoreLike): SessionStorage {
  return inTurn(
    (key) => store.getItemAsync(key),
    (key, value) => store.setItemAsync(key, value),
  );
}

/** Makes a storage of two asynchronous functions that only this app calls. One update at a time makes each a single step. */
function inTurn(
  get: (key: string) => Promise<string | null>,
  set: (key: string, value: string) => Promise<void>,
): SessionStorage {
  let last: Promise<void> = Promise.resolve();
  return {
    update(key, change) {
      const result = last.then(async () => {
        const next = change(await get(key));
        if (next) await set(key, next.value);
      });
      last = result.catch(() => undefined);
      return result;
    },
  };
}
