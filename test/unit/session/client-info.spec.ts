import { expect, test } from '@jest/globals';
import { fitClientInfo, networkPatterns } from '../../../lib/session/client-info.js';

const canonical = (ipAddress: string) => fitClientInfo({ ipAddress }).ipAddress;

test('the forms of an address stay the same when thousands of others come in between', () => {
  const forms = () => [
    canonical('2001:DB8:0:0::7'),
    canonical('::FFFF:192.0.2.7'),
    canonical('fe80::1%eth0'),
    networkPatterns('192.0.2.7'),
    networkPatterns('2001:db8::7'),
    networkPatterns('not an address'),
    networkPatterns(null),
  ];
  const expected = [
    '2001:db8::7',
    '192.0.2.7',
    'fe80::1',
    ['192.0.2.%', '::ffff:192.0.2.%'],
    ['2001:db8:0:%', '2001:db8::%'],
    ['not an address', 'not an address'],
    [null, null],
  ];
  for (let round = 0; round < 3; round++) {
    expect(forms()).toEqual(expected);
    expect(forms()).toEqual(expected);
    for (let other = 1; other <= 2000; other++) {
      const address = `2001:db8:1:${other.toString(16)}::1`;
      expect(canonical(address.toUpperCase())).toBe(address);
      expect(networkPatterns(address)[0]).toBe('2001:db8:1:%');
    }
  }
});

test('an address of any length is handled', () => {
  const long = `fe80::1%${'x'.repeat(1000)}`;
  for (let time = 0; time < 2; time++) expect(canonical(long)).toBe('fe80::1');
});
