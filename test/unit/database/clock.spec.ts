import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Clock } from '../../../lib/database/clock.js';
import { UnavailableError } from '../../../lib/errors.js';
import { Random } from '../../helpers/random.js';

/** An hour of monotonic time, in milliseconds. */
const HOUR = 3_600_000;
const START = 1_800_000_000_000;

let monotonic: number;
let clock: Clock;

beforeEach(() => {
  monotonic = 5000;
  jest.spyOn(performance, 'now').mockImplementation(() => monotonic);
  clock = new Clock();
});

afterEach(() => {
  jest.restoreAllMocks();
});

test('does not tell the time before the database has answered', () => {
  expect(clock.isSet).toBe(false);
  expect(() => clock.now()).toThrow(UnavailableError);
  expect(() => clock.earliest()).toThrow(UnavailableError);
});

test("shows the database's time from then on, whatever the machine's clock shows", () => {
  jest.spyOn(Date, 'now').mockReturnValue(0);
  clock.learn(START, monotonic, monotonic);
  expect(clock.isSet).toBe(true);
  expect(clock.now()).toBe(START);
  monotonic += 1234;
  expect(clock.now()).toBe(START + 1234);
});

test('keeps the known offset if a slow answer is compatible with it', () => {
  clock.learn(START, monotonic, monotonic);
  // Asked now, answered four seconds later, read by the database at the very end: a midpoint would be two seconds off.
  clock.learn(START + 4000, monotonic, monotonic + 4000);
  expect(clock.now()).toBe(START);
});

test('moves the offset only as far as an answer requires', () => {
  clock.learn(START, monotonic, monotonic);
  clock.learn(START + 300_000, monotonic, monotonic + 10);
  expect(clock.now()).toBe(START + 300_000 - 11);
});

describe('the earliest time', () => {
  test('is behind by the round trip and the rounding of the answer', () => {
    clock.learn(START, monotonic, monotonic + 80);
    monotonic += 80;
    // One millisecond for the rounding, and 0.08 for the drift.
    expect(clock.earliest()).toBe(START - 2);
    expect(clock.now()).toBe(START + 40);
  });

  test('falls behind by the drift until the next answer', () => {
    clock.learn(START, monotonic, monotonic);
    monotonic += HOUR;
    expect(clock.earliest()).toBe(START + HOUR - 1 - HOUR / 1000);
    clock.learn(START + HOUR, monotonic, monotonic);
    expect(clock.earliest()).toBe(START + HOUR - 1);
  });

  test('is not made worse by a slow answer, apart from the drift', () => {
    clock.learn(START, monotonic, monotonic);
    clock.learn(START + 4000, monotonic, monotonic + 4000);
    monotonic += 4000;
    expect(clock.earliest()).toBe(START + 4000 - 1 - 4);
  });

  test('holds after a suspension, during which the monotonic clock stood still', () => {
    clock.learn(START, monotonic, monotonic);
    expect(clock.earliest()).toBeLessThan(START + HOUR);
    // This question was under way during the suspension. The next one was not.
    clock.learn(START + 5, monotonic, monotonic + 10);
    monotonic += 10;
    expect(clock.earliest()).toBeLessThan(START + HOUR);
    clock.learn(START + HOUR, monotonic, monotonic + 10);
    monotonic += 10;
    expect(clock.earliest()).toBe(START + HOUR - 2);
  });

  test("follows the database's clock if somebody sets it back", () => {
    clock.learn(START, monotonic, monotonic);
    clock.learn(START - HOUR, monotonic, monotonic);
    expect(clock.earliest()).toBe(START - HOUR - 1);
    expect(clock.now()).toBeLessThanOrEqual(START - HOUR + 1);
  });

  test("is never later than the database's time, whatever the round trips and the drift", () => {
    const source = new Random(7);
    const random = () => source.next();
    let checks = 0;
    let faults = 0;
    for (let trial = 0; trial < 200; trial++) {
      monotonic = random() * HOUR;
      const tested = new Clock();
      const begin = monotonic;
      const rate = 1 + (random() - 0.5) / 500;
      const databaseTime = () => START + (monotonic - begin) * rate;
      const round = random() < 0.5 ? Math.round : Math.floor;
      for (let poll = 0; poll < 50; poll++) {
        const sentAt = monotonic;
        monotonic += random() * 100;
        const answer = round(databaseTime());
        monotonic += random() ** 8 * 5000;
        tested.learn(answer, sentAt, monotonic);
        for (let later = 0; later < 3; later++) {
          checks++;
          if (tested.earliest() > databaseTime() || tested.earliest() > tested.now()) faults++;
          monotonic += random() * 2000;
        }
      }
    }
    expect([checks, faults]).toEqual([30_000, 0]);
  });
});
