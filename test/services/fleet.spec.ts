import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DataSource } from 'typeorm';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { until } from '../helpers/until.js';
import { end, Fleet, issuerOptions, logIn, type Member, newKey, STALENESS } from './fleet.js';

/** How many endings are measured. The large run is `TEST_ENDINGS=2000`. */
const ENDINGS = Number(process.env.TEST_ENDINGS ?? 40);

const FIRST_KEY = newKey();
const OPTIONS = {
  ...issuerOptions(FIRST_KEY),
  revocation: { ...issuerOptions().revocation, push: 'postgres' },
  policies: { LONG: { refreshTokenLifetime: '30d' }, OTHER: { refreshTokenLifetime: '30d' } },
};

let database: TestDatabase;
let fleet: Fleet;

const bearer = (access: string) => ({ authorization: `Bearer ${access}` });
const everyService = (check: (service: Member) => Promise<boolean>) =>
  until(async () => (await Promise.all(fleet.services.map(check))).every(Boolean));
const isReady = async (service: Member) => (await service.json<{ status: string }>('/health')).status === 'up';

beforeAll(async () => {
  database = await createDatabase('postgres');
  fleet = await Fleet.start(database.options, 2, OPTIONS);
  for (const kind of ['plain', 'nest', 'plain', 'nest'] as const) await fleet.addService(kind);
  await fleet.startNginx(fleet.services[0].port);
  await everyService(isReady);
});
afterAll(async () => {
  await fleet?.stop();
  await database?.drop();
});

describe('two issuers and four services', () => {
  test('every service refuses a session soon after an issuer has ended it', async () => {
    const delays: number[] = [];
    for (let round = 0; round < ENDINGS; round++) {
      const issuer = fleet.issuers[round % 2];
      const session = await logIn(issuer);
      if (round % 10 === 0)
        for (const service of fleet.services) expect(await service.status(bearer(session.access))).toBe(200);
      const startedAt = performance.timeOrigin + performance.now();
      await end(issuer, session);
      for (const service of fleet.services) delays.push((await learnedAt(service, session.session_id)) - startedAt);
      for (const service of fleet.services) expect(await service.status(bearer(session.access))).toBe(401);
    }
    const { median, p999 } = summary(delays);
    console.log(
      `services: ${delays.length} endings, median ${median} ms, p99.9 ${p999} ms, most ${Math.max(...delays)} ms`,
    );
    // A busy machine delays everything. The large run, alone on the machine, is far below.
    expect(median).toBeLessThan(500);
    expect(p999).toBeLessThan(STALENESS);
  });

  test('nginx refuses it soon, too, whichever issuer it asks', async () => {
    const delays: number[] = [];
    const nginx = fleet.nginx as Member;
    for (let round = 0; round < ENDINGS / 2; round++) {
      const issuer = fleet.issuers[round % 2];
      const session = await logIn(issuer);
      const startedAt = performance.now();
      await end(issuer, session);
      let refused = 0;
      // Two refusals in a row come from both issuers.
      while (refused < 2) refused = (await nginx.status(bearer(session.access))) === 401 ? refused + 1 : 0;
      delays.push(performance.now() - startedAt);
    }
    const { median, p999 } = summary(delays);
    console.log(`nginx: ${delays.length} endings, median ${median} ms, p99.9 ${p999} ms`);
    expect(p999).toBeLessThan(STALENESS);
  });
});

describe('failures', () => {
  /** Asks every service all the time, and collects wrong verdicts on a token whose session lives. */
  const watchLive = (access: string) => {
    const wrong: string[] = [];
    let watching = true;
    const loops = fleet.services.map(async (service) => {
      while (watching) {
        const status = await service.status(bearer(access));
        if (status === 401 || status === 403) wrong.push(`${service.name}: ${status}`);
        await sleep(20);
      }
    });
    return async () => {
      watching = false;
      await Promise.all(loops);
      return wrong;
    };
  };

  test('an issuer that is killed takes no service down, and no good token is refused', async () => {
    const { access } = await logIn(fleet.issuers[1]);
    const stopWatching = watchLive(access);
    await fleet.issuers[0].kill();
    await sleep(2 * STALENESS);
    await everyService(async (service) => (await service.status(bearer(access))) === 200);
    const session = await logIn(fleet.issuers[1]);
    await end(fleet.issuers[1], session);
    await everyService(async (service) => (await service.status(bearer(session.access))) === 401);
    await fleet.issuers[0].start();
    expect(await stopWatching()).toEqual([]);
  });

  test('an issuer that is frozen takes no service down for good, and no good token is refused', async () => {
    const { access } = await logIn(fleet.issuers[1]);
    const stopWatching = watchLive(access);
    fleet.issuers[0].signal('SIGSTOP');
    try {
      const session = await logIn(fleet.issuers[1]);
      await end(fleet.issuers[1], session);
      const endedAt = performance.now();
      await everyService(async (service) => (await service.status(bearer(session.access))) !== 200);
      expect(performance.now() - endedAt).toBeLessThan(STALENESS + 4000);
      await everyService(async (service) => (await service.status(bearer(access))) === 200);
    } finally {
      fleet.issuers[0].signal('SIGCONT');
    }
    expect(await stopWatching()).toEqual([]);
  });

  test('without a network, every service refuses with 503 once it is stale, and recovers by itself', async () => {
    const { access } = await logIn(fleet.issuers[0]);
    const session = await logIn(fleet.issuers[0]);
    await everyService(async (service) => (await service.status(bearer(session.access))) === 200);
    const stopWatching = watchLive(access);
    // Frozen, the balancer takes connections and never answers, as in a network that drops packets.
    fleet.balancer.signal('SIGSTOP');
    let lastAccepted = 0;
    try {
      await end(fleet.issuers[0], session);
      const endedAt = performance.now();
      const isRefused = async (service: Member) => {
        const status = await service.status(bearer(session.access));
        if (status === 200) lastAccepted = Math.max(lastAccepted, performance.now() - endedAt);
        return status === 503;
      };
      await everyService(isRefused);
      // The request itself takes time, which counts as well.
      expect(lastAccepted).toBeLessThan(STALENESS + 1000);
    } finally {
      fleet.balancer.signal('SIGCONT');
    }
    await everyService(async (service) => (await service.status(bearer(access))) === 200);
    await everyService(async (service) => (await service.status(bearer(session.access))) === 401);
    expect(await stopWatching()).toEqual([]);
  });

  test('a frozen service is stale when it wakes up, and never accepts what has ended meanwhile', async () => {
    const service = fleet.services[0];
    const { access } = await logIn(fleet.issuers[0]);
    const session = await logIn(fleet.issuers[0]);
    await until(async () => (await service.status(bearer(session.access))) === 200);
    service.signal('SIGSTOP');
    await end(fleet.issuers[0], session);
    await sleep(STALENESS + 500);
    service.signal('SIGCONT');
    const verdicts = new Set<number | undefined>();
    await until(async () => {
      verdicts.add(await service.status(bearer(session.access)));
      return (await service.status(bearer(access))) === 200;
    });
    expect([...verdicts].filter((status) => status !== undefined && status !== 503 && status !== 401)).toEqual([]);
    expect(await service.status(bearer(session.access))).toBe(401);
  });
});

describe('changes of the issuers', () => {
  test('services that come back read all, and do not ask again and again', async () => {
    const session = await logIn(fleet.issuers[0]);
    await end(fleet.issuers[0], session);
    const before = await fleet.requestsTo('revocations');
    const startedAt = performance.now();
    for (const service of fleet.services) await service.kill();
    for (const service of fleet.services) await service.start();
    await everyService(async (service) => (await service.status(bearer(session.access))) === 401);
    const seconds = (performance.now() - startedAt) / 1000;
    // Each asks once, reads one page, and then waits a second for news.
    expect((await fleet.requestsTo('revocations')) - before).toBeLessThan(fleet.services.length * (5 + 2 * seconds));
  });

  test('made-up keys do not make services load the keys more than once a second', async () => {
    const header = (kid: string) =>
      Buffer.from(JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid })).toString('base64url');
    const before = await fleet.requestsTo('jwks.json');
    const [service] = fleet.services;
    const startedAt = performance.now();
    const tokens = Array.from({ length: 200 }, (_, at) => `${header(`made up ${at}`)}.e30.AAAA`);
    const verdicts = await Promise.all(tokens.map((token) => service.status(bearer(token))));
    expect(new Set(verdicts.filter((status) => status !== undefined))).toEqual(new Set([401]));
    const seconds = (performance.now() - startedAt) / 1000;
    // The balancer checks each issuer twice a second, and each service loads the keys once a minute.
    const checks = fleet.issuers.length * 5 * (seconds + 1) + fleet.services.length;
    expect((await fleet.requestsTo('jwks.json')) - before).toBeLessThan(checks + seconds + 2);
  });

  test('a new epoch ends every older token at the services, and the new ones are good', async () => {
    const old = await logIn(fleet.issuers[0]);
    await everyService(async (service) => (await service.status(bearer(old.access))) === 200);
    const dataSource = await new DataSource(database.options).initialize();
    await dataSource.query("UPDATE session_epoch SET epoch = 'ffffffffffffffff'");
    await dataSource.destroy();
    await everyService(async (service) => (await service.status(bearer(old.access))) === 401);
    const fresh = await logIn(fleet.issuers[0]);
    for (const service of fleet.services) expect([200, 503]).toContain(await service.status(bearer(fresh.access)));
    await everyService(async (service) => (await service.status(bearer(fresh.access))) === 200);
  });

  test('a new key, a shorter lifetime and a removed type reach the services, and no good token is refused', async () => {
    const second = newKey();
    const options = (keys: object[], more: object = {}) => ({
      ...OPTIONS,
      jwt: { keys, audience: ['notes'] },
      ...more,
    });
    const old = await logIn(fleet.issuers[0]);
    const other = await logIn(fleet.issuers[0], 'alice', 'OTHER');
    for (const { access } of [old, other])
      await everyService(async (service) => (await service.status(bearer(access))) === 200);
    // First every issuer publishes the key, then they sign with it.
    await fleet.redeploy(options([FIRST_KEY, second]));
    await fleet.redeploy(options([second, FIRST_KEY]));
    const fresh = await logIn(fleet.issuers[0]);
    for (const service of fleet.services) expect([200, 503]).toContain(await service.status(bearer(fresh.access)));
    await everyService(async (service) => (await service.status(bearer(fresh.access))) === 200);
    await everyService(async (service) => (await service.status(bearer(old.access))) === 200);
    const policies = { LONG: { refreshTokenLifetime: '30d', accessTokenLifetime: '1s' } };
    await fleet.redeploy(options([second, FIRST_KEY], { policies }));
    for (const { access } of [old, other, fresh])
      await everyService(async (service) => (await service.status(bearer(access))) === 401);
  });
});

async function learnedAt(service: Member, sessionId: string): Promise<number> {
  for (;;) {
    const { at } = await service.json<{ at: number | null }>(`/seen/${sessionId}`);
    if (at !== null) return at;
    await sleep(2);
  }
}

function summary(delays: readonly number[]) {
  const sorted = delays.toSorted((one, other) => one - other);
  const at = (share: number) =>
    Math.round(10 * sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]) / 10;
  return { median: at(0.5), p999: at(0.999) };
}
