import { retryDelay, type SessionRecord } from './decisions.js';
import type { Keeper } from './keeper.js';
import type { Platform } from './platform.js';

/** Timers, and the events after which the client looks at the session again. */
export interface Schedule {
  /** Sets the timers anew, after a change of the record. */
  reset(): void;
  close(): void;
}

/** Starts to refresh ahead of time while the page is visible, and to warn before the idle expiry. */
export function openSchedule(
  keeper: Keeper,
  platform: Platform,
  warnBefore: number,
  renew: (used: SessionRecord | null) => Promise<void>,
  onIdle: (event: { endsAt: number }) => void,
  onWake: () => void,
): Schedule {
  let stops: (() => void)[] = [];
  let failures = 0;
  let warned: SessionRecord | undefined;

  const stop = () => {
    for (const each of stops) each();
    stops = [];
  };
  const reset = (delay = 0) => {
    stop();
    const { record } = keeper;
    if (!record?.sessionId) return;
    if (platform.isVisible()) stops.push(platform.after(Math.max(delay, keeper.dueIn()), refresh));
    if (record.sessionLife > 0 && record !== warned) stops.push(platform.after(untilWarning(record), warn));
  };
  const refresh = () => {
    // The time was too long for one timer.
    if (keeper.dueIn() > 0) return reset();
    renew(keeper.record).then(
      () => {
        failures = 0;
        reset();
      },
      (error: { retryAfter?: number }) => reset(retryDelay(failures++, error.retryAfter, platform.random())),
    );
  };
  const untilWarning = ({ sessionLife }: SessionRecord) =>
    Math.max(0, sessionLife - Math.min(warnBefore, sessionLife / 2) - keeper.age());
  const warn = () => {
    const record = keeper.record as SessionRecord;
    if (untilWarning(record) > 0) return reset();
    warned = record;
    onIdle({ endsAt: platform.now().wall + record.sessionLife - keeper.age() });
  };
  const wake = () => {
    reset();
    if (platform.isVisible()) onWake();
  };
  const listening = ['visibilitychange', 'focus', 'online'].map((event) => platform.on(event, wake));

  return {
    reset,
    close() {
      stop();
      for (const each of listening) each();
    },
  };
}
