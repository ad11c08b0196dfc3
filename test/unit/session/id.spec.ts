import { describe, expect, test } from '@jest/globals';
import { newSessionId } from '../../../lib/session/id.js';
import { validate, version } from 'uuid';

const NOW = Date.UTC(2026, 10, 22);

describe('a session id', () => {
  test('is a UUID v7', () => {
    for (let i = 0; i < 1000; i++) {
      const id = newSessionId(NOW);
      expect([validate(id), version(id)]).toEqual([true, 7]);
    }
  });

  test('starts with the time in milliseconds, so later ids sort after earlier ones', () => {
    expect(parseInt(newSessionId(NOW).replaceAll('-', '').slice(0, 12), 16)).toBe(NOW);
    expect(newSessionId(NOW + 1) > newSessionId(NOW)).toBe(true);
  });

  test('is unique within a millisecond', () => {
    const ids = new Set(Array.from({ length: 10_000 }, () => newSessionId(NOW)));
    expect(ids.size).toBe(10_000);
  });
});
