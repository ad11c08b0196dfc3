import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import type { startEngine, TestEngine } from '../../helpers/engine.js';

const HEX_LENGTH = 32;

/** What node:crypto has given to the code under test, in hex, in order. */
let drawn = '';
let modules: {
  randomId: () => string;
  newSessionId: (now: number, userId: string) => string;
  startEngine: typeof startEngine;
};

/** Where in `drawn` these 128 bits are; -1 if they do not come from node:crypto, or not as one whole draw. */
function placeInDrawn(id: string): number {
  for (let at = drawn.indexOf(id); at !== -1; at = drawn.indexOf(id, at + 1)) if (at % HEX_LENGTH === 0) return at;
  return -1;
}

/** Checks that each id is 128 bits of their own from node:crypto. */
function expectRandom(ids: readonly string[]): void {
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
  const places = ids.map(placeInDrawn);
  expect(places.filter((place) => place === -1)).toEqual([]);
  expect(new Set(places).size).toBe(ids.length);
}

beforeAll(async () => {
  // Modules copy the functions of a built-in module when Jest first imports it, so they are replaced before that.
  jest.resetModules();
  const crypto = process.getBuiltinModule('node:crypto');
  const { randomFillSync, randomBytes } = crypto;
  const record = <T extends NodeJS.ArrayBufferView>(view: T): T => {
    const hex = Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('hex');
    // Each draw begins at a multiple, whatever lengths others have.
    drawn += hex.padEnd(Math.ceil(hex.length / HEX_LENGTH) * HEX_LENGTH, '-');
    return view;
  };
  jest
    .spyOn(crypto, 'randomFillSync')
    .mockImplementation((view: NodeJS.ArrayBufferView) => record(randomFillSync(view)));
  jest.spyOn(crypto, 'randomBytes').mockImplementation((size: number) => record(randomBytes(size)));
  modules = {
    ...(await import('../../../lib/token/random-id.js')),
    ...(await import('../../../lib/session/id.js')),
    ...(await import('../../helpers/engine.js')),
  };
});
afterAll(() => void jest.restoreAllMocks());

describe('random ids', () => {
  test('are 128 bits each from node:crypto, and no bit is used twice', () => {
    drawn = '';
    // More than the pool holds, so that it is filled several times. Ids of a fill before this test may come first.
    const ids = Array.from({ length: 1000 }, () => modules.randomId());
    expectRandom(ids.slice(256));
  });

  test('a session id has 62 bits of one of them', () => {
    const sources = Array.from({ length: 512 }, () => modules.randomId());
    expectRandom(sources.slice(256));
    for (let at = 0; at < 100; at++) {
      const digits = modules.newSessionId(Date.now(), 'alice').replaceAll('-', '');
      // The first digit of a draw gives two bits to digit 16, which is the variant. The next fifteen digits follow.
      const place = drawn.indexOf(digits.slice(17));
      expect(place % HEX_LENGTH).toBe(1);
      expect(parseInt(digits[16], 16) & 3).toBe(parseInt(drawn[place - 1], 16) & 3);
    }
  });
});

describe('the ids of tokens', () => {
  let running: TestEngine;

  beforeAll(async () => {
    running = await modules.startEngine({ policies: { LONG: { refreshTokenLifetime: '1h', reuseGrace: 0 } } });
  });
  afterAll(() => running.close());

  test('are 128 bits each from node:crypto, at login and at each refresh', async () => {
    const { sessions } = running.engine;
    // Ids from a fill before the recording are used up first.
    for (let at = 0; at < 256; at++) modules.randomId();
    const jtis: string[] = [];
    const note = (...tokens: string[]) => jtis.push(...tokens.map(jtiOf));
    for (let at = 0; at < 20; at++) {
      const login = await sessions.create('alice', { type: 'LONG' });
      const once = await sessions.refresh(login.refresh);
      const twice = await sessions.refresh(once.refresh as string);
      for (const { access, refresh } of [login, once, twice]) note(access, refresh as string);
    }
    expect(jtis).toHaveLength(120);
    expectRandom(jtis);
  });
});

function jtiOf(token: string): string {
  return (JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()) as { jti: string }).jti;
}
