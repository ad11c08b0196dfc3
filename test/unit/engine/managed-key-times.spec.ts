import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { MAX_CLOCK_TOLERANCE } from '../../../lib/engine/timing.js';
import { startEngine, type TestEngine } from '../../helpers/engine.js';

const DAY = 86_400_000;
const LIFETIME = 30 * DAY;
/** Twice the sum of `pollInterval` (1 s) and `maxStaleness` (10 s). */
const KNOWN_BY_ALL = 22_000;

describe.each([
  ['HS256', KNOWN_BY_ALL],
  // A public key also waits until cached copies of jwks.json have expired.
  ['ES256', 300_000],
] as const)('a managed key with %s', (algorithm, activation) => {
  let process: TestEngine;
  const signing = () => process.engine.keyring.current.kid;
  const poll = async () => {
    await process.engine.database.run((manager) => process.engine.managedKeys.poll(manager));
    await process.engine.managedKeys.stop();
  };
  const pollAfter = async (milliseconds: number) => {
    process.pass(milliseconds);
    await poll();
  };
  const isKnown = (token: string) => process.engine.keyring.verify(token) !== undefined;

  beforeEach(async () => {
    Logger.overrideLogger(false);
    process = await startEngine({
      jwt: {
        managed: {
          encryptionKey: 'an encryption key of more than thirty-two bytes',
          algorithm,
          rotateEvery: '10y',
        },
      },
      policies: { LONG: { refreshTokenLifetime: '30d' } },
    });
    await process.engine.managedKeys.start();
    // Nothing polls the endings here, so an unknown key would be a 503 instead of a refusal.
    process.engine.keyring.isComplete = () => true;
  });
  afterEach(() => process.close());

  test(`signs once every process has had time to read it: after ${activation} ms`, async () => {
    const first = signing();
    await process.engine.managedKeys.rotate();
    // The poll that reads the new key after its commit sets the time of its activation.
    await pollAfter(1000);
    await pollAfter(activation - 1);
    expect(signing()).toBe(first);
    await pollAfter(1);
    expect(signing()).not.toBe(first);
  });

  test('is kept until the last token that it signed has expired on every process', async () => {
    const token = process.engine.keyring.sign({ sub: 'alice' }, 'JWT');
    await process.engine.managedKeys.rotate();
    await pollAfter(1000);
    await pollAfter(activation);
    // A process that lags may have signed with it until now.
    await pollAfter(LIFETIME + activation + MAX_CLOCK_TOLERANCE - 1);
    await poll();
    expect(isKnown(token)).toBe(true);
    // 5 s more for the difference between the clocks of two processes.
    await pollAfter(5001);
    await poll();
    expect(isKnown(token)).toBe(false);
  });
});
