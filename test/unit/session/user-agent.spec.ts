import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { describeUserAgent } from '../../../lib/session/user-agent.js';

const WEBKIT = 'AppleWebKit/537.36 (KHTML, like Gecko)';

test.each([
  [`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${WEBKIT} Chrome/126.0.0.0 Safari/537.36`, 'Chrome', 'Windows', 'pc'],
  [
    `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${WEBKIT} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0`,
    'Microsoft Edge',
    'Windows',
    'pc',
  ],
  ['Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0', 'Firefox', 'Linux', 'pc'],
  [
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15',
    'Safari',
    'macOS',
    'pc',
  ],
  [
    'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1',
    'Safari',
    'iOS',
    'mobile',
  ],
  [
    'Mozilla/5.0 (iPad; CPU OS 12_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148 Safari/604.1',
    'Safari',
    'iOS',
    'tablet',
  ],
  [
    `Mozilla/5.0 (Linux; Android 14; Pixel 8) ${WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36`,
    'Chrome',
    'Android',
    'mobile',
  ],
  [`Mozilla/5.0 (Linux; Android 13; SM-X906C) ${WEBKIT} Chrome/126.0.0.0 Safari/537.36`, 'Chrome', 'Android', 'tablet'],
  ['Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)', 'Googlebot', undefined, 'bot'],
  ['curl/8.1.2', undefined, undefined, 'other'],
  ['okhttp/4.9', undefined, undefined, 'other'],
  ['', undefined, undefined, 'other'],
  [null, undefined, undefined, 'other'],
] as const)('%s', (userAgent, browser, os, kind) => {
  const described = describeUserAgent(userAgent);
  expect([described.browser?.name, described.os?.name, described.kind]).toEqual([browser, os, kind]);
});

test('describes anything that a client sends without throwing', () => {
  const words = fc.constantFrom(
    'Mozilla/5.0',
    '(',
    ')',
    'Chrome/',
    'Version/',
    'Android',
    'iPad',
    ';',
    'Windows NT',
    '0',
  );
  const sent = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 512 }),
    fc.array(words, { maxLength: 20 }).map((all) => all.join(' ')),
  );
  fc.assert(
    fc.property(sent, (userAgent) => {
      const { kind } = describeUserAgent(userAgent);
      expect(['mobile', 'tablet', 'pc', 'tv', 'bot', 'other']).toContain(kind);
    }),
  );
});
