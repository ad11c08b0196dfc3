import { expect, test } from '@jest/globals';
import { MultiSessionConfigurationError, type MultiSessionOptions } from 'nestjs-multisession';
import { readOptions } from '../../../lib/engine/options.js';

const BACKEND_KEY = 'a backend key of the tests';

/** Options whose only session type has this policy. */
function optionsWith(policy: object, more: object = {}): MultiSessionOptions {
  return {
    jwt: { secret: 'a signing secret of more than thirty-two bytes' },
    secretKey: false,
    policies: { LONG: { refreshTokenLifetime: '30d', ...policy } },
    ...more,
  };
}

function faultsOf(options: MultiSessionOptions): readonly string[] {
  try {
    readOptions(options, Object.keys(options.policies ?? {}));
  } catch (error) {
    expect(error).toBeInstanceOf(MultiSessionConfigurationError);
    return (error as MultiSessionConfigurationError).faults;
  }
  return [];
}

const PREFER = { binding: 'prefer' };
const REQUIRE = { binding: 'require' };
const PARTITIONED = { cookies: { partitioned: true, sameSite: 'none' } };
const DOMAIN = { cookies: { domain: 'example.com' } };

test.each<[string, object, object?]>([
  ['without cookies', PREFER],
  ['with cookies', REQUIRE, { cookies: true }],
  ['access tokens of exactly 5 minutes, with cookies', { ...PREFER, accessTokenLifetime: '5m' }, { cookies: true }],
  ['short access tokens, without cookies', { ...PREFER, accessTokenLifetime: '1m' }],
  ['cookies with a domain, without a binding', {}, DOMAIN],
  ['partitioned cookies, without a binding', {}, PARTITIONED],
  ['the shortest time to bind', { ...PREFER, bindWithin: '10s' }],
  ['the longest time to bind', { ...REQUIRE, bindWithin: '1h' }],
  ['a renewal', { ...PREFER, renewal: true }, { backendKeys: BACKEND_KEY }],
  ['several origins', PREFER, { publicOrigin: ['https://api.example', 'http://localhost:3000/app/'] }],
  // With a third parameter that has no default, Jest would take the test for one that calls back.
])('a binding is possible: %s', (_title, policy, more = {}) => {
  expect(faultsOf(optionsWith(policy, more))).toEqual([]);
});

test.each<[string, object, object, RegExp]>([
  ['an unknown binding', { binding: true }, {}, /binding: must be one of off, prefer, require; got true$/],
  [
    'partitioned cookies',
    PREFER,
    PARTITIONED,
    /^policies\.LONG\.binding: cannot be combined with cookies\.partitioned: .*; remove one$/,
  ],
  ['a domain', REQUIRE, DOMAIN, /^policies\.LONG\.binding: cannot be combined with cookies\.domain: .*; remove one$/],
  [
    'short access tokens',
    { ...PREFER, accessTokenLifetime: '4m' },
    { cookies: true },
    /^policies\.LONG\.binding: needs access tokens that live for at least 300 s, .*; got 240 s$/,
  ],
  [
    'a binding that comes too fast',
    { ...PREFER, bindWithin: '9s' },
    {},
    /bindWithin: must be at least 10 s, .*; got 9 s$/,
  ],
  [
    'a binding that comes too late',
    { ...PREFER, bindWithin: '61m' },
    {},
    /bindWithin: must be at most 1 hour; got "61m"$/,
  ],
  [
    'a time to bind without a binding',
    { bindWithin: '1m' },
    {},
    /bindWithin: has no effect without binding; remove it, or set binding to 'prefer' or 'require'$/,
  ],
  [
    'a renewal of sessions that must be bound',
    { ...REQUIRE, renewal: true },
    { backendKeys: BACKEND_KEY },
    /^policies\.LONG\.renewal: cannot be combined with binding: 'require', .*; remove it, or choose 'prefer'$/,
  ],
  ...[
    'api.example',
    'ftp://api.example',
    'https://me@api.example',
    'https://api.example?a=1',
    'https://api.example#a',
  ].map((publicOrigin): [string, object, object, RegExp] => [
    `the origin ${publicOrigin}`,
    PREFER,
    { publicOrigin: ['https://api.example', publicOrigin] },
    /^publicOrigin: must be an origin such as 'https:\/\/api\.example\.com'; got /,
  ]),
  [
    'an empty origin',
    PREFER,
    { publicOrigin: ' ' },
    /^publicOrigin: must be a string that is not blank; got a blank one$/,
  ],
])('the start fails and says what to do: %s', (_title, policy, more, expected) => {
  expect(faultsOf(optionsWith(policy, more))).toEqual([expect.stringMatching(expected)]);
});
