import { describe, expect, jest, test } from '@jest/globals';
import { Telemetry } from '../../../lib/telemetry/telemetry.js';

const missing = (code: string, message: string) => () => Promise.reject(Object.assign(new Error(message), { code }));

/** The errors with which Node, Jest and Yarn report that a package is not installed. */
const NOT_INSTALLED = [
  ['Node, import', 'ERR_MODULE_NOT_FOUND', "Cannot find package '@opentelemetry/api' imported from /app/dist/x.js"],
  ['Node, require', 'MODULE_NOT_FOUND', "Cannot find module '@opentelemetry/api'\nRequire stack:\n- /app/dist/x.js"],
  [
    'Yarn',
    'MODULE_NOT_FOUND',
    'nestjs-multisession tried to access @opentelemetry/api (a peer dependency) but it is not',
  ],
] as const;

/** The package is installed, and does not work. */
const BROKEN = [
  ['ERR_MODULE_NOT_FOUND', "Cannot find module '/app/node_modules/@opentelemetry/api/build/index.js' imported from /x"],
  ['ERR_MODULE_NOT_FOUND', "Cannot find package '@opentelemetry/api-logs' imported from /app/dist/x.js"],
  ['ERR_DLOPEN_FAILED', "Cannot load '@opentelemetry/api'"],
  ['EMFILE', 'too many open files'],
] as const;

async function useAll(telemetry: Telemetry): Promise<void> {
  telemetry.observe({ size: 1, lag: 0 });
  telemetry.sessionCreated('LONG');
  telemetry.sessionEnded('LONG', 'logout');
  telemetry.refused('JwtAuthGuard', new Error('refused'));
  const result = await telemetry.measure('login', (setAttributes) => {
    setAttributes({ 'multisession.session.type': 'LONG' });
    return Promise.resolve('the result');
  });
  expect(result).toBe('the result');
  const error = new Error('a fault');
  await expect(telemetry.measure('refresh', () => Promise.reject(error))).rejects.toBe(error);
  telemetry.stop();
}

describe('Telemetry', () => {
  test('does nothing before it is started', () => useAll(new Telemetry()));

  test.each(NOT_INSTALLED)('does nothing if @opentelemetry/api is not installed: %s', async (_, code, message) => {
    const telemetry = new Telemetry();
    await telemetry.start(missing(code, message));
    await useAll(telemetry);
  });

  test.each(BROKEN)('passes on every other error of loading the package: %s', async (code, message) => {
    await expect(new Telemetry().start(missing(code, message))).rejects.toThrow(message);
  });

  test('works with the package and without an SDK', async () => {
    const telemetry = new Telemetry();
    await telemetry.start();
    await useAll(telemetry);
  });

  test('reports the blacklist, whether it is observed before or after the start', async () => {
    const { metrics, trace } = await import('@opentelemetry/api');
    const addCallback = jest.fn();
    const removeCallback = jest.fn();
    const meter = {
      ...{ createCounter: () => ({ add: () => undefined }), createHistogram: () => ({ record: () => undefined }) },
      createObservableGauge: () => ({ addCallback, removeCallback }),
    };
    const load = () => Promise.resolve({ metrics: { ...metrics, getMeter: () => meter }, trace });
    const [before, after] = [new Telemetry(), new Telemetry()];
    before.observe({ size: 1, lag: 0 });
    await before.start(load);
    expect(addCallback).toHaveBeenCalledTimes(2);
    await after.start(load);
    after.observe({ size: 1, lag: 0 });
    expect(addCallback).toHaveBeenCalledTimes(4);
    before.stop();
    after.stop();
    expect(removeCallback.mock.calls).toEqual(addCallback.mock.calls);
  });
});
