import { type Answered, type Instant, retryDelay } from './decisions.js';

/** A `BroadcastChannel`, as far as it is used. */
export interface Channel {
  /** Calls the listeners in the other tabs. */
  post(): void;
  close(): void;
}

/** What the client uses of a browser. Every optional member may be missing. */
export interface Platform {
  /** Resolves relative URLs. */
  readonly base?: string | undefined;
  /** Whether to read the storage at once. False on a server, where the client does nothing until it is used. */
  readonly isPage: boolean;
  /** Web Locks. */
  readonly locks?: Pick<LockManager, 'request'> | undefined;
  readonly now: () => Instant;
  random(): number;
  /** Calls a function later. Returns a function that stops that. */
  readonly after: (delay: number, work: () => void) => () => void;
  isVisible(): boolean;
  /** Listens to an event of the window or the document. Returns a function that stops that. */
  on(event: string, listener: () => void): () => void;
  channel?(name: string, listener: () => void): Channel;
}

/** `setTimeout` takes a delay of 2 ** 31 and more for none. */
const LONGEST_TIMEOUT = 2e9;

/** Returns what this browser, phone or server has. */
export function thisPlatform(): Platform {
  const { document, location, navigator, window, BroadcastChannel } = globalThis as Partial<typeof globalThis>;
  return {
    base: location?.href,
    isPage: !!window,
    locks: navigator?.locks,
    now: () => ({ wall: Date.now(), monotonic: performance.now() }),
    random: Math.random,
    after(delay, work) {
      const timer: unknown = setTimeout(work, Math.min(delay, LONGEST_TIMEOUT));
      // Node: do not keep the process alive.
      (timer as { unref?(): void }).unref?.();
      return () => clearTimeout(timer as number);
    },
    isVisible: () => document?.visibilityState !== 'hidden',
    on(event, listener) {
      // React Native has no such function. Events of the document bubble to the window.
      globalThis.addEventListener?.(event, listener);
      return () => globalThis.removeEventListener?.(event, listener);
    },
    ...(BroadcastChannel && {
      channel(name, listener) {
        const channel = new BroadcastChannel(name);
        channel.onmessage = listener;
        (channel as { unref?(): void }).unref?.();
        return { post: () => channel.postMessage(null), close: () => channel.close() };
      },
    }),
  };
}

/** Waits, at most until the signal aborts. */
export function pause({ after }: Platform, delay: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve) => {
    after(delay, resolve);
    signal?.addEventListener('abort', () => resolve());
  });
}

/** Waits until a server that was not available may be asked again. */
export function pauseFor(platform: Platform, { retryAfter }: Answered, signal?: AbortSignal | null): Promise<void> {
  return pause(platform, retryDelay(0, retryAfter, platform.random()), signal);
}
