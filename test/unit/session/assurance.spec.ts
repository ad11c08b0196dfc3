import { expect, test } from '@jest/globals';
import type { SessionPolicyOptions } from 'nestjs-multisession';
import { OptionFaults } from '../../../lib/option-check.js';
import { readPolicies } from '../../../lib/session/options.js';

function faultsOf(policy: SessionPolicyOptions): string[] {
  const faults = new OptionFaults();
  readPolicies({ T: policy }, 300_000, faults);
  return [...faults.list];
}

test.each<[string, SessionPolicyOptions, RegExp[]]>([
  [
    'AAL1 and 31 days',
    { assurance: 'AAL1', refreshTokenLifetime: '31d' },
    [/after 30 d.*ends 31 d.*refreshTokenLifetime/],
  ],
  [
    'AAL1 and no end',
    { assurance: 'AAL1', refreshTokenLifetime: '30d', extendSession: 'every-refresh' },
    [/after 30 d.*never ends while it is used; set absoluteLifetime to at most 30 d/],
  ],
  [
    'AAL1 and a permanent session',
    { assurance: 'AAL1', refreshTokenLifetime: '7d', permanent: true },
    [/never ends.*absoluteLifetime/],
  ],
  [
    'AAL2 and 25 hours',
    { assurance: 'AAL2', refreshTokenLifetime: '1h', extendSession: 'every-refresh', absoluteLifetime: '25h' },
    [/after 24 h.*ends 25 h/],
  ],
  [
    'AAL2 and 61 minutes without activity',
    { assurance: 'AAL2', refreshTokenLifetime: '61m' },
    [/after 1 h without activity.*is 61 min.*'every-refresh'/],
  ],
  [
    'AAL3 and both',
    {
      assurance: 'AAL3',
      refreshTokenLifetime: '16m',
      extendSession: { whenRemainingBelow: '5m' },
      absoluteLifetime: '13h',
    },
    [/after 12 h.*ends 13 h/, /after 15 min without activity.*is 16 min/],
  ],
  ['an unknown level', { assurance: 'AAL4' as 'AAL3', refreshTokenLifetime: '1m' }, [/assurance.*AAL1.*AAL4/]],
])('refuses lifetimes that break the timeouts of the level: %s', (_, policy, messages) => {
  const faults = faultsOf(policy);
  expect(faults).toEqual(messages.map((message) => expect.stringMatching(message)));
  for (const fault of faults) expect(fault).toMatch(/^policies\.T\.assurance/);
});

test.each<[string, SessionPolicyOptions]>([
  ['AAL1', { assurance: 'AAL1', refreshTokenLifetime: '30d' }],
  ['AAL1', { assurance: 'AAL1', refreshTokenLifetime: '7d', permanent: true, absoluteLifetime: '30d' }],
  ['AAL2', { assurance: 'AAL2', refreshTokenLifetime: '1h', extendSession: 'every-refresh', absoluteLifetime: '24h' }],
  ['AAL3', { assurance: 'AAL3', refreshTokenLifetime: '15m', extendSession: 'every-refresh', absoluteLifetime: '12h' }],
  ['no level', { refreshTokenLifetime: '10y', extendSession: 'every-refresh' }],
])('accepts the lifetimes of %s', (_, policy) => expect(faultsOf(policy)).toEqual([]));
