import { createSecretKey, generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { PushMessages } from '../../../lib/revocation/push-message.js';
import type { RevokedSession } from '../../../lib/revocation/revoked-session.js';
import { newSessionId } from '../../../lib/session/id.js';

const NOW = 1_800_000_000_000;
const DAY = 86_400_000;
const MINUTE = 60_000;
const KEY = 'a key of more than thirty-two bytes, for tests';
const OTHER_KEY = 'another key of more than thirty-two bytes';

const messages = new PushMessages([KEY]);

const entry = (more: object = {}): RevokedSession => ({
  sessionId: newSessionId(NOW, 'alice'),
  userId: 'alice',
  reason: 'logout',
  expiresAt: NOW + DAY,
  ...more,
});

/** A message of ours with any text in place of the entries. */
const withText = (text: string): string => (messages as unknown as { sealed(text: string): string }).sealed(text);
const withEntries = (entries: unknown, more: object = {}) =>
  withText(JSON.stringify({ kind: 'ended', at: NOW, entries, ...more }));

describe('write', () => {
  test('writes entries that another process with the same key reads', () => {
    const entries = [entry(), entry({ userId: '"🙂"' })];
    const written = messages.write(entries, NOW);
    expect(written).toHaveLength(1);
    expect(new PushMessages([KEY]).read(written[0], NOW)).toEqual(entries);
  });

  test('writes no message without entries', () => {
    expect(messages.write([], NOW)).toEqual([]);
  });

  test('writes only the fields of an entry', () => {
    const [message] = messages.write([{ ...entry(), id: 'an id', token: 'a token' } as RevokedSession], NOW);
    expect(Object.keys(messages.read(message, NOW)[0])).toEqual(['sessionId', 'userId', 'reason', 'expiresAt']);
  });

  test.each([
    ['ASCII', 'x'],
    ['escaped', '\u0001'],
    ['two bytes', 'é'],
    ['four bytes', '🙂'],
  ])('splits entries into messages of less than 8000 bytes and keeps their order (%s)', (_, letter) => {
    const userId = letter.repeat(Math.floor(255 / letter.length));
    const entries = Array.from({ length: 100 }, () => entry({ userId }));
    const written = messages.write(entries, NOW);
    for (const message of written) expect(Buffer.byteLength(message)).toBeLessThan(8000);
    // Each message is full: the first entry of the next one would not have fitted.
    for (const message of written.slice(0, -1)) expect(Buffer.byteLength(message)).toBeGreaterThan(5500);
    expect(written.flatMap((message) => messages.read(message, NOW))).toEqual(entries);
  });
});

describe('only a process with one of our keys', () => {
  const [message] = messages.write([entry()], NOW);

  test('is believed', () => {
    expect(new PushMessages([OTHER_KEY]).read(message, NOW)).toEqual([]);
    expect(messages.read(message, NOW)).toHaveLength(1);
  });

  test('may replace its key: messages of any key are accepted, and the first key writes', () => {
    const both = new PushMessages([OTHER_KEY, KEY]);
    expect(both.read(message, NOW)).toHaveLength(1);
    const [fromBoth] = both.write([entry()], NOW);
    expect(messages.read(fromBoth, NOW)).toEqual([]);
    expect(new PushMessages([KEY, OTHER_KEY]).read(fromBoth, NOW)).toHaveLength(1);
  });

  test('may have a key pair or a secret key of `jwt.keys`', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const [signed] = new PushMessages([privateKey]).write([entry()], NOW);
    expect(new PushMessages([createSecretKey(KEY, 'utf8'), privateKey]).read(signed, NOW)).toHaveLength(1);
    expect(new PushMessages([createSecretKey(KEY, 'utf8')]).read(message, NOW)).toHaveLength(1);
  });

  test('is believed without a key in no case', () => {
    const nobody = new PushMessages([]);
    expect(nobody.read(message, NOW)).toEqual([]);
    expect(nobody.read(`.${message}`, NOW)).toEqual([]);
  });

  test.each(
    [0, 20, 42, 43, 44, 60, message.length - 1].map((at) => [
      at,
      message.slice(0, at) + (message[at] === 'x' ? 'y' : 'x') + message.slice(at + 1),
    ]),
  )('wrote the message: the byte at %d is changed', (_, changed) => {
    expect(messages.read(changed as string, NOW)).toEqual([]);
  });

  test('wrote the MAC as it is: a text that is decoded to the same bytes is refused', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const alias = message.slice(0, 42) + alphabet[alphabet.indexOf(message[42]) + 1] + message.slice(43);
    const bytesOf = (text: string) => Buffer.from(text.slice(0, 43), 'base64url');
    expect(bytesOf(alias)).toEqual(bytesOf(message));
    expect(messages.read(alias, NOW)).toEqual([]);
  });

  test.each([
    ['has no MAC', message.slice(44)],
    ['has an empty MAC', `.${message.slice(44)}`],
    ['has a MAC of the text without a key', `${'A'.repeat(43)}.${message.slice(44)}`],
    ['is a list, as in version 0.1.0', JSON.stringify([entry()])],
  ])('wrote the message: it %s', (_, forged) => {
    expect(messages.read(forged, NOW)).toEqual([]);
  });
});

test('a recorded message is refused a minute later', () => {
  const [message] = messages.write([entry()], NOW);
  expect(messages.read(message, NOW + MINUTE)).toHaveLength(1);
  expect(messages.read(message, NOW + MINUTE + 1)).toEqual([]);
  expect(messages.read(message, NOW - MINUTE - 1)).toEqual([]);
});

describe('read', () => {
  test.each<[string, object]>([
    ['a session id that is not a UUID', { sessionId: 'x'.repeat(36) }],
    ['a session id in capitals', { sessionId: newSessionId(NOW, 'alice').toUpperCase() }],
    ['a session id with more behind it', { sessionId: `${newSessionId(NOW, 'alice')}\n` }],
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
    expect(messages.read(withEntries([entry(change), valid]), NOW)).toEqual([valid]);
  });

  test('skips whatever is not an entry', () => {
    const valid = entry();
    expect(messages.read(withEntries([null, 1, 'x', [], {}, valid]), NOW)).toEqual([valid]);
  });

  test('accepts an entry at the limits', () => {
    const limits = [
      entry({ userId: 'x'.repeat(255), reason: 'x'.repeat(32), expiresAt: NOW + 1 }),
      entry({ expiresAt: NOW + 400 * DAY }),
    ];
    expect(messages.read(withEntries(limits), NOW)).toEqual(limits);
  });

  test.each([
    ['is empty', ''],
    ['has an empty text', withText('')],
    ['is null', withText('null')],
    ['is a list', withText(JSON.stringify([entry()]))],
    ['has a map of entries', withEntries({ 0: entry(), length: 1 })],
    ['has other things as entries', withEntries([[], null, 1, 'x'])],
    ['has no time', withEntries([entry()], { at: undefined })],
    ['has a text as time', withEntries([entry()], { at: String(NOW) })],
    ['has an infinite time', withText(`{"kind":"ended","at":1e999,"entries":[${JSON.stringify(entry())}]}`)],
    ['is of a kind of a later version', withEntries([entry()], { kind: 'later' })],
    ['is not JSON', withText('no JSON')],
    ['is cut off', withText('{"kind":')],
    ['is longer than we send', withEntries([entry(), 'x'.repeat(8000)])],
  ])('returns no entries if the message %s', (_, message) => {
    expect(messages.read(message, NOW)).toEqual([]);
  });
});

describe('proofs', () => {
  const proofs = [
    ['an id', 180_000_000],
    ['another', 180_000_001],
  ] as const;

  test('are read by another process with the same key, and only as proofs', () => {
    const [message] = messages.writeProofs(proofs, NOW);
    const other = new PushMessages([KEY]);
    expect(other.readProofs(message, NOW)).toEqual(proofs);
    expect(other.read(message, NOW)).toEqual([]);
    expect(other.readProofs(messages.write([entry()], NOW)[0], NOW)).toEqual([]);
    expect(new PushMessages([OTHER_KEY]).readProofs(message, NOW)).toEqual([]);
    expect(other.readProofs(message, NOW + MINUTE + 1)).toEqual([]);
  });

  test.each([[null], ['text'], [['id']], [['id', '1']], [['id', 1.5]], [[7, 1]], [['x'.repeat(33), 1]]])(
    '%j is ignored',
    (proof) => {
      const message = withText(JSON.stringify({ kind: 'proofs', at: NOW, entries: [proof, proofs[0]] }));
      expect(messages.readProofs(message, NOW)).toEqual([proofs[0]]);
    },
  );
});
