import { randomInt } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { currentMoment, RevokedSessions } from '../../../lib/revocation/revoked-sessions.js';
import { newSessionId } from '../../../lib/session/id.js';
import { Random } from '../../helpers/random.js';

const MAX_ENTRIES = 20;
const CONFIG = { maxEntries: MAX_ENTRIES, maxStaleness: 3_600_000 };
const NOW = 1_800_000_000_000;
const MINUTE = 60_000;
const CAN_FILTER = true;

const idOf = (at: number) => newSessionId(NOW + at, 'alice');
const entry = (sessionId: string, expiresAt = NOW) =>
  ({ sessionId, userId: 'alice', reason: 'logout', expiresAt }) as const;
const entriesOf = (count: number) => Array.from({ length: count }, (_, at) => entry(idOf(at)));

/** Memory after a first poll that has found more entries than fit. */
function overflowing(count: number) {
  const revoked = new RevokedSessions(CONFIG);
  const entries = entriesOf(count);
  revoked.beginFullLoad(count, CAN_FILTER);
  revoked.addPage(entries, undefined);
  revoked.markPolled(currentMoment());
  return { revoked, entries };
}

/** How many of 1000 sessions that have not ended have this state. */
const liveWith = (revoked: RevokedSessions, state: string) =>
  entriesOf(1000).filter(({ sessionId }) => revoked.stateOf(sessionId) === state).length;

describe('with more entries than maxEntries', () => {
  test('most live sessions are known not to have ended, and no ended one is', () => {
    const { revoked, entries } = overflowing(1000);
    expect([revoked.isComplete, revoked.isCovering, revoked.size]).toEqual([false, true, 0]);
    expect(entries.filter(({ sessionId }) => revoked.stateOf(sessionId) !== 'unknown')).toEqual([]);
    expect(liveWith(revoked, 'not-ended')).toBeGreaterThan(980);
    expect(liveWith(revoked, 'ended')).toBe(0);
  });

  test('less than 1.5 % of the live sessions are unknown after a load, because it knows how many entries there are', () => {
    const { revoked } = overflowing(100_000);
    const live = entriesOf(20_000).filter(({ sessionId }) => revoked.stateOf(sessionId) === 'unknown');
    expect(live.length / 20_000).toBeLessThan(0.015);
  });

  test('those that came last are still known to have ended', () => {
    const { revoked } = overflowing(1000);
    const more = entriesOf(MAX_ENTRIES + 1);
    revoked.addPolled(more);
    expect(revoked.stateOf(more.at(-1)!.sessionId)).toBe('ended');
    expect(revoked.stateOf(more[0].sessionId)).toBe('unknown');
  });

  test('an overflow of what was complete makes no session unknown', () => {
    const { revoked, entries } = overflowing(MAX_ENTRIES);
    expect([revoked.isComplete, revoked.stateOf(entries[0].sessionId)]).toEqual([true, 'ended']);
    revoked.add(entry(idOf(0)));
    expect([revoked.isComplete, revoked.isCovering]).toEqual([false, true]);
    expect(revoked.stateOf(entries[0].sessionId)).toBe('unknown');
    expect(liveWith(revoked, 'not-ended')).toBeGreaterThan(980);
  });

  test('nothing is known before they are loaded, after a gap, and while memory is stale', () => {
    const { revoked } = overflowing(100);
    revoked.beginFullLoad(100, CAN_FILTER);
    revoked.markGap();
    revoked.addPage(entriesOf(100), undefined);
    expect([revoked.isCovering, liveWith(revoked, 'unknown')]).toEqual([false, 1000]);
    revoked.beginFullLoad(100, CAN_FILTER);
    revoked.addPage(entriesOf(50), 'next');
    expect(liveWith(revoked, 'unknown')).toBe(1000);
    revoked.addPage(entriesOf(50), undefined);
    expect(liveWith(revoked, 'not-ended')).toBeGreaterThan(980);
    revoked.distrust();
    expect(liveWith(revoked, 'unknown')).toBe(1000);
  });

  test('an entry that only a full load finds is announced, and known ones are not', () => {
    const { revoked, entries } = overflowing(100);
    const announced: string[] = [];
    revoked.onRevoked(({ sessionId }) => announced.push(sessionId));
    const late = entriesOf(10);
    revoked.beginFullLoad(110, CAN_FILTER);
    revoked.addPage([...entries, ...late], undefined);
    expect(announced.filter((id) => entries.some(({ sessionId }) => sessionId === id))).toEqual([]);
    // The filter may take one of them for a known one.
    expect(announced.length).toBeGreaterThanOrEqual(9);
  });

  test('memory is complete again after a full load that fits', () => {
    const { revoked } = overflowing(100);
    const left = entriesOf(MAX_ENTRIES);
    revoked.beginFullLoad(MAX_ENTRIES, CAN_FILTER);
    revoked.addPage(left, undefined);
    expect([revoked.isComplete, liveWith(revoked, 'not-ended')]).toEqual([true, 1000]);
  });

  test('a load that overflows goes on into the filter', () => {
    const revoked = new RevokedSessions(CONFIG);
    const entries = entriesOf(3 * MAX_ENTRIES);
    revoked.beginFullLoad(MAX_ENTRIES, CAN_FILTER);
    revoked.addPage(entries.slice(0, MAX_ENTRIES), 'next');
    revoked.addPage(entries.slice(MAX_ENTRIES, 2 * MAX_ENTRIES), 'next');
    expect([revoked.isFilterLoad, revoked.isCovering]).toEqual([true, false]);
    revoked.addPage(entries.slice(2 * MAX_ENTRIES), undefined);
    revoked.markPolled(currentMoment());
    expect([revoked.isComplete, revoked.isCovering]).toEqual([false, true]);
    expect(entries.filter(({ sessionId }) => revoked.stateOf(sessionId) === 'not-ended')).toEqual([]);
  });
});

/**
 * A table, and a process that learns of its entries as the poller does: from itself, by polls that may leave some out, and by full
 * loads whose pages come between them.
 */
class Model {
  readonly revoked = new RevokedSessions(CONFIG);
  readonly table = new Map<string, number>();
  private readonly unread = new Map<string, number>();
  private now = NOW;
  private ids = 0;

  constructor(private readonly random: Random) {}

  step(): void {
    const { random, revoked } = this;
    if (random.once(10)) this.now += random.below(5 * MINUTE);
    for (let count = random.below(random.once(20) ? 60 : 6); count > 0; count--) this.end();
    if (random.once(8)) revoked.addPushed(entry(idOf(this.ids++), this.now + MINUTE));
    this.poll();
    if (revoked.fullLoadPosition === undefined && (!revoked.isLoaded || random.once(6))) {
      revoked.removeExpired(this.now);
      revoked.beginFullLoad([...this.table.values()].filter((expiresAt) => expiresAt > this.now).length, CAN_FILTER);
    }
    for (let pages = random.below(3); pages > 0 && revoked.fullLoadPosition !== undefined; pages--) this.readPage();
    revoked.markPolled(currentMoment());
  }

  /** The entries that have not expired, of which memory says that they have not ended. */
  falseNegatives(): string[] {
    const live = [...this.table].filter(([, expiresAt]) => expiresAt >= this.now);
    return live.filter(([id]) => this.revoked.stateOf(id) === 'not-ended').map(([id]) => id);
  }

  private end(): void {
    const known = [...this.table.keys()];
    const id = known.length > 0 && this.random.once(10) ? this.random.pick(known) : idOf(this.ids++);
    const expiresAt = Math.max(this.table.get(id) ?? 0, this.now + this.random.below(15 * MINUTE));
    this.table.set(id, expiresAt);
    if (this.random.once(3)) this.revoked.add(entry(id, expiresAt));
    else this.unread.set(id, expiresAt);
  }

  private poll(): void {
    const found = [...this.unread].map(([id, expiresAt]) => entry(id, expiresAt));
    this.unread.clear();
    // The first poll reads pages only.
    if (!this.revoked.isLoaded) return;
    this.revoked.addPolled(found.slice(0, MAX_ENTRIES + 1));
    if (found.length > MAX_ENTRIES) this.revoked.markGap();
  }

  private readPage(): void {
    const ids = [...this.table.keys()].sort().filter((id) => id > (this.revoked.fullLoadPosition ?? ''));
    const page = ids.slice(0, 30).map((id) => entry(id, this.table.get(id)));
    this.revoked.addPage(page, page.length < 30 ? undefined : page.at(-1)!.sessionId);
  }
}

test('no session that the process has learned of is ever taken for a live one, in any order', () => {
  const seed = Number(process.env.TEST_SEED ?? randomInt(2 ** 31));
  const random = new Random(seed);
  const seen = { complete: 0, filter: 0, neither: 0 };
  for (let trace = 0; trace < 40; trace++) {
    const model = new Model(random);
    for (let step = 0; step < 60; step++) {
      model.step();
      const { isComplete, isCovering } = model.revoked;
      seen[isComplete ? 'complete' : isCovering ? 'filter' : 'neither']++;
      expect({ seed, trace, step, wrong: model.falseNegatives() }).toEqual({ seed, trace, step, wrong: [] });
    }
  }
  // Otherwise the traces would show nothing.
  expect(Math.min(seen.complete, seen.filter, seen.neither)).toBeGreaterThan(50);
});
