import { describe, expect, test } from '@jest/globals';
import { parseDuration } from '../../lib/duration.js';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe('a time span', () => {
  test.each([
    ['1ms', 1],
    ['20 msecs', 20],
    ['1 Millisecond', 1],
    ['30s', 30 * SECOND],
    ['30 secs', 30 * SECOND],
    ['1 second', SECOND],
    ['15m', 15 * MINUTE],
    ['15 MINS', 15 * MINUTE],
    ['2 minutes', 2 * MINUTE],
    ['1.5h', 1.5 * HOUR],
    ['.5 hrs', 0.5 * HOUR],
    ['1 Hour', HOUR],
    ['30d', 30 * DAY],
    ['30 days', 30 * DAY],
    ['2w', 14 * DAY],
    ['1 week', 7 * DAY],
    ['1y', 365.25 * DAY],
    ['2 yrs', 730.5 * DAY],
    ['-1d', -DAY],
  ])('%s is read as the package ms reads it', (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  test.each([
    '',
    '1',
    '60',
    'm',
    'minutes',
    '1 fortnight',
    '1m 30s',
    '1,5h',
    ' 1m',
    '1m ',
    '1e3s',
    '--1s',
    '1.s',
    '٣d',
  ])('%p is none', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});
