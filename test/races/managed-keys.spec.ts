import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { startCluster } from '../helpers/cluster.js';
import { sharedDatabases } from '../helpers/databases.js';
import { decoded } from '../helpers/tokens.js';
import { Tally } from '../helpers/tally.js';
import { outcome, ROUNDS } from './race.js';

/** How long the processes are under load, in milliseconds. The small size sees about ten key rotations. */
const SPAN = ROUNDS < 1000 ? 14_000 : 60_000;
const CLIENTS = 12;

const databases = sharedDatabases();
// The small size runs on one database, since keys take this long to come and go whatever the size.
const last = databases.slice(-1);

describe.each(ROUNDS < 1000 ? last : databases)('%s', (databaseName) => {
  test('managed keys are replaced under load without refusing any request', async () => {
    const cluster = await startCluster(databaseName, {
      jwt: {
        managed: { encryptionKey: 'an encryption key of more than thirty-two bytes', rotateEvery: '1s' },
        accessTokenLifetime: '2s',
      },
      revocation: { pollInterval: '50ms', maxStaleness: '1s', overlap: '2s' },
      policies: { LONG: { refreshTokenLifetime: '4s', extendSession: 'every-refresh', reuseGrace: '1s' } },
    });
    try {
      const names = Array.from({ length: CLIENTS }, (_, at) => `user${at}`);
      await cluster.addUsers(names);
      const seen = new Tally();
      const kids = new Set<unknown>();
      const until = performance.now() + SPAN;
      // On a busy machine, a token may expire before the answer comes.
      const hasExpired = (token: string) => Number(decoded(token, 1).exp) * 1000 <= Date.now();
      const live = async (name: string) => {
        let { access, refresh } = await cluster.any().loggedIn(name, 'LONG');
        while (performance.now() < until) {
          for (let requests = 0; requests < 4; requests++) {
            const answer = outcome(await cluster.any().me(access));
            if (!hasExpired(access)) seen.add(`request: ${answer}`);
            await sleep(Math.random() * 30);
          }
          const refreshed = await cluster.any().refresh(refresh, 'LONG');
          if (!hasExpired(refresh)) seen.add(`refresh: ${outcome(refreshed)}`);
          ({ access, refresh } =
            refreshed.status === 200 ? refreshed.body : await cluster.any().loggedIn(name, 'LONG'));
          kids.add(decoded(access, 0).kid);
        }
      };
      await Promise.all(names.map(live));
      const kept = await cluster.dataSource.query<unknown[]>('SELECT kid FROM session_signing_key');
      console.log(`${databaseName}: ${kids.size} keys signed, ${kept.length} are kept; ${seen.toString()}`);
      seen.expect({ 'request: 200': true, 'refresh: 200': true });
      expect(kids.size).toBeGreaterThan(4);
      // The first keys have been retired; the recent ones have not.
      expect(kept.length).toBeLessThan(kids.size + 2);
    } finally {
      await cluster.stop();
    }
  });
});
