import { describe, expect, test } from '@jest/globals';
import { DpopProofs } from '../../../lib/binding/dpop.js';
import { DpopNonces } from '../../../lib/binding/dpop-nonce.js';
import { UsedProofs } from '../../../lib/binding/used-proofs.js';
import { UnavailableError } from '../../../lib/errors.js';
import { proofBy, proofKeys } from '../../helpers/dpop.js';

const SECRET = 'a secret of more than thirty-two bytes, for nonces';
const OTHER_SECRET = 'another secret of more than thirty-two bytes';
const START = 1_800_000_000_000;
const SECOND = 1000;

const keysOf = (secrets: string[]) => () => secrets.map((secret) => Buffer.from(secret));
const keys = proofKeys();
const request = { method: 'GET', url: 'https://app.example/notes' };
const proof = (claims: object = {}, by = keys) => proofBy(by, { claims: { htm: 'GET', htu: request.url, ...claims } });

/** A clock that the test moves, and verifiers and nonces that go by it. */
function processes() {
  let time = START;
  const now = () => time;
  return {
    pass: (milliseconds: number) => void (time += milliseconds),
    verifier: (maxUsed?: number, secrets = [SECRET]) => new DpopProofs(keysOf(secrets), now, maxUsed),
    nonces: (...secrets: string[]) => new DpopNonces(keysOf(secrets.length > 0 ? secrets : [SECRET]), now),
  };
}

describe('check 10 and 11: the nonce and the age', () => {
  test('without a nonce, it is refused, with a nonce to use', () => {
    const { verifier } = processes();
    const verdict = verifier().verify(proof(), request);
    expect(verdict).toEqual({ code: 'use_dpop_nonce', nonce: expect.stringMatching(/^[0-9a-z]+\.[\w-]{22}$/) });
    const { nonce } = verdict as { nonce: string };
    // The characters that RFC 9449 section 8.1 allows.
    expect(nonce).toMatch(/^[\x21\x23-\x5B\x5D-\x7E]+$/);
    expect(verifier().verify(proof({ nonce }), request)).toEqual({ thumbprint: expect.any(String) });
  });

  test('one of another process is accepted for two minutes, whatever the clock of the client says', () => {
    const { verifier, nonces, pass } = processes();
    const nonce = nonces().issue();
    const process = verifier();
    for (const [after, iat] of [
      [0, 0],
      [60, START / 1000 + 86_400],
      [59, 1],
    ]) {
      pass(after * SECOND);
      expect(process.verify(proof({ nonce, iat }), request)).toHaveProperty('thumbprint');
    }
    pass(SECOND);
    expect(process.verify(proof({ nonce }), request)).toMatchObject({ code: 'use_dpop_nonce' });
  });

  test('the answer to an older one has the newest, and the same one for ten seconds', () => {
    const { verifier, nonces, pass } = processes();
    const nonce = nonces().issue();
    pass(9 * SECOND);
    expect(nonces().issue()).toBe(nonce);
    expect(verifier().verify(proof({ nonce }), request)).not.toHaveProperty('nextNonce');
    pass(SECOND);
    expect(nonces().issue()).not.toBe(nonce);
    expect(verifier().verify(proof({ nonce }), request)).toMatchObject({ nextNonce: nonces().issue() });
  });

  test('one of the next ten seconds is accepted, because the clock of another process may be ahead', () => {
    const { nonces, pass } = processes();
    pass(10 * SECOND);
    const [ahead, far] = [nonces().issue(), (pass(10 * SECOND), nonces().issue())];
    pass(-20 * SECOND);
    expect(nonces().periodOf(ahead)).toBe(START / 10_000 + 1);
    expect(nonces().periodOf(far)).toBeUndefined();
  });

  test('only ours are accepted', () => {
    const { nonces } = processes();
    const [period, mac] = nonces().issue().split('.');
    const next = (parseInt(period, 36) - 1).toString(36);
    const made = [
      '',
      period,
      `${period}.`,
      `${next}.${mac}`,
      `0${period}.${mac}`,
      `${period}.${mac}A`,
      `${period}.${mac.slice(0, -1)}`,
      `${period.toUpperCase()}.${mac}`,
      `zzzzzzzzz.${mac}`,
      nonces(OTHER_SECRET).issue(),
    ];
    for (const nonce of made) expect([nonce, nonces().periodOf(nonce)]).toEqual([nonce, undefined]);
  });

  test('the key can be replaced: nonces of every key are accepted, and the first one issues', () => {
    const { nonces } = processes();
    const [old, both, reversed] = [nonces(SECRET), nonces(OTHER_SECRET, SECRET), nonces(SECRET, OTHER_SECRET)];
    expect(both.periodOf(old.issue())).toBeDefined();
    expect(reversed.periodOf(both.issue())).toBeDefined();
    expect(old.periodOf(both.issue())).toBeUndefined();
  });

  test('as few nonces as clients can have are remembered', () => {
    const { nonces, pass } = processes();
    const reading = nonces();
    for (let count = 0; count < 200; count++) {
      expect(reading.periodOf(nonces().issue())).toBeDefined();
      pass(10 * SECOND);
    }
    expect((reading as unknown as { known: Map<string, number> }).known.size).toBeLessThanOrEqual(48);
  });

  test('before the time is known, nothing is verified', () => {
    const unknown = new DpopProofs(keysOf([SECRET]), () => {
      throw new UnavailableError();
    });
    expect(() => unknown.verify(proof(), request)).toThrow(UnavailableError);
  });
});

describe('a replay', () => {
  test('is refused, also with another signature, another nonce or another URL', () => {
    const { verifier, nonces, pass } = processes();
    const process = verifier();
    const claims = { jti: 'an id', nonce: nonces().issue() };
    const first = proof(claims);
    const again = { code: 'invalid_dpop_proof', fault: 'it was used before' };
    expect(process.verify(first, request)).toHaveProperty('thumbprint');
    expect(process.verify(first, request)).toEqual(again);
    expect(process.verify(proof(claims), request)).toEqual(again);
    pass(119 * SECOND);
    expect(process.verify(first, request)).toMatchObject(again);
  });

  test('is only one with the same key', () => {
    const { verifier, nonces } = processes();
    const process = verifier();
    const claims = { jti: 'an id', nonce: nonces().issue() };
    expect(process.verify(proof(claims), request)).toHaveProperty('thumbprint');
    expect(process.verify(proof(claims, proofKeys()), request)).toHaveProperty('thumbprint');
  });

  test('of a refused proof is none: only a valid one is used up', () => {
    const { verifier, nonces } = processes();
    const process = verifier();
    const text = proof({ nonce: nonces().issue() });
    expect(process.verify(text, { ...request, method: 'POST' })).toMatchObject({ code: 'invalid_dpop_proof' });
    const [header, payload] = text.split('.');
    expect(process.verify(`${header}.${payload}.AA`, request)).toMatchObject({ code: 'invalid_dpop_proof' });
    expect(process.verify(text, request)).toHaveProperty('thumbprint');
  });

  test('is refused by another process that was told', () => {
    const { verifier, nonces } = processes();
    const [one, other] = [verifier(), verifier()];
    one.listen((used) => other.addUsed(used));
    const text = proof({ nonce: nonces().issue() });
    expect(one.verify(text, request)).toHaveProperty('thumbprint');
    expect(other.verify(text, request)).toMatchObject({ fault: 'it was used before' });
  });

  test('is refused if there are too many to remember: the nonces of the oldest are refused instead', () => {
    const { verifier, nonces, pass } = processes();
    const process = verifier(3);
    const old = nonces().issue();
    const first = proof({ nonce: old });
    expect(process.verify(first, request)).toHaveProperty('thumbprint');
    pass(10 * SECOND);
    const nonce = nonces().issue();
    for (let count = 0; count < 3; count++)
      expect(process.verify(proof({ nonce }), request)).toHaveProperty('thumbprint');
    expect(process.verify(first, request)).toEqual({ code: 'use_dpop_nonce', nonce });
    expect(process.verify(proof({ nonce: old }), request)).toEqual({ code: 'use_dpop_nonce', nonce });
  });
});

describe('used proofs', () => {
  test('are forgotten once their nonces are refused', () => {
    const used = new UsedProofs();
    for (let period = 0; period < 100; period++) expect(used.add([`id ${period}`, period], period)).toBe(true);
    expect((used as unknown as { periods: Map<number, unknown> }).periods.size).toBeLessThanOrEqual(13);
    expect((used as unknown as { size: number }).size).toBeLessThanOrEqual(13);
  });

  test('if all of them have the newest nonce, none is accepted until the next one', () => {
    const used = new UsedProofs(2);
    expect([1, 2, 3, 4].map((id) => used.add([`${id}`, 7], 7))).toEqual([true, true, false, false]);
    expect(used.add(['5', 8], 8)).toBe(true);
  });

  test('that another process pushes with a wrong period are ignored', () => {
    const { verifier } = processes();
    const process = verifier();
    for (const period of [START / 10_000 - 12, START / 10_000 + 2, NaN, Infinity]) process.addUsed(['id', period]);
    const { used } = process as unknown as { used: { periods: Map<number, unknown> } };
    expect([...used.periods.keys()]).toEqual([]);
  });
});
