import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { bearer } from '../helpers/app.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { SAMPLE_SECRET_KEY, type SampleApp, startSampleApp } from '../helpers/sample-app.js';
import { SMALL } from '../helpers/size.js';
import { selectedServers } from './matrix.js';
import { until } from './outage.js';
import { query } from './servers.js';

const MINUTE = 60_000;
const POLL = 500;
/** How late a process may notice an ending or an expiry on a busy machine, in milliseconds. */
const SLACK = 1500;
/** How far the time in a token or a row may be from the database's, in milliseconds. */
const TOLERANCE = 1000;
/** Milliseconds. */
const GRACE = 3000;
/** Seconds: long enough to show a new access token to both processes on a busy machine. */
const BRIEF_LIFETIME = 5;
const SKEW = pathToFileURL(resolve('test/faults/skewed-clock.mjs')).href;

const folder = mkdtempSync(join(tmpdir(), 'clocks-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A process of the sample application whose wall clock the test can set. */
class Skewed {
  readonly file: string;
  app!: SampleApp;

  constructor(name: string) {
    this.file = join(folder, name);
  }

  set(offset: number): void {
    writeFileSync(this.file, String(offset));
  }

  async start(environment: Record<string, string>): Promise<void> {
    this.app = await startSampleApp({ ...environment, NODE_OPTIONS: `--import=${SKEW}`, CLOCK_OFFSET_FILE: this.file });
  }

  login(type = 'LONG') {
    return this.granted('login', { username: 'alice', password: 'alice-demo-password', session: type, info: 'a test' });
  }

  refresh(refresh: string) {
    return this.app.post('/api/session/refresh/', { refresh, session: 'LONG', secret_key: SAMPLE_SECRET_KEY });
  }

  async granted(route: string, body: object, access?: string): Promise<any> {
    const given = { ...body, secret_key: SAMPLE_SECRET_KEY };
    const answer = await this.app.post(`/api/session/${route}/`, given, access ? bearer(access) : {});
    expect(answer).toMatchObject({ status: 200 });
    return answer.body;
  }

  async me(access: string): Promise<number> {
    return (await fetch(`${this.app.url}/api/me/`, { headers: bearer(access) })).status;
  }
}

// The clock that goes wrong is the process's, not the database's, so a small run has one database only.
describe.each(SMALL ? selectedServers().slice(0, 1) : selectedServers())('%s', (name) => {
  let database: TestDatabase;
  let environment: Record<string, string>;
  const [first, second] = [new Skewed('first'), new Skewed('second')];
  const both = [first, second];

  beforeAll(async () => {
    database = await createDatabase(name);
    const policies = {
      LONG: { refreshTokenLifetime: '1h', reuseGrace: GRACE / 1000 },
      BRIEF: { refreshTokenLifetime: '1h', accessTokenLifetime: BRIEF_LIFETIME },
    };
    const path = join(folder, 'options.json');
    writeFileSync(path, JSON.stringify({ policies, revocation: { pollInterval: `${POLL}ms` } }));
    const { url } = database.options as { url: string };
    environment = {
      DATABASE_URL: url,
      SESSION_CONFIG: path,
      JWT_SECRET: 'a signing secret of more than thirty-two bytes',
      THROTTLE: 'off',
    };
  });
  afterEach(async () => void (await Promise.all(both.map(({ app }) => app.stop()))));
  afterAll(() => database?.drop());

  async function startAt(offsets: [number, number]): Promise<void> {
    both.forEach((process, at) => process.set(offsets[at]));
    await Promise.all(both.map((process) => process.start(environment)));
  }

  const steps: [string, number][] = [
    ['forward', 5 * MINUTE],
    ['back', -5 * MINUTE],
  ];
  test.each(SMALL ? steps.slice(0, 1) : steps)(
    'a clock that steps %s five minutes and returns while the process runs changes nothing',
    async (_, step) => {
      await startAt([0, 0]);
      const old = await first.login();
      for (const offset of [step, 0]) {
        first.set(offset);
        for (const process of both) expect(await process.me(old.access)).toBe(200);
        await allIsRight(first, second);
      }
      expect(await first.refresh(old.refresh)).toMatchObject({ status: 200 });
    },
  );

  const apart: [string, [number, number]][] = [
    ['half a minute fast and slow', [MINUTE / 2, -MINUTE / 2]],
    ['one a minute fast', [MINUTE, 0]],
    ['one a minute slow', [-MINUTE, 0]],
  ];
  test.each(SMALL ? apart.slice(0, 1) : apart)(
    'two processes work with clocks a minute apart: %s',
    async (_, offsets) => {
      await startAt(offsets);
      await allIsRight(first, second);
      await allIsRight(second, first);
    },
  );

  async function allIsRight(one: Skewed, other: Skewed): Promise<void> {
    await Promise.all([
      tokensAreTimed(one, other),
      graceIsRight(one, other),
      endingsAreSeen(one, other),
      endingsAreSeen(other, one),
    ]);
  }

  /** An access token is valid at once on both processes, carries the database's time, and expires when it says. */
  async function tokensAreTimed(one: Skewed, other: Skewed): Promise<void> {
    const begun = performance.now();
    const earliest = Date.now();
    const { access } = await one.login('BRIEF');
    const { iat, exp } = JSON.parse(Buffer.from(access.split('.')[1], 'base64url').toString());
    // `iat` is in whole seconds, rounded down.
    expect(iat * 1000).toBeGreaterThan(earliest - 1000 - TOLERANCE);
    expect(iat * 1000).toBeLessThan(Date.now() + TOLERANCE);
    expect(exp - iat).toBe(BRIEF_LIFETIME);
    const granted = async (process: Skewed) => (await process.me(access)) === 200;
    expect(await granted(one)).toBe(true);
    expect(await granted(other)).toBe(true);
    for (const process of [one, other]) {
      await until(
        'a token is valid after its expiry',
        BRIEF_LIFETIME * 1000 + SLACK,
        async () => !(await granted(process)),
      );
    }
    expect(performance.now() - begun).toBeGreaterThan((BRIEF_LIFETIME - 1) * 1000);
  }

  /** During the grace, either process answers the old refresh token with its successor. After twice the grace, both refuse. */
  async function graceIsRight(one: Skewed, other: Skewed): Promise<void> {
    const { refresh } = await one.login();
    const { body: rotated } = await one.refresh(refresh);
    const rotatedAt = performance.now();
    expect(rotated.refresh).not.toBe(refresh);
    for (const process of [other, one]) {
      const replayed = await process.refresh(refresh);
      // On a machine that stood still for longer than the grace, this shows nothing.
      if (performance.now() - rotatedAt < GRACE - 500) {
        expect(replayed).toMatchObject({ status: 200, body: { refresh: rotated.refresh } });
      }
    }
    expect(await other.me(rotated.access)).toBe(200);
    await sleep(2 * GRACE + 500);
    // The successor has been used, so the old token is treated as stolen, which ends the session on both processes.
    expect(await other.refresh(refresh)).toMatchObject({ status: 401 });
    expect(await one.refresh(rotated.refresh)).toMatchObject({ status: 401 });
  }

  /** The process that ends a session refuses it at once, the other one after a poll. Both accept live sessions. */
  async function endingsAreSeen(one: Skewed, other: Skewed): Promise<void> {
    const [ended, kept] = [await one.login(), await other.login()];
    expect(await other.me(ended.access)).toBe(200);
    const earliest = Date.now();
    await one.granted('destroy', { session_id: ended.session_id }, kept.access);
    const latest = Date.now();
    expect(await one.me(ended.access)).toBe(401);
    await until(
      'the other process does not notice an ending',
      POLL + SLACK,
      async () => (await other.me(ended.access)) === 401,
    );
    const [entry] = await query<{ created_at: unknown }[]>(
      database.options,
      `SELECT created_at FROM session_blacklist WHERE session_id = '${ended.session_id}'`,
    );
    expect(Number(entry.created_at)).toBeGreaterThan(earliest - TOLERANCE);
    expect(Number(entry.created_at)).toBeLessThan(latest + TOLERANCE);
    for (const process of [one, other]) expect(await process.me(kept.access)).toBe(200);
  }
});
