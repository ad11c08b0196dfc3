import { SessionError } from './errors.js';
import type { ManagedSession } from './contract.js';
import type { SessionClient } from './types.js';

/** What a list of devices knows. Each change is a new object. */
export interface DeviceListState {
  /** Undefined until the first answer, and for an anonymous visitor. */
  readonly devices?: readonly ManagedSession[];
  /** Why the last request failed. The devices stay as they were. */
  readonly error?: SessionError;
}

/** The user's sessions, kept up to date by the ones who call `reload`. */
export interface DeviceList {
  /** Calls the listener after each change. Returns a function that stops that. It is bound. */
  readonly subscribe: (listener: () => void) => () => void;
  /** Returns the state, the same object until it changes. It is bound. */
  readonly getSnapshot: () => DeviceListState;
  /** Asks the server for the list. Never rejects: the error is in the state. It is bound. */
  readonly reload: () => Promise<void>;
  /**
   * Ends a session, then reloads. Ending a session that has ended already succeeds. It is bound.
   * @throws SessionError
   */
  readonly end: (id: string) => Promise<void>;
  /**
   * Ends the other sessions, then reloads. It is bound.
   * @returns how many have ended
   * @throws SessionError
   */
  readonly endOthers: () => Promise<number>;
}

const EMPTY: DeviceListState = {};

/** Creates a list for the bindings and elements. It sends no request by itself, and has no timers. */
export function createDeviceList(client: SessionClient): DeviceList {
  const listeners = new Set<() => void>();
  let state = EMPTY;
  let latest = 0;

  function change(next: DeviceListState): void {
    state = next;
    for (const listener of [...listeners]) listener();
  }

  async function reload(): Promise<void> {
    const asked = ++latest;
    if (client.getSnapshot().status !== 'authenticated') {
      if (state !== EMPTY) change(EMPTY);
      return;
    }
    const next = await client.sessions().then(
      (devices): DeviceListState => ({ devices }),
      (error: unknown): DeviceListState => ({ ...state, error: asSessionError(error) }),
    );
    // Discard a late answer: something newer has been requested since.
    if (asked !== latest) return;
    // The session may have ended while the request was on its way.
    change(client.getSnapshot().status === 'authenticated' ? next : EMPTY);
  }

  return {
    reload,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    getSnapshot: () => state,
    async end(id) {
      await endSession(client, id);
      await reload();
    },
    async endOthers() {
      const ended = await client.endOthers();
      await reload();
      return ended;
    },
  };
}

/** Ends a session. It succeeds if the session has ended already. */
export async function endSession(client: SessionClient, id: string): Promise<void> {
  await client.endSession(id).catch((error: unknown) => {
    if (!(error instanceof SessionError && error.status === 404)) throw error;
  });
}

/** Programming mistakes must not be hidden as an error of the session. */
function asSessionError(error: unknown): SessionError {
  if (error instanceof SessionError) return error;
  throw error;
}
