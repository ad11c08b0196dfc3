import { describe, expect, test } from '@jest/globals';
import { newSessionId, userBucketOf } from '../../../lib/session/id.js';
import { validate, version } from 'uuid';

const NOW = Date.UTC(2026, 10, 22);

describe('a session id', () => {
  test('is a UUID v7', () => {
    for (let i = 0; i < 1000; i++) {
      const id = newSessionId(NOW, 'alice');
      expect([validate(id), version(id)]).toEqual([true, 7]);
    }
  });

  test('starts with the time in milliseconds, so later ids sort after earlier ones', () => {
    expect(parseInt(newSessionId(NOW, 'alice').replaceAll('-', '').slice(0, 12), 16)).toBe(NOW);
    expect(newSessionId(NOW + 1, 'alice') > newSessionId(NOW, 'alice')).toBe(true);
  });

  test('is unique within a millisecond', () => {
    const ids = new Set(Array.from({ length: 10_000 }, () => newSessionId(NOW, 'alice')));
    expect(ids.size).toBe(10_000);
  });

  test('has the same twelve bits for each session of a user, and other ones for other users', () => {
    // The first digits of each SHA-256, as sha256sum computes them: rows and other versions rely on them.
    const known = { alice: '2bd', 'BÖB📱': 'f9e', '42': '734' };
    for (const [userId, bucket] of Object.entries(known)) {
      expect(userBucketOf(userId)).toBe(bucket);
      for (const at of [0, NOW, NOW + 1]) expect(newSessionId(at, userId).slice(15, 18)).toBe(bucket);
    }
  });

  test('spreads users evenly over the buckets', () => {
    const sizes = new Map<string, number>();
    for (let user = 0; user < 100_000; user++) {
      const bucket = userBucketOf(String(user));
      sizes.set(bucket, (sizes.get(bucket) ?? 0) + 1);
    }
    expect(sizes.size).toBe(4096);
    // 24 users are expected. The largest of 4096 buckets has 44 at most, unless the bits depend on each other.
    expect(Math.max(...sizes.values())).toBeLessThan(60);
  });

  test('sorts by time, whatever the users', () => {
    const users = Array.from({ length: 100 }, (_, user) => `user ${user}`);
    const ids = users.map((userId, at) => newSessionId(NOW + at, userId));
    expect([...ids].sort()).toEqual(ids);
  });
});
