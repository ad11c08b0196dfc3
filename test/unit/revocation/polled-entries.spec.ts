import { expect, test } from '@jest/globals';
import { PolledEntries } from '../../../lib/revocation/polled-entries.js';
import { Random } from '../../helpers/random.js';

const OVERLAP = 30;
const INTERVAL = 3;
const RECENT = 2 * INTERVAL;
/** How late a transaction may commit. */
const MAX_DELAY = OVERLAP / 2;
const END = 600;

interface Entry {
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly committedAt: number;
  readonly deletedAt: number;
}

/** Entries that commit out of order, most of them soon. Many expire within the overlap, and are deleted at some time after that. */
function randomEntries(random: Random): Entry[] {
  return Array.from({ length: random.below(400) }, () => {
    const createdAt = random.below(END);
    const committedAt = createdAt + (random.once(4) ? random.below(MAX_DELAY) : 0);
    const expiresAt = createdAt + (random.once(2) ? random.below(OVERLAP) : END);
    // The cleanup leaves them for a while after their expiry, so a poll sees each that had not expired when it began.
    const deletedAt = Math.max(committedAt, expiresAt) + INTERVAL + random.below(OVERLAP);
    return { createdAt, committedAt, expiresAt, deletedAt };
  });
}

test.each(Array.from({ length: 200 }, (_, seed) => seed))(
  'after each poll, every entry is known that was committed before it, with seed %i',
  (seed) => {
    const random = new Random(seed);
    const table = randomEntries(random);
    const known = new Set<Entry>();
    const polled = new PolledEntries();
    let polledUntil = 0;
    for (let now = INTERVAL; now < END + OVERLAP; now += INTERVAL) {
      const visible = (from: number, at: number) =>
        table.filter(
          ({ createdAt, committedAt, expiresAt, deletedAt }) =>
            createdAt >= from && createdAt <= at && committedAt <= at && deletedAt > at && expiresAt > now,
        );
      const window = { since: polledUntil - OVERLAP, recent: polledUntil - RECENT };
      if (random.once(20)) polled.clear();
      const newer = visible(window.recent, now).length;
      const from = polled.unknownSince(window, { now, newer, older: visible(window.since, now).length - newer });
      if (from !== undefined) {
        // More entries may be committed between the two statements.
        const read = visible(from, now + random.below(INTERVAL));
        for (const entry of read) known.add(entry);
        polled.replace(from, read);
      }
      // A poll may fail although its rows have been read.
      if (!random.once(20)) polledUntil = now;
      expect(visible(-Infinity, now).filter((entry) => !known.has(entry))).toEqual([]);
    }
  },
);
