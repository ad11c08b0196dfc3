import { describe, expect, test } from '@jest/globals';
import { fromMessage, toMessages } from '../../../lib/revocation/push-message.js';
import type { RevokedSession } from '../../../lib/revocation/revoked-session.js';
import { newSessionId } from '../../../lib/session/id.js';

const NOW = 1_800_000_000_000;
const DAY = 86_400_000;

const entry = (more: object = {}): RevokedSession => ({
  sessionId: newSessionId(NOW),
  userId: 'alice',
  reason: 'logout',
  expiresAt: NOW + 60_000,
  ...more,
});

describe('toMessages', () => {
  test('writes entries that fromMessage reads', () => {
    const entries = [entry(), entry({ userId: '"🙂"' })];
    const messages = toMessages(entries);
    expect(messages).toHaveLength(1);
    expect(fromMessage(messages[0], NOW)).toEqual(entries);
  });

  test('writes no message without entries', () => {
    expect(toMessages([])).toEqual([]);
  });

  test('writes only the fields of an entry', () => {
    const row = { ...entry(), id: 'an id', token: 'a token' };
    expect(Object.keys((JSON.parse(toMessages([row])[0]) as object[])[0])).toEqual([
      'sessionId',
      'userId',
      'reason',
      'expiresAt',
    ]);
  });

  test.each([
    ['ASCII', 'x'],
    ['escaped', '\u0001'],
    ['two bytes', 'é'],
    ['four bytes', '🙂'],
  ])('splits entries into messages of less than 8000 bytes and keeps their order (%s)', (_, letter) => {
    const userId = letter.repeat(Math.floor(255 / letter.length));
    const entries = Array.from({ length: 100 }, () => entry({ userId }));
    const messages = toMessages(entries);
    for (const message of messages) expect(Buffer.byteLength(message)).toBeLessThan(8000);
    // Each message is full: the first entry of the next one would not have fitted.
    for (const message of messages.slice(0, -1)) expect(Buffer.byteLength(message)).toBeGreaterThan(5500);
    expect(messages.flatMap((message) => fromMessage(message, NOW))).toEqual(entries);
  });
});

describe('fromMessage', () => {
  test.each<[string, object]>([
    ['a session id that is not a UUID', { sessionId: 'x'.repeat(36) }],
    ['a session id in capitals', { sessionId: newSessionId(NOW).toUpperCase() }],
    ['a session id with more behind it', { sessionId: `${newSessionId(NOW)}\n` }],
    ['a session id that is an object', { sessionId: { length: 36 } }],
    ['a user id that is too long', { userId: 'x'.repeat(256) }],
    ['a user id that is a number', { userId: 1 }],
    ['a reason that is too long', { reason: 'x'.repeat(33) }],
    ['no reason', { reason: undefined }],
    ['an expiry that is a string', { expiresAt: String(NOW + 1) }],
    ['an expiry that is null', { expiresAt: null }],
    ['an expiry that has just passed', { expiresAt: NOW }],
    ['an expiry later than that of any token', { expiresAt: NOW + 400 * DAY + 1 }],
  ])('skips an entry with %s', (_, change) => {
    const valid = entry();
    expect(fromMessage(JSON.stringify([entry(change), valid]), NOW)).toEqual([valid]);
  });

  test('skips whatever is not an entry', () => {
    const valid = entry();
    expect(fromMessage(JSON.stringify([null, 1, 'x', [], {}, valid]), NOW)).toEqual([valid]);
  });

  test('accepts an entry at the limits', () => {
    const limits = [
      entry({ userId: 'x'.repeat(255), reason: 'x'.repeat(32), expiresAt: NOW + 1 }),
      entry({ expiresAt: NOW + 400 * DAY }),
    ];
    expect(fromMessage(JSON.stringify(limits), NOW)).toEqual(limits);
  });

  test.each([
    ['is empty', ''],
    ['is null', 'null'],
    ['is an object', JSON.stringify({ 0: entry(), length: 1 })],
    ['is a list of other things', '[[], null, 1, "x"]'],
    ['is not JSON', 'no JSON'],
    ['is cut off', '[1,'],
    ['is longer than we send', JSON.stringify([entry(), 'x'.repeat(8000)])],
  ])('returns no entries if the message %s', (_, message) => {
    expect(fromMessage(message, NOW)).toEqual([]);
  });
});
