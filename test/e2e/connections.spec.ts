import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { getDataSourceToken } from '@nestjs/typeorm';
import {
  type CloseReason,
  SessionConnections,
  SessionService,
  SHORT_AND_LONG,
  TokenNotValidError,
} from 'nestjs-multisession';
import type { DataSource } from 'typeorm';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { until } from '../helpers/until.js';

onEachDatabase((databaseName) => {
  describe('SessionConnections', () => {
    let app: TestApp;
    let connections: SessionConnections;
    let sessions: SessionService;

    beforeEach(async () => {
      const EXACT = { refreshTokenLifetime: '30d', accessCheck: 'session' } as const;
      const BRIEF = { refreshTokenLifetime: '30d', accessTokenLifetime: '8s' } as const;
      app = await startApp({
        databaseName,
        options: {
          policies: { ...SHORT_AND_LONG, EXACT, BRIEF },
          revocation: { pollInterval: '100ms', maxStaleness: '3s' },
        },
      });
      connections = app.get(SessionConnections);
      sessions = app.get(SessionService);
      // On a busy machine, the first poll may come late.
      const isReady = () =>
        createOf('LONG').then(
          () => true,
          () => false,
        );
      await until(isReady);
    });
    afterEach(() => app.close());

    const createOf = (type: string) => sessions.create('alice', { type });

    /** Opens a connection. `reasons` are those for which it was closed. */
    async function open(access: string) {
      const reasons: CloseReason[] = [];
      const connection = await connections.open({ headers: bearer(access) }, (reason) => reasons.push(reason));
      return { connection, reasons };
    }

    test('closes the connections of a session that ends, once, and no others', async () => {
      const [ended, kept] = [await createOf('LONG'), await createOf('LONG')];
      const all = [await open(ended.access), await open(ended.access), await open(kept.access)];
      expect(connections.size).toBe(3);
      await sessions.destroy(ended.session.id);
      expect(all.map(({ connection }) => connection.isOpen)).toEqual([false, false, true]);
      await until(() => all[1].reasons.length > 0);
      expect(all.map(({ reasons }) => reasons)).toEqual([['ended'], ['ended'], []]);
      expect(connections.size).toBe(1);
      await expect(all[0].connection.renew(ended.access)).rejects.toBeInstanceOf(TokenNotValidError);
      await expect(open(ended.access)).rejects.toBeInstanceOf(TokenNotValidError);
      all[2].connection.leave();
      all[2].connection.leave();
      expect(connections.size).toBe(0);
    });

    test.each(['LONG', 'EXACT'])('misses no ending while a connection is opened: %s', async (type) => {
      for (let round = 0; round < 30; round++) {
        const { access, session } = await createOf(type);
        const opening = Array.from({ length: 5 }, () => open(access).catch(() => undefined));
        const [opened] = await Promise.all([Promise.all(opening), sessions.destroy(session.id)]);
        await until(() => connections.size === 0);
        expect(opened.filter((one) => one?.connection.isOpen)).toEqual([]);
      }
    });

    test('refuses a session that has ended between the guard and the stream', async () => {
      const { access, session } = await createOf('LONG');
      const claims = await sessions.verify(access);
      await sessions.destroy(session.id);
      await expect(connections.join(claims, () => undefined)).rejects.toBeInstanceOf(TokenNotValidError);
      const reasons: CloseReason[] = [];
      await connections.endOf(claims).forEach((reason) => void reasons.push(reason));
      expect(reasons).toEqual(['ended']);
      expect(connections.size).toBe(0);
    });

    test('closes at the expiry of the newest token of the session that it was shown', async () => {
      const brief = await createOf('BRIEF');
      const { renewed, expiring } = { renewed: await open(brief.access), expiring: await open(brief.access) };
      const { expiresAt, issuedAt } = expiring.connection.session;
      await until(() => Date.now() > (issuedAt + 1) * 1000);
      const next = await sessions.refresh(brief.refresh);
      const claims = await renewed.connection.renew(next.access);
      expect(claims.expiresAt).toBeGreaterThan(expiresAt);
      expect(renewed.connection.session).toBe(claims);
      // An older token does not shorten the time, and another session's does nothing.
      await renewed.connection.renew(brief.access);
      const other = await createOf('BRIEF');
      await expect(renewed.connection.renew(other.access)).rejects.toBeInstanceOf(TokenNotValidError);
      expect(renewed.connection.session).toBe(claims);

      await until(() => expiring.reasons.length > 0);
      expect(expiring.reasons).toEqual(['expired']);
      await until(() => renewed.reasons.length > 0);
      expect(Date.now()).toBeGreaterThanOrEqual(claims.expiresAt * 1000);
      expect(renewed.reasons).toEqual(['expired']);
      expect(connections.size).toBe(0);
    });

    test('extends all connections of a session, and no others', async () => {
      const [own, other] = [await createOf('LONG'), await createOf('LONG')];
      const all = [await open(own.access), await open(own.access), await open(other.access)];
      const next = await sessions.verify((await sessions.refresh(own.refresh)).access);
      connections.extend(next);
      expect(all.map(({ connection }) => connection.session.tokenId === next.tokenId)).toEqual([true, true, false]);
    });

    test('keeps a connection whose row it can read while memory is stale, and closes those that it cannot know', async () => {
      const dataSource = app.get<DataSource>(getDataSourceToken() as string);
      const { tablePath: blacklist } = dataSource.getMetadata('BlacklistEntity');
      const { tablePath: rows } = dataSource.getMetadata('SessionEntity');
      const rename = (from: string, to: string) => dataSource.query(`ALTER TABLE ${from} RENAME TO ${to}`);
      const [kept, ended] = [await createOf('LONG'), await createOf('LONG')];
      const [first, second] = [await open(kept.access), await open(ended.access)];

      await rename(blacklist, 'away');
      await dataSource.query(`DELETE FROM ${rows} WHERE id = '${ended.session.id}'`);
      await until(() => second.reasons.length > 0);
      expect([first.reasons, second.reasons]).toEqual([[], ['ended']]);
      const third = await open(kept.access);
      await rename(rows, 'rows_away');
      await until(() => first.reasons.length > 0 && third.reasons.length > 0);
      expect([first.reasons, third.reasons]).toEqual([['unavailable'], ['unavailable']]);
      expect(connections.size).toBe(0);
      await expect(open(kept.access)).rejects.not.toBeInstanceOf(TokenNotValidError);
      expect(connections.size).toBe(0);

      await rename('rows_away', rows);
      await rename('away', blacklist);
      const again = await open(kept.access);
      again.connection.leave();
    });

    test('closes all connections at a shutdown, even if one cannot be closed', async () => {
      const { access } = await createOf('LONG');
      const first = await open(access);
      await connections.open({ headers: bearer(access) }, () => {
        throw new Error('broken');
      });
      const last = await open(access);
      await connections.beforeApplicationShutdown();
      expect([first.reasons, last.reasons]).toEqual([['shutdown'], ['shutdown']]);
      await expect(open(access)).rejects.toMatchObject({ status: 503 });
    });
  });
});
