import { ageOf, type EndReason, newest, nextEpoch, refreshAge, type SessionRecord, supersedes } from './decisions.js';
import type { Platform } from './platform.js';
import { parsed, type SessionStorage } from './storage.js';
import type { SessionState } from './types.js';

/** Keeps the newest record that this tab knows, and the state that follows from it. */
export interface Keeper {
  /** The same object until another record takes its place. */
  readonly record: SessionRecord | null;
  readonly state: SessionState;
  /** Adopts what the storage has. If this tab has something newer, that is stored instead. */
  readonly sync: () => Promise<SessionRecord | null>;
  /**
   * Changes the record in the storage, then in this tab.
   * @param decide gets the newest record; if it returns undefined, that record stays
   * @returns the record afterwards
   */
  readonly update: (decide: (held: SessionRecord | null) => SessionRecord | undefined) => Promise<SessionRecord | null>;
  /** Returns the record of a session that ended. */
  readonly ended: (held: SessionRecord | null, reason?: EndReason, revoke?: string, cause?: string) => SessionRecord;
  /** From now on the state is not `loading`. */
  readonly setLoaded: () => void;
  age(): number;
  /** How long until the record should be refreshed ahead of time, in milliseconds. */
  dueIn(): number;
}

const MESSAGES: Record<EndReason, string> = {
  logout: 'You have signed out.',
  expired: 'Your session has expired.',
  revoked: 'Your session has ended.',
};

/**
 * @param onChange is called after each change of the record or the state
 * @param onStored is called after this tab has changed the storage
 */
export function openKeeper(
  key: string,
  storage: SessionStorage,
  platform: Platform,
  onChange: () => void,
  onStored: () => void,
): Keeper {
  let record: SessionRecord | null = null;
  let text: string | null = null;
  let state: SessionState = { status: 'loading' };
  let isLoaded = false;
  let since = 0;
  let draw = 0;

  const set = (next: SessionRecord, nextText: string) => {
    if (nextText === text) return;
    record = next;
    text = nextText;
    since = platform.now().monotonic;
    draw = platform.random();
    show();
  };
  const show = () => {
    if (isLoaded) {
      const next = stateOf(record, state);
      if (JSON.stringify(next) !== JSON.stringify(state)) state = next;
    }
    onChange();
  };
  const adopt = (next: SessionRecord) => set(next, JSON.stringify(next));

  const ended: Keeper['ended'] = (held, reason, revoke, cause) => {
    const arrivedAt = platform.now().wall;
    return {
      epoch: nextEpoch(held, arrivedAt),
      ended: reason,
      cause,
      revoke,
      persistent: held?.persistent,
      generation: 0,
      issuedAt: 0,
      arrivedAt,
      accessLife: 0,
      sessionLife: 0,
    };
  };
  const update: Keeper['update'] = async (decide) => {
    let next: SessionRecord | null | undefined;
    let isStored = false;
    try {
      await storage.update(key, (stored) => {
        const found = recordIn(stored);
        const held = newest(found, record);
        next = decide(held) ?? held;
        if (!next || next === found) return undefined;
        isStored = true;
        return { value: JSON.stringify(next), persistent: next.persistent !== false };
      });
    } catch {
      // The storage is full or blocked: this tab goes on with its memory.
      next ??= decide(record);
    }
    if (next && !(record && supersedes(record, next))) adopt(next);
    if (isStored) onStored();
    return record;
  };

  const keeper: Keeper = {
    get record() {
      return record;
    },
    get state() {
      return state;
    },
    sync: () => update(() => undefined),
    update,
    ended,
    setLoaded() {
      isLoaded = true;
      show();
    },
    age() {
      const { wall, monotonic } = platform.now();
      return record ? ageOf(monotonic - since, wall - record.arrivedAt) : 0;
    },
    dueIn: () => (record?.sessionId ? refreshAge(record, draw) - keeper.age() : Infinity),
  };
  return keeper;
}

function stateOf(record: SessionRecord | null, { status }: SessionState): SessionState {
  if (record?.sessionId) return { status: 'authenticated', sessionId: record.sessionId, type: record.type };
  // A page that is opened after the ending has nothing to tell.
  if (!record?.ended || (status !== 'authenticated' && status !== 'ended')) return { status: 'anonymous' };
  return { status: 'ended', reason: record.ended, cause: record.cause, message: MESSAGES[record.ended] };
}

function recordIn(text: string | null): SessionRecord | null {
  const record = parsed<SessionRecord>(text);
  return record?.epoch ? record : null;
}
