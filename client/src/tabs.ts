import { type Instant, type Lease, mayTake } from './decisions.js';
import { pause, type Platform } from './platform.js';
import { parsed, type SessionStorage } from './storage.js';

/** How often a tab looks whether another tab's lease is free, in milliseconds. */
const POLL = 60;

/** The other tabs of this browser. */
export interface Tabs {
  /**
   * Runs one piece of work at a time: in this tab always, in all tabs if they share a storage. No tab waits for longer than
   * another one's time limit, so a tab that died delays the others only for that long.
   * @param limit time limit of the work, in milliseconds; the controller aborts then
   * @param work also gets the time at which it was let in
   */
  exclusive<Result>(
    limit: number,
    work: (controller: AbortController, since: Instant) => Promise<Result>,
  ): Promise<Result>;
  /** Makes the other tabs read the storage. */
  announce(): void;
  close(): void;
}

/**
 * @param longest the longest time limit that any tab uses
 * @param onNews is called if another tab may have changed the storage
 */
export function openTabs(
  key: string,
  storage: SessionStorage,
  platform: Platform,
  longest: number,
  onNews: () => void,
): Tabs {
  const owner = String(platform.random());
  const leaseKey = `${key}.lease`;
  const channel = storage.shared ? platform.channel?.(key, onNews) : undefined;
  let last: Promise<unknown> = Promise.resolve();

  // The lease of this tab may have lapsed, and another tab may have taken it.
  const release = async () =>
    storage.update(leaseKey, (text) =>
      parsed<Lease>(text)?.owner === owner ? { value: '', persistent: true } : undefined,
    );
  // A page that is left cancels its requests.
  const stops = [platform.on('pagehide', () => void release()), storage.subscribe?.(key, onNews)];

  const take = async (limit: number) => {
    let isTaken = false;
    for (;;) {
      const now = platform.now();
      await storage.update(leaseKey, (text) => {
        isTaken = mayTake(parsed(text), owner, now.wall, longest);
        return isTaken ? { value: JSON.stringify({ owner, until: now.wall + limit }), persistent: true } : undefined;
      });
      if (isTaken) return now;
      await pause(platform, POLL * (1 + platform.random()));
    }
  };

  const withLease = async <Result>(
    limit: number,
    work: (controller: AbortController, since: Instant) => Promise<Result>,
  ): Promise<Result> => {
    // A storage that fails must not keep anyone from logging in.
    const since = (storage.shared && (await take(limit).catch(() => undefined))) || platform.now();
    const controller = new AbortController();
    const stop = platform.after(limit, () => controller.abort());
    try {
      return await work(controller, since);
    } finally {
      stop();
      if (storage.shared) await release().catch(() => undefined);
    }
  };

  return {
    exclusive<Result>(limit: number, work: (controller: AbortController, since: Instant) => Promise<Result>) {
      const result = last.then(async () => {
        let started: Promise<Result> | undefined;
        // Web Locks save polling and waiting. A lock that is not free in time is ignored, because the lease decides.
        try {
          const signal = AbortSignal.timeout(limit);
          if (storage.shared) await platform.locks?.request(key, { signal }, () => (started = withLease(limit, work)));
        } catch {
          // Either the work failed, which is reported below, or the lock was not free.
        }
        return started ?? withLease(limit, work);
      });
      last = result.catch(() => undefined);
      return result;
    },
    announce: () => channel?.post(),
    close() {
      for (const stop of stops) stop?.();
      channel?.close();
    },
  };
}
