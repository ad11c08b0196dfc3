import { afterEach, expect, test } from '@jest/globals';
import { MultiSessionModule, SecurityReport, SHORT_AND_LONG } from 'nestjs-multisession';
import { DEFAULT_OPTIONS, startApp, type TestApp } from '../helpers/app.js';

let app: TestApp | undefined;
afterEach(() => app?.close());

test('the report is about the options and routes that the process has', async () => {
  const policies = {
    ...SHORT_AND_LONG,
    ENDLESS: { refreshTokenLifetime: '1d', extendSession: 'every-refresh' },
  } as const;
  app = await startApp({ options: { policies, management: false } });
  const report = app.get(SecurityReport);
  expect(report.rows.find(({ row }) => row === '7.3.2')).toMatchObject({
    value: 'SHORT 24 h, LONG 180 d, ENDLESS no limit',
    verdict: 'not met',
    change: 'set absoluteLifetime of ENDLESS',
  });
  expect(report.rows.find(({ row }) => row === '7.4.5')).toMatchObject({ verdict: 'yours' });
  expect(report.rows.find(({ row }) => row === '7.5.2')?.value).toMatch(/^the routes list\/ and destroy\/,/);
});

test('an application whose policy breaks its assurance level does not start', async () => {
  const policies = { LONG: { ...SHORT_AND_LONG.LONG, assurance: 'AAL2' } } as const;
  await expect(startApp({ options: { policies } })).rejects.toThrow(
    /policies\.LONG\.assurance: is AAL2.*24 h.*180 d[^]*policies\.LONG\.assurance: is AAL2.*1 h without activity/,
  );
  // The static check does not read the values.
  expect(() => MultiSessionModule.forRoot({ ...DEFAULT_OPTIONS, policies })).not.toThrow();
});
