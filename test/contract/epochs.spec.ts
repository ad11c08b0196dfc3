import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { SessionEpochEntity } from '../../lib/database/epoch.entity.js';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { readOptions } from '../../lib/engine/options.js';
import { ServerFaultError, SessionNotFoundError, TokenNotValidError, UnavailableError } from '../../lib/errors.js';
import { AccessTokens } from '../../lib/token/access-token.js';
import { RefreshTokens } from '../../lib/token/refresh-token.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { StatementLog } from '../helpers/statement-log.js';
import { decoded } from '../helpers/tokens.js';
import { isEmbedded, JWT_SECRET, openDataSource, REVOCATION } from './process.js';

const HOUR = 3_600_000;
const CHECKS = ['signature', 'blacklist', 'session'] as const;

onEachDatabase((name) => {
  let database: TestDatabase;
  let dataSources: DataSource[];
  let engines: Engine[];
  let log: StatementLog;

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    database = await createDatabase(name);
    log = new StatementLog();
    const first = await openDataSource(database, { synchronize: true, logging: true, logger: log });
    dataSources = [first];
    if (!isEmbedded({ name })) dataSources.push(await openDataSource(database, { logging: true, logger: log }));
    engines = [first, dataSources.at(-1) as DataSource].map(engineOn);
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const { poller } of engines) await poller.stop();
    for (const dataSource of dataSources.reverse()) await dataSource.destroy();
    await database.drop();
  });

  const engineOn = (dataSource: DataSource): Engine => {
    const policies = Object.fromEntries(
      CHECKS.map((accessCheck) => [accessCheck, { refreshTokenLifetime: '1h', accessCheck } as const]),
    );
    const config = readOptions({ jwt: { secret: JWT_SECRET }, secretKey: false, policies }, [...CHECKS]);
    const revocation = { ...REVOCATION, pollInterval: HOUR, maxStaleness: HOUR };
    return createEngine({ ...config, revocation }, dataSource);
  };
  const poll = async () => {
    for (const { poller } of engines) await poller.poll();
  };
  /** What the operator does after restoring a backup. */
  const replaceEpoch = () => dataSources[0].query("UPDATE session_epoch SET epoch = 'replaced by the operator'");
  const login = ({ sessions }: Engine, type: string = 'blacklist') => sessions.create('alice', { type });
  const verify = async ({ access }: Engine, token: string) => access.verify(token);

  test('the first processes on a database create one epoch, which tokens state', async () => {
    await Promise.all(engines.map(({ poller }) => poller.poll()));
    const [{ epoch, first }, ...more] = await dataSources[0].manager.find(SessionEpochEntity);
    expect(more).toEqual([]);
    expect([epoch, first]).toEqual([expect.stringMatching(/^[0-9a-f]{16}$/), epoch]);
    const { access, refresh } = await login(engines[1]);
    expect([decoded(access, 1).ep, decoded(refresh, 1).ep]).toEqual([epoch, epoch]);
    expect(await verify(engines[0], access)).toMatchObject({ userId: 'alice' });
  });

  test('nobody logs in before the epoch has been read', async () => {
    engines[0].clock.learn(Date.now(), performance.now(), performance.now());
    await expect(login(engines[0])).rejects.toThrow(UnavailableError);
  });

  test('if the table is missing, a login fails at once, and works again when the table is there', async () => {
    engines[0].clock.learn(Date.now(), performance.now(), performance.now());
    await dataSources[0].query('ALTER TABLE session_epoch RENAME TO session_epoch_elsewhere');
    await expect(engines[0].epochs.load()).rejects.toThrow(ServerFaultError);
    await expect(login(engines[0])).rejects.toThrow(ServerFaultError);
    await dataSources[0].query('ALTER TABLE session_epoch_elsewhere RENAME TO session_epoch');
    await engines[0].epochs.load();
    await login(engines[0]);
  });

  describe('after the epoch was replaced,', () => {
    test.each(CHECKS)('every token of before is refused everywhere; accessCheck: %p', async (type) => {
      await poll();
      const before = await login(engines[0], type);
      for (const engine of engines) expect(await verify(engine, before.access)).toBeDefined();
      await replaceEpoch();
      await poll();
      for (const engine of engines) {
        await expect(verify(engine, before.access)).rejects.toThrow(TokenNotValidError);
        await expect(engine.sessions.refresh(before.refresh)).rejects.toThrow(SessionNotFoundError);
        await expect(engine.sessions.logout(before.refresh)).rejects.toThrow(SessionNotFoundError);
        for (const token of [before.access, before.refresh]) expect(await engine.sessions.introspect(token)).toBeNull();
      }
      const after = await login(engines[1], type);
      expect(await verify(engines[0], after.access)).toBeDefined();
      expect(await engines[0].sessions.refresh(after.refresh)).toBeDefined();
    });

    test.each(CHECKS)(
      'a process that has not polled yet knows the tokens of one that has; accessCheck: %p',
      async (type) => {
        await poll();
        await replaceEpoch();
        await engines[0].poller.poll();
        const { access, refresh } = await login(engines[0], type);
        expect(await verify(engines[1], access)).toBeDefined();
        const refreshed = await engines[1].sessions.refresh(refresh);
        expect(await verify(engines[0], refreshed.access)).toBeDefined();
      },
    );

    test('tokens of version 0.1.0, which state no epoch, are refused too', async () => {
      await poll();
      const [{ keyring, config, clock, store, sessions }] = engines;
      const { session } = await login(engines[0]);
      const row = await store.find(session.id);
      const refresh = new RefreshTokens(keyring, config.tokens).issue({
        ...{ sessionId: session.id, userId: 'alice', type: 'blacklist', generation: 0, kid: '' },
        ...{
          jti: row?.refreshJti ?? '',
          issuedAt: session.createdAt.getTime(),
          expiresAt: session.expiresAt.getTime(),
        },
      });
      const access = new AccessTokens(keyring, config.tokens, () => clock.now()).issue(
        {
          ...{ sessionId: session.id, userId: 'alice', type: 'blacklist', generation: 0 },
          ...{ authenticatedAt: 0, expiresAt: session.expiresAt.getTime(), lifetime: 60_000 },
        },
        clock.now(),
      );
      expect(await verify(engines[0], access)).toBeDefined();
      expect(await sessions.introspect(refresh)).toMatchObject({ use: 'refresh' });
      await replaceEpoch();
      await poll();
      await expect(verify(engines[0], access)).rejects.toThrow(TokenNotValidError);
      await expect(sessions.refresh(refresh)).rejects.toThrow(SessionNotFoundError);
    });

    test('a process whose memory is stale reads the row', async () => {
      await poll();
      const { access, refresh } = await login(engines[0]);
      await replaceEpoch();
      expect(await verify(engines[1], access)).toBeDefined();
      jest.spyOn(engines[1].revoked, 'isUpToDate').mockReturnValue(false);
      await expect(verify(engines[1], access)).rejects.toThrow(TokenNotValidError);
      await expect(engines[1].sessions.refresh(refresh)).rejects.toThrow(SessionNotFoundError);
    });

    test('a token of an unknown epoch is 503 if the row cannot be read', async () => {
      await poll();
      await replaceEpoch();
      await engines[0].poller.poll();
      const { access, refresh } = await login(engines[0], 'signature');
      jest.spyOn(engines[1].database, 'run').mockRejectedValue(new UnavailableError());
      await expect(verify(engines[1], access)).rejects.toThrow(UnavailableError);
      await expect(engines[1].sessions.refresh(refresh)).rejects.toThrow(UnavailableError);
    });
  });

  test('a request with a token of the current epoch sends no query', async () => {
    await poll();
    const { access, refresh } = await login(engines[0]);
    expect((await log.during(() => verify(engines[1], access))).statements).toEqual([]);
    const { statements } = await log.during(() => engines[1].sessions.refresh(refresh));
    expect(statements.filter(({ query }) => query.includes('session_epoch'))).toEqual([]);
  });
});
