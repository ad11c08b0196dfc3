import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { type Build, buildWithoutNewestMigration, CURRENT } from './builds.js';
import { Client } from './client.js';
import { Fleet } from './fleet.js';
import { sharedDatabases } from '../helpers/databases.js';
import { SMALL } from '../helpers/size.js';
import { createShared, type SharedDatabase } from './scene.js';

const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: '100ms' },
  cleanup: { interval: '200ms' },
  policies: {
    ROTATES: { refreshTokenLifetime: '30d' },
    EXTENDS: { refreshTokenLifetime: '30d', extendSession: 'every-refresh' },
    KEEPS: { refreshTokenLifetime: '30d', rotateRefreshTokens: false },
    PERMANENT: { refreshTokenLifetime: '7d', permanent: true },
    LIMITED: { refreshTokenLifetime: '30d', maxActiveSessions: 2 },
  },
};
const TYPES = Object.keys(OPTIONS.policies);
const CLIENTS = 15;
/** How much each client does between two deployments. */
const STEPS = SMALL ? 8 : 60;
/** A deployment of SQLite stops the only process that uses the file, so there is nothing to roll. */
const SERVERS = sharedDatabases().filter((name) => name !== 'sqlite');

let earlier: Build;

beforeAll(async () => {
  earlier = await buildWithoutNewestMigration();
});
afterAll(() => earlier?.remove());

describe.each(SERVERS.length > 0 ? SERVERS : (['postgres', 'mariadb'] as const))('%s', (name) => {
  let database: SharedDatabase;
  let fleet: Fleet | undefined;

  beforeAll(async () => {
    database = await createShared(name);
    const migrating = await LibraryProcess.start({ database: database.options, options: OPTIONS, migrate: true });
    await migrating.stop();
  });
  afterEach(() => fleet?.stop());
  afterAll(() => database?.drop());

  const PAIRS: [string, () => Build][] = [
    ['the current build on both sides', () => CURRENT],
    ['a build that lacks the newest migration', () => earlier],
  ];

  // In a small run, the pair that shows more.
  test.each(SMALL ? PAIRS.slice(1) : PAIRS)(
    '%s: forward and back under load, nobody is logged out and nothing ended is let in',
    async (title, first) => {
      const [from, to] = [first(), CURRENT];
      const running = (fleet = await Fleet.start(database.options, OPTIONS, [from, from]));
      const clients = Array.from(
        { length: CLIENTS },
        (_, at) => new Client(running, `${title} ${at}`, TYPES[at % TYPES.length]),
      );
      let isOver = false;
      let failed: unknown;
      const load = Promise.all(clients.map((client) => client.run(() => isOver))).catch((error: unknown) => {
        failed = error;
      });
      const busy = async () => {
        const until = clients.map(({ steps }) => steps + STEPS);
        while (!failed && clients.some(({ steps }, at) => steps < until[at])) await sleep(10);
      };
      // Side by side, then all new, then side by side again, then all old.
      await busy();
      for (const [slot, build] of [
        [0, to],
        [1, to],
        [0, from],
        [1, from],
      ] as const) {
        await running.replace(slot, build);
        await busy();
      }
      isOver = true;
      await load;
      expect(failed).toBeUndefined();
      expect(clients.flatMap(({ faults }) => faults)).toEqual([]);

      await running.replace(0, to);
      const seen: string[] = [];
      for (const process of running.open) {
        const verified = async (access: string) => outcomeOf(await process.ask('verify', { access }));
        const refreshed = async (refresh: string) => outcomeOf(await process.ask('refresh', { refresh }));
        for (const { ended, session } of clients) {
          seen.push(...(await Promise.all(ended.flatMap(({ access }) => access.map(verified)))));
          seen.push(...(await Promise.all(ended.flatMap(({ refresh }) => refresh.map(refreshed)))));
          expect(await verified(session.access[session.access.length - 1])).toBe('200');
        }
      }
      expect(seen.length).toBeGreaterThan(0);
      expect(seen.filter((outcome) => !outcome.startsWith('401 '))).toEqual([]);
      const steps = clients.reduce((sum, client) => sum + client.steps, 0);
      const ended = clients.reduce((sum, client) => sum + client.ended.length, 0);
      console.log(`${name}, ${from.name} and ${to.name}: ${steps} steps, ${ended} sessions ended`);
    },
  );
});
