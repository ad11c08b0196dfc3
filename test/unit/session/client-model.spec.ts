import { describe, expect, test } from '@jest/globals';
import { type Bounds, ClientModel } from '../../helpers/client-model.js';
import { CLIENT, type ClientRules } from '../../helpers/client-rules.js';
import { search } from '../../helpers/client-search.js';
import { GRACE, type Rows, SETTLED_AGE } from '../../helpers/client-world.js';
import { SERVER, type ServerRules } from '../../helpers/server-rules.js';

/**
 * P1 for the client: whatever happens to the tabs of a browser and to their messages, the user stays in the session of the
 * last login. An exhaustive search of `ClientModel`, in which the tabs decide with the client's own functions.
 */

const BODY = { transport: 'body', tabs: 2 } as const;
const COOKIE = { transport: 'cookie', tabs: 2 } as const;
/** A user who logs in again and logs out, and a tab that sleeps meanwhile. */
const EVENTFUL = { logins: 1, logouts: 1, frozen: 1 };

const SMALL: Bounds[] = [
  { ...BODY, frozen: 1, killed: 1 },
  { ...BODY, frozen: 1, logins: 1 },
  { ...BODY, frozen: 1, logouts: 1 },
  { ...BODY, logins: 1, logouts: 1 },
  { ...BODY, tabs: 3, frozen: 1 },
  { ...COOKIE, frozen: 1, killed: 1 },
  { ...COOKIE, ...EVENTFUL },
  { ...COOKIE, tabs: 3, frozen: 1, logins: 1 },
];
/** Takes minutes. */
const LARGE: Bounds[] = [
  { ...BODY, ...EVENTFUL, killed: 1 },
  { ...BODY, ...EVENTFUL, logins: 2 },
  { ...BODY, tabs: 3, frozen: 2, killed: 1 },
  { ...BODY, tabs: 3, ...EVENTFUL },
  { ...COOKIE, ...EVENTFUL, killed: 1 },
  { ...COOKIE, ...EVENTFUL, logins: 2 },
  { ...COOKIE, tabs: 3, frozen: 2, killed: 1 },
  { ...COOKIE, tabs: 3, ...EVENTFUL },
];

const named = (bounds: Bounds): [string, Bounds] => [JSON.stringify(bounds).replaceAll('"', ''), bounds];

test.each([...SMALL, ...(process.env.TEST_BOUNDS === 'large' ? LARGE : [])].map(named))(
  'nobody is logged out: %s',
  (_, bounds) => {
    const { worlds, fault, trace } = search(new ClientModel(bounds));
    expect({ fault, trace }).toEqual({ fault: undefined, trace: undefined });
    expect(worlds.length).toBeGreaterThan(1000);
  },
  600_000,
);

/** Searches without some of the client's rules, and returns the first fault. */
const faultWithout = (bounds: Bounds, rules: Partial<ClientRules>, server?: ServerRules) =>
  search(new ClientModel(bounds, { ...CLIENT, ...rules }, server)).fault;

const ENDED = 'the server ended the session';
const CAME_BACK = 'a session came back after the logout';
const NO_LEASE: Partial<ClientRules> = { mayTake: () => true };

describe('each rule of the client is needed', () => {
  test.each<[rule: string, Bounds, Partial<ClientRules>, fault: string]>([
    [
      'a login in cookies waits for the answers of other tabs',
      { ...COOKIE, logins: 1, isReliable: true },
      NO_LEASE,
      'the cookies of the session were lost',
    ],
    ['an answer counts as lost if it comes too late', { ...BODY, frozen: 1 }, { isTooLate: () => false }, ENDED],
    [
      'what was read too long ago is read again',
      { ...COOKIE, frozen: 1, logins: 1 },
      { isTooLate: () => false },
      'the cookies of the session were lost',
    ],
    [
      'both clocks are asked whether it is too late: the monotonic one alone',
      { ...BODY, frozen: 1 },
      { isTooLate: (since, now, limit) => now.monotonic - since.monotonic > limit },
      ENDED,
    ],
    [
      'both clocks are asked whether it is too late: the wall clock alone',
      { ...BODY, frozen: 1 },
      { isTooLate: (since, now, limit) => now.wall - since.wall > limit },
      ENDED,
    ],
    ['the answer is stored before it is used', { ...BODY, killed: 1 }, { storesFirst: false }, ENDED],
    ['the store is read again', BODY, { newest: (own, stored) => own ?? stored }, ENDED],
    [
      'an answer to a refresh does not replace a later login',
      { ...BODY, ...EVENTFUL },
      { supersedes: () => true, newest: (own, stored) => stored ?? own },
      'the tokens of the session were lost',
    ],
    [
      'a login, a logout and an ending take a higher epoch',
      { ...BODY, logins: 1, logouts: 1 },
      { nextEpoch: (held) => held?.epoch ?? 1 },
      'a tab shows another session',
    ],
    [
      'a login replaces what was stored before',
      { ...BODY, logins: 1 },
      { takesLogin: (held) => !held?.sessionId },
      'the tokens of the session were lost',
    ],
    ['a login does not undo a later logout', { ...BODY, ...EVENTFUL }, { takesLogin: () => true }, CAME_BACK],
    [
      'only the named refusals end the session',
      BODY,
      { meaningOfRefresh: ({ status }) => (status === 200 ? 'renewed' : 'over') },
      'the client ended the session',
    ],
    [
      'a tab that finds the cookies of another session adopts it',
      { ...COOKIE, logins: 1, frozen: 1 },
      { afterCookies: () => 'store' },
      'the record names another session than the cookies',
    ],
  ])('%s', (_, bounds, rules, fault) => {
    expect(faultWithout(bounds, rules)).toBe(fault);
  });
});

/**
 * A storage may let two tabs take the lease at once, and a browser may have no Web Locks. The lease then saves requests, but
 * nothing depends on it, except that a login in cookies must not overlap with the requests of other tabs.
 */
describe('if every tab takes the lease at any time', () => {
  test.each<[string, Bounds]>(
    [
      { ...BODY, frozen: 1, killed: 1 },
      { ...BODY, logins: 1, logouts: 1 },
      { ...BODY, tabs: 3 },
      { ...COOKIE, killed: 1 },
      { ...COOKIE, frozen: 1, logouts: 1 },
      { ...COOKIE, tabs: 3 },
    ].map(named),
  )('nobody is logged out: %s', (_, bounds) => {
    expect(faultWithout(bounds, NO_LEASE)).toBeUndefined();
  });

  const ageAs = (rows: Rows, change: (age: number) => number): Rows =>
    Object.fromEntries(Object.entries(rows).map(([id, row]) => [id, row && { ...row, age: change(row.age) }]));

  test.each<[rule: string, Bounds, ServerRules['refresh']]>([
    ...[BODY, COOKIE].map((bounds): [string, Bounds, ServerRules['refresh']] => [
      `the server neither rotates nor recovers soon after the grace, ${bounds.transport}`,
      bounds,
      (rows, ...rest) =>
        SERVER.refresh(
          ageAs(rows, (age) => (age < GRACE ? age : SETTLED_AGE)),
          ...rest,
        ),
    ]),
    [
      'it sets no refresh cookie then',
      COOKIE,
      (rows, presented, isCookie) => {
        const { rows: after, answer } = SERVER.refresh(rows, presented, isCookie);
        const token = answer.status === 200 ? (answer.token ?? presented ?? undefined) : undefined;
        return { rows: after, answer: { ...answer, token } };
      },
    ],
    [
      'it refuses no parent then',
      BODY,
      (rows, presented, isCookie) => {
        const row = presented && rows[presented.session];
        const isFork = row && row.server.current.generation > presented.generation && row.age >= GRACE;
        const isUsed = row && row.server.confirmed >= row.server.current.generation;
        return SERVER.refresh(isFork && isUsed ? ageAs(rows, () => SETTLED_AGE) : rows, presented, isCookie);
      },
    ],
  ])('each rule of the server is needed: %s', (_, bounds, refresh) => {
    expect(faultWithout(bounds, NO_LEASE, { ...SERVER, refresh })).toBe(ENDED);
  });

  const reliable: Bounds = { ...BODY, logins: 1, logouts: 1, isReliable: true };
  test.each<[rule: string, Bounds, Partial<ClientRules>, fault: string]>([
    [
      'an older generation never replaces a newer one',
      reliable,
      {
        supersedes: (next, held) => !held || next.epoch > held.epoch || next.sessionId === held.sessionId,
        newest: (own, stored) => stored ?? own,
      },
      ENDED,
    ],
    ['a refusal ends only the session that was refused', reliable, { afterRefusal: () => 'end' }, CAME_BACK],
    [
      'an answer in cookies does not undo a logout',
      { ...COOKIE, logouts: 1, isReliable: true },
      { afterCookies: () => 'adopt' },
      CAME_BACK,
    ],
  ])('%s', (_, bounds, rules, fault) => {
    expect(faultWithout(bounds, { ...NO_LEASE, ...rules })).toBe(fault);
  });
});

describe('each rule of renewal is needed', () => {
  test.each<[rule: string, ServerRules['renew']]>([
    [
      'never above the presented generation',
      (rows, token) => {
        const row = rows[token.session];
        if (!SERVER.renew(rows, token).access || !row) return { rows };
        return { rows, access: { ...token, generation: row.server.current.generation } };
      },
    ],
    [
      'it does not rotate',
      (rows, token) => {
        const { rows: after, answer } = SERVER.refresh(rows, token, true);
        return { rows: after, access: answer.token };
      },
    ],
  ])('%s', (_, renew) => {
    expect(faultWithout(COOKIE, {}, { ...SERVER, renew })).toBe(ENDED);
  });
});
