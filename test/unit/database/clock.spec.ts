import { expect, test } from '@jest/globals';
import { Clock } from '../../../lib/database/clock.js';

const near = (value: number, wanted: number) => expect(Math.abs(value - wanted)).toBeLessThan(50);

test("shows the machine's time until the database has answered", () => {
  near(new Clock().now(), Date.now());
});

test("shows the database's time from then on, whatever the machine's clock shows", () => {
  const clock = new Clock();
  const monotonic = performance.now();
  const database = Date.now() - 60_000;
  clock.learn(database, monotonic, monotonic);
  near(clock.now(), database);
});

test('keeps the known offset if a slow answer is compatible with it', () => {
  const clock = new Clock();
  const monotonic = performance.now();
  const database = Date.now();
  clock.learn(database, monotonic, monotonic);
  const before = clock.now();
  // Asked now, answered four seconds later, read by the database at the very end: a midpoint would be two seconds off.
  clock.learn(database + 4000, monotonic, monotonic + 4000);
  near(clock.now(), before);
});

test('moves the offset only as far as an answer requires', () => {
  const clock = new Clock();
  const monotonic = performance.now();
  const database = Date.now();
  clock.learn(database, monotonic, monotonic);
  clock.learn(database + 300_000, monotonic, monotonic + 10);
  near(clock.now(), database + 300_000);
});
