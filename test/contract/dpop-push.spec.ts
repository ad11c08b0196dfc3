import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { RevocationPush } from 'nestjs-multisession';
import { redisPush } from 'nestjs-multisession/redis';
import { createDatabase, selectedDatabases, type TestDatabase } from '../helpers/databases.js';
import { proofBy, proofKeys } from '../helpers/dpop.js';
import { newChannel, REDIS_URL } from '../helpers/redis.js';
import { isEmbedded, REVOCATION, startProcess, type TestProcess } from './process.js';

/** Polls are so rare that whatever a process knows of another one was pushed. */
const RARELY = { ...REVOCATION, pollInterval: 3_600_000, maxStaleness: 3_600_000 };
const REQUEST = { method: 'GET', url: 'https://app.example/notes' };
const [database] = selectedDatabases().filter((name) => !isEmbedded({ name }));

describe.each(['redis', ...(database === 'postgres' ? (['postgres'] as const) : [])] as const)(
  'a used proof that is pushed with %s',
  (way) => {
    const opened: (() => Promise<unknown>)[] = [];
    afterEach(async () => {
      for (const close of opened.splice(0).reverse()) await close();
    });
    const start = async (shared: TestDatabase, channel: string): Promise<TestProcess> => {
      const push: 'postgres' | RevocationPush = way === 'postgres' ? way : redisPush({ url: REDIS_URL, channel });
      const process = await startProcess(shared, { revocation: { ...RARELY, push }, synchronize: true });
      opened.push(() => process.close());
      process.push.start();
      await process.poller.start();
      return process;
    };

    test('is refused by the other process', async () => {
      const shared = await createDatabase(database ?? 'sqlite');
      opened.push(() => shared.drop());
      const channel = newChannel();
      const [one, other] = [await start(shared, channel), await start(shared, channel)];
      const keys = proofKeys();
      const asked = one.dpop.verify(proofBy(keys, { claims: { htm: 'GET', htu: REQUEST.url } }), REQUEST);
      const { nonce } = asked as { nonce: string };
      const giveUp = performance.now() + 30_000;
      // A push connects in the background. Until then, its messages are lost.
      for (;;) {
        const proof = proofBy(keys, { claims: { htm: 'GET', htu: REQUEST.url, nonce } });
        expect(one.dpop.verify(proof, REQUEST)).toHaveProperty('thumbprint');
        await sleep(300);
        const verdict = other.dpop.verify(proof, REQUEST);
        if ('fault' in verdict) {
          expect(verdict.fault).toBe('it was used before');
          break;
        }
        expect(performance.now()).toBeLessThan(giveUp);
      }
    });
  },
);
