import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import { SessionEntity, SessionService } from 'nestjs-multisession';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Repository } from 'typeorm';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { type RecordedEvent, recordEvents } from '../helpers/events.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';

const HOUR = 3_600_000;
const GRACE = 60_000;
const POLICIES = {
  ROTATING: { refreshTokenLifetime: '1d', reuseGrace: GRACE / 1000 },
  STRICT: { refreshTokenLifetime: '1d', reuseGrace: 0 },
} as const;

/** The client of a request, as the proxy and the headers describe it. */
interface Party {
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly deviceName?: string;
}

const OWNER: Party = { ipAddress: '198.51.100.1', userAgent: 'browser of the owner', deviceName: 'Pixel 9' };
const THIEF: Party = { ipAddress: '203.0.113.66', userAgent: 'another browser' };

onEachDatabase((databaseName) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  let events: RecordedEvent[];

  beforeAll(async () => {
    const configure = (nest: unknown) => (nest as NestExpressApplication).set('trust proxy', 'loopback');
    app = await startApp({ databaseName, configure, options: { policies: POLICIES } });
    rows = app.get(getRepositoryToken(SessionEntity) as string);
    events = recordEvents(app);
  });
  beforeEach(() => void events.splice(0));
  afterAll(() => app?.close());

  const post = async (party: Party, route: string, body: object) => {
    const { status, body: answer } = await app.post(
      route,
      { secret_key: SECRET_KEY, ...body },
      {
        'x-forwarded-for': party.ipAddress,
        'user-agent': party.userAgent,
        ...(party.deviceName && { 'x-device-model': party.deviceName }),
      },
    );
    return { status, ...answer };
  };
  const login = (session: keyof typeof POLICIES) =>
    post(OWNER, 'login/', { username: 'alice', password: 'alice-password', session });
  const refresh = (party: Party, token: string, session: keyof typeof POLICIES = 'ROTATING') =>
    post(party, 'refresh/', { refresh: token, session });
  const rowOf = (id: string) => rows.findOneByOrFail({ id });
  /** Sets the session's times as if it had issued its current token an hour ago. */
  const anHourPasses = (id: string) =>
    rows.update(id, { createdAt: new Date(Date.now() - 2 * HOUR), rotatedAt: new Date(Date.now() - HOUR) });
  const told = (name: string) => events.flatMap((recorded) => (recorded.name === name ? [recorded.event] : []));

  test('a rotation stores the client that refreshed; a refresh within the grace does not', async () => {
    const { refresh: first, session_id: id } = await login('ROTATING');
    const atLogin = await rowOf(id);
    expect(atLogin).toMatchObject({ ...OWNER, info: OWNER.deviceName });
    const { refresh: second } = await refresh(THIEF, first);
    const afterRotation = await rowOf(id);
    // This client names no device, so the last known one is kept.
    expect(afterRotation).toMatchObject({ ...THIEF, deviceName: OWNER.deviceName, info: atLogin.info });
    await refresh(OWNER, first);
    await refresh(OWNER, second);
    expect(await rowOf(id)).toMatchObject({ ...THIEF, generation: 1 });
    await anHourPasses(id);
    await refresh({ ...OWNER, deviceName: 'Pixel 10' }, second);
    expect(await rowOf(id)).toMatchObject({ ...OWNER, deviceName: 'Pixel 10', info: atLogin.info, generation: 2 });
  });

  test('SessionService.refresh without a client keeps the last known one', async () => {
    const { refresh: token, session_id: id } = await login('ROTATING');
    const { session } = await app.get(SessionService).refresh(token);
    expect(session).toMatchObject(OWNER);
    expect(await rowOf(id)).toMatchObject({ ...OWNER, generation: 1 });
  });

  describe('an event names both parties', () => {
    test('refresh.replayed: the client that repeats, and the one that got the successor', async () => {
      const { refresh: token, session_id: id } = await login('ROTATING');
      await refresh(THIEF, token);
      await refresh(OWNER, token);
      const [event, ...more] = told('refresh.replayed');
      expect(more).toEqual([]);
      expect(event).toMatchObject({
        client: OWNER,
        session: { id, ipAddress: THIEF.ipAddress, userAgent: THIEF.userAgent },
        presentedGeneration: 0,
        currentGeneration: 1,
      });
      expect(event).not.toHaveProperty('reuse');
      expect(ageOf(event)).toBeGreaterThanOrEqual(0);
      expect(ageOf(event)).toBeLessThan(GRACE);
    });

    test('refresh.recovered: the client that recovers, and the one that got the lost successor', async () => {
      const { refresh: token, session_id: id } = await login('ROTATING');
      await refresh(THIEF, token);
      await anHourPasses(id);
      expect((await refresh(OWNER, token)).status).toBe(200);
      expect(await rowOf(id)).toMatchObject(OWNER);
      const [event, ...more] = told('refresh.recovered');
      expect(more).toEqual([]);
      expect(event).toMatchObject({
        client: OWNER,
        session: { id, ipAddress: THIEF.ipAddress, userAgent: THIEF.userAgent },
        presentedGeneration: 0,
        currentGeneration: 1,
      });
      expect(event).not.toHaveProperty('reuse');
      expect(ageOf(event) - HOUR).toBeGreaterThanOrEqual(0);
      expect(ageOf(event) - HOUR).toBeLessThan(GRACE);
    });

    test('refresh.reused, fork: the owner presents the parent of the token that the thief has used', async () => {
      const { refresh: token, session_id: id } = await login('ROTATING');
      const { access } = await refresh(THIEF, token);
      expect((await app.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(200);
      await anHourPasses(id);
      await expectReuse(OWNER, token, 'ROTATING', THIEF, {
        reuse: 'fork',
        presentedGeneration: 0,
        currentGeneration: 1,
      });
      const [event] = told('refresh.reused');
      expect(ageOf(event) - HOUR).toBeGreaterThanOrEqual(0);
      expect(ageOf(event) - HOUR).toBeLessThan(GRACE);
    });

    test('refresh.reused, stale: the thief presents a token that the owner replaced long ago', async () => {
      const { refresh: token } = await login('ROTATING');
      const { refresh: second } = await refresh(OWNER, token);
      await anHourPasses(sidOf(token));
      await refresh(OWNER, second);
      await expectReuse(THIEF, token, 'ROTATING', OWNER, {
        reuse: 'stale',
        presentedGeneration: 0,
        currentGeneration: 2,
      });
      expect(ageOf(told('refresh.reused')[0])).toBeLessThan(GRACE);
    });
  });

  async function expectReuse(
    presenter: Party,
    token: string,
    type: keyof typeof POLICIES,
    other: Party,
    expected: { reuse: string; presentedGeneration: number; currentGeneration: number },
  ) {
    expect(await refresh(presenter, token, type)).toMatchObject({ status: 401, code: 'token_not_valid' });
    const { ipAddress, userAgent } = other;
    const id = sidOf(token);
    expect(told('refresh.reused')).toMatchObject([
      {
        ...expected,
        client: { deviceName: null, ...presenter },
        session: { id, ipAddress, userAgent },
      },
    ]);
    expect(told('session.ended')).toMatchObject([{ reason: 'reuse', session: { id, ipAddress, userAgent } }]);
  }
});

const ageOf = (event: unknown): number => (event as { age: number }).age;
const sidOf = (token: string): string => String(decoded(token, 1).sid);
