import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { type MultiSessionOptions, SecurityReport } from 'nestjs-multisession';
import { readOptions } from '../../../lib/engine/options.js';

const ROUTES = { sessions: true, management: true, admin: true };
const SECRET = 'a signing secret of more than thirty-two bytes';

/** A policy for which each row about policies is met. */
const STRICT = {
  assurance: 'AAL2',
  refreshTokenLifetime: '1h',
  extendSession: 'every-refresh',
  absoluteLifetime: '24h',
  maxActiveSessions: 3,
  binding: 'require',
} as const;
const OPTIONS: MultiSessionOptions = {
  jwt: { secret: SECRET, audience: 'shop' },
  secretKey: false,
  policies: { STRICT },
};

function reportOf(options: Partial<MultiSessionOptions> = {}, routes = ROUTES): SecurityReport {
  const all = { ...OPTIONS, ...options };
  return new SecurityReport(readOptions(all, Object.keys(all.policies)), routes);
}

const row = (report: SecurityReport, number: string) => report.rows.find((each) => each.row === number);

describe('the report of a configuration', () => {
  test('has each row of ASVS 5.0, chapter V7, once', () => {
    const text = readFileSync('docs/security-standards.md', 'utf8');
    const rows = reportOf().rows.filter(({ standard }) => standard === 'OWASP ASVS 5.0');
    expect(rows.map((each) => each.row)).toEqual([
      ...['7.1.1', '7.1.2', '7.1.3', '7.2.1', '7.2.2', '7.2.3', '7.2.4', '7.3.1', '7.3.2'],
      ...['7.4.1', '7.4.2', '7.4.3', '7.4.4', '7.4.5', '7.5.1', '7.5.2', '7.5.3', '7.6.1', '7.6.2'],
    ]);
    for (const each of rows) expect(text).toContain(each.row);
  });

  test('names tests that exist', () => {
    const tests = reportOf().rows.flatMap(({ test: named }) => (named ? [named] : []));
    expect(tests.length).toBeGreaterThan(20);
    const missing = tests.filter(([file, title]) => {
      const source = existsSync(file) ? readFileSync(file, 'utf8') : '';
      return !["'", '"', '`'].some((quote) => source.includes(quote + title));
    });
    expect(missing).toEqual([]);
  });

  test('has a value in each row, and says what to do in each that is not met', () => {
    const configurations: MultiSessionOptions['policies'][] = [
      { STRICT },
      { LOOSE: { refreshTokenLifetime: '30d', permanent: true } },
    ];
    for (const policies of configurations) {
      for (const { value, verdict, change } of reportOf({ policies }).rows) {
        expect(value).not.toBe('');
        expect(change === undefined).toBe(verdict === 'met');
      }
    }
  });

  test('finds nothing to change in a strict configuration', () => {
    const report = reportOf();
    expect(report.notMet()).toEqual([]);
    expect(row(report, '7.3.1')).toMatchObject({ verdict: 'met', value: 'STRICT 1 h' });
    expect(row(report, '7.3.2')).toMatchObject({ verdict: 'met', value: 'STRICT 24 h' });
    expect(String(report)).toMatch(/\n\d+ met, 0 not met, \d+ up to your application\n$/);
  });

  test.each<[string, Partial<MultiSessionOptions>, string, RegExp]>([
    ['no limit', { policies: { A: { ...STRICT, maxActiveSessions: undefined } } }, '7.1.2', /maxActiveSessions of A/],
    ['a login that keeps the session', { cookies: { replaceOnLogin: false } }, '7.2.4', /replaceOnLogin to true/],
    [
      'no maximum lifetime',
      { policies: { A: { ...STRICT, assurance: undefined, absoluteLifetime: undefined } } },
      '7.3.2',
      /absoluteLifetime of A/,
    ],
    [
      'signatures only',
      { policies: { A: { ...STRICT, accessCheck: 'signature' }, STRICT } },
      '7.4.1',
      /of A to 'blacklist'/,
    ],
    ['no binding', { policies: { A: { ...STRICT, binding: 'prefer' } } }, '2.2.1', /binding of A to 'require'/],
    ['cookies', { cookies: true }, '2.2.1', /only when it refreshes/],
    [
      'no rotation',
      { policies: { A: { ...STRICT, binding: 'off', rotateRefreshTokens: false } } },
      '2.2.2',
      /rotateRefreshTokens of A/,
    ],
    ['no audience', { jwt: { secret: SECRET } }, '2.3', /set jwt.audience/],
    ['no binding', { policies: { A: { ...STRICT, binding: 'off' } } }, '4.10.1', /binding of A/],
    ['no audience', { jwt: { secret: SECRET } }, '4.10.2', /set jwt.audience/],
  ])('finds %s', (_, options, number, change) => {
    const report = reportOf(options);
    expect(row(report, number)).toMatchObject({ verdict: 'not met', change: expect.stringMatching(change) });
    expect(report.notMet().map((each) => each.row)).toContain(number);
    expect(row(reportOf(), number)?.verdict).not.toBe('not met');
  });

  test('counts only the rows of a level', () => {
    const report = reportOf({ policies: { A: { ...STRICT, assurance: undefined, absoluteLifetime: undefined } } });
    expect(report.notMet(1)).toEqual([]);
    expect(report.notMet(2).map((each) => each.row)).toEqual(['7.3.2']);
  });

  test('knows the routes', () => {
    expect(row(reportOf(), '7.4.5')).toMatchObject({ verdict: 'met' });
    const without = reportOf({}, { sessions: false, management: false, admin: false });
    expect(row(without, '7.4.5')).toMatchObject({ verdict: 'yours', change: expect.stringContaining('admin') });
    expect(row(without, '7.5.2')).toMatchObject({ value: 'no route of the library' });
  });

  test('has no secret', () => {
    const text = String(reportOf({ secretKey: 'the secret key of this test' }));
    expect(text).not.toMatch(/signing secret of|secret key of this/);
  });
});
