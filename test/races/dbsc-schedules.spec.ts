import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { MultiSessionModuleOptions } from 'nestjs-multisession';
import type { TestApp } from '../helpers/app.js';
import { networkTo, startBoundApp } from '../helpers/dbsc-app.js';
import type { Send } from '../helpers/dbsc-browser.js';
import { Random } from '../helpers/random.js';
import { ShiftedTime } from '../helpers/shifted-time.js';
import { SMALL } from '../helpers/size.js';
import { DbscSchedule } from './dbsc-schedule.js';

/** The number of random schedules. */
const SCHEDULES = Number(process.env.TEST_SCHEDULES ?? (SMALL ? 40 : 500));
const SEED = Number(process.env.TEST_SEED ?? Date.now() % 1e9);
const STEPS = 25;

let time: ShiftedTime;
let app: TestApp;
let keys = 0;

/** New secrets come first, and the last two are accepted. */
function options(): Partial<MultiSessionModuleOptions> {
  const secretOf = (number: number) => ({ secret: `the secret number ${number} of more than thirty-two bytes` });
  return { jwt: { keys: [keys, keys - 1, keys - 2].filter((number) => number >= 0).map(secretOf) } };
}

async function start(): Promise<void> {
  app = await startBoundApp({ database: time.database, options: options() });
}

beforeAll(async () => {
  time = new ShiftedTime();
  await start();
});
afterAll(async () => {
  await app?.close();
  time?.end();
});

const send: Send = (...request) => networkTo(app)(...request);

test(
  `${SCHEDULES} random schedules, seed ${SEED}: the owner stays logged in, and the thief gets no token`,
  async () => {
    const random = new Random(SEED);
    let bound = 0;
    for (let number = 0; number < SCHEDULES; number++) {
      const user = `user-${number}`;
      // Each session lives for a few days only, so one new key per schedule is enough.
      let isRotated = false;
      const restart = async () => {
        await app.close();
        if (!isRotated && random.once(2)) [keys, isRotated] = [keys + 1, true];
        await start();
        app.users.users.set(user, { id: user, password: `${user}-password`, active: true });
      };
      app.users.users.set(user, { id: user, password: `${user}-password`, active: true });
      const schedule = new DbscSchedule(
        { random, send, now: () => time.now(), advance: (by) => time.advance(app, by), restart },
        user,
      );
      await schedule.run(STEPS).catch((error: unknown) => {
        throw new Error(`schedule ${number}: ${(error as Error).message}\n${schedule.trace.join(', ')}`, {
          cause: error,
        });
      });
      if (schedule.trace.includes('steal')) bound++;
    }
    expect(bound).toBeGreaterThan(SCHEDULES / 10);
  },
  12 * 3_600_000,
);
