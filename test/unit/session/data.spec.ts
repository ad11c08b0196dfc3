import { describe, expect, test } from '@jest/globals';
import { SessionDataError } from '../../../lib/errors.js';
import { checkData, MAX_DATA_BYTES, mergeData, type SessionDataPatch } from '../../../lib/session/data.js';

/** An object nested this deep: 1 is `{}`. */
function nested(depth: number): object {
  return depth === 1 ? {} : { in: nested(depth - 1) };
}

/** Data that takes exactly this many bytes as JSON. */
function sized(bytes: number): object {
  return { text: 'x'.repeat(bytes - '{"text":""}'.length) };
}

describe('checkData', () => {
  test.each([
    [{}],
    [{ text: 'Zoë 😀', number: -1.5, yes: true, no: null, list: [1, [2, {}]], inner: { deep: { deeper: [] } } }],
    [{ absent: undefined }],
    [Object.assign(Object.create(null), { key: 'value' }) as object],
    [JSON.parse('{"__proto__":{"admin":true},"constructor":1}') as object],
  ])('accepts %j', (data) => {
    expect(() => checkData(data)).not.toThrow();
  });

  test.each([
    ['a Date', { at: new Date() }, 'data.at'],
    ['a Map', { map: new Map() }, 'data.map'],
    ['a Buffer', { bytes: Buffer.from('x') }, 'data.bytes'],
    ['an instance of a class', { inner: { thing: new (class Thing {})() } }, 'data.inner.thing'],
    ['NaN', { list: [0, NaN] }, 'data.list.1'],
    ['infinity', { number: -Infinity }, 'data.number'],
    ['a bigint', { number: 1n }, 'data.number'],
    ['a function', { call: () => 1 }, 'data.call'],
    ['a symbol', { symbol: Symbol('s') }, 'data.symbol'],
  ])('refuses %s and names the member', (_, data, path) => {
    expect(() => checkData(data)).toThrow(SessionDataError);
    expect(() => checkData(data)).toThrow(`${path}: `);
  });

  test('accepts 32 levels below the top and refuses 33', () => {
    expect(() => checkData(nested(33))).not.toThrow();
    expect(() => checkData(nested(34))).toThrow(SessionDataError);
  });

  test('refuses a circle', () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    expect(() => checkData(circle)).toThrow(SessionDataError);
  });

  test('accepts 32 KiB and refuses one byte more', () => {
    expect(() => checkData(sized(MAX_DATA_BYTES))).not.toThrow();
    expect(() => checkData(sized(MAX_DATA_BYTES + 1))).toThrow(/^data: .*32769 .*32768/);
  });

  test('counts bytes of UTF-8 and not characters', () => {
    expect(() => checkData({ text: '😀'.repeat(MAX_DATA_BYTES / 4) })).toThrow(SessionDataError);
    expect(() => checkData({ text: 'x'.repeat(MAX_DATA_BYTES / 4) })).not.toThrow();
  });

  test('uses the name and the limit that it is given', () => {
    expect(() => checkData(sized(11), { name: 'claims', most: 10 })).toThrow(/^claims: .*11 .*10/);
  });

  test('never shows a value', () => {
    for (const data of [{ secret: new Date('2020-02-02') }, { secret: 'swordfish'.repeat(10_000) }]) {
      try {
        checkData(data);
      } catch (error) {
        expect((error as Error).message).not.toMatch(/swordfish|2020/);
      }
    }
  });
});

describe('mergeData', () => {
  test.each<[string, Record<string, unknown> | null, SessionDataPatch, object]>([
    ['adds a key', { a: 1 }, { b: 2 }, { a: 1, b: 2 }],
    ['replaces a key', { a: 1, b: 2 }, { a: [3] }, { a: [3], b: 2 }],
    ['removes a key with null', { a: 1, b: 2 }, { a: null }, { b: 2 }],
    ['ignores undefined', { a: 1 }, { a: undefined, b: undefined }, { a: 1 }],
    ['replaces a nested object as a whole', { a: { x: 1, y: 2 } }, { a: { x: 3 } }, { a: { x: 3 } }],
    ['keeps null below the top', {}, { a: { x: null } }, { a: { x: null } }],
    ['starts from nothing', null, { a: 1 }, { a: 1 }],
    ['may empty the data', { a: 1 }, { a: null }, {}],
    ['ignores the removal of an unknown key', { a: 1 }, { b: null }, { a: 1 }],
  ])('%s', (_, data, patch, expected) => {
    expect(mergeData(data, patch)).toEqual(expected);
  });

  test('changes neither the data nor the patch', () => {
    const data = Object.freeze({ a: 1 });
    const patch = Object.freeze({ a: null, b: 2 });
    expect(mergeData(data, patch)).toEqual({ b: 2 });
  });

  test('treats __proto__ as a key like any other', () => {
    const merged = mergeData({ a: 1 }, JSON.parse('{"__proto__":{"admin":true}}') as SessionDataPatch);
    expect(JSON.stringify(merged)).toBe('{"a":1,"__proto__":{"admin":true}}');
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
    expect((merged as { admin?: boolean }).admin).toBeUndefined();
    const removed = mergeData(merged, JSON.parse('{"__proto__":null}') as SessionDataPatch);
    expect(JSON.stringify(removed)).toBe('{"a":1}');
  });

  test('refuses a patch that is not JSON', () => {
    expect(() => mergeData({}, { at: new Date() as never })).toThrow(SessionDataError);
    expect(() => mergeData({}, { deep: nested(34) as never })).toThrow(SessionDataError);
  });

  test('limits the result and not the patch', () => {
    const half = 'x'.repeat(MAX_DATA_BYTES / 2);
    expect(() => mergeData({ a: half }, { b: half })).toThrow(SessionDataError);
    expect(mergeData({ a: half }, { a: null, b: half })).toEqual({ b: half });
  });
});
