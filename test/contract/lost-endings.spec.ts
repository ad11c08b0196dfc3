import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { SessionNotFoundError, TokenNotValidError } from '../../lib/errors.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { SessionUserEntity } from '../../lib/session/session-user.entity.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { until } from '../helpers/until.js';
import { insertRow, startProcesses, type TestProcess } from './process.js';

/** What an asynchronous fail-over does: the last commits are gone, and with them the endings that clients were told of. */
onEachDatabase((name) => {
  let database: TestDatabase;
  let one: TestProcess;
  let other: TestProcess;
  let warnings: unknown[];

  beforeAll(async () => {
    database = await createDatabase(name);
    [one, other] = await startProcesses(database, 2);
    await one.poller.poll();
    await other.poller.poll();
  });
  beforeEach(() => {
    warnings = [];
    jest.spyOn(Logger.prototype, 'warn').mockImplementation((text) => void warnings.push(text));
  });
  afterEach(() => void jest.restoreAllMocks());
  afterAll(async () => {
    await other?.close();
    await one?.close();
    await database?.drop();
  });

  const rows = () => one.dataSource.getRepository(SessionEntity);
  const entries = () => one.dataSource.getRepository(BlacklistEntity);
  const logIn = async (userId: string) => {
    const { session, access, refresh } = await one.sessions.create(userId, { type: 'LONG' });
    return { id: session.id, access, refresh };
  };

  /** Ends a session, and makes the database forget the ending. */
  async function loseEnding({ id }: { id: string }, end: () => Promise<unknown>): Promise<void> {
    const row = await rows().findOneByOrFail({ id });
    await end();
    expect(await rows().existsBy({ id })).toBe(false);
    await entries().delete({ id });
    await insertRow(one, row);
  }

  test('a session that has ended stays ended in every process that knows it, although its row is back', async () => {
    const login = await logIn('alice');
    const { refresh } = await one.sessions.refresh(login.refresh);
    await loseEnding(login, async () => {
      await one.sessions.logout(refresh as string);
      await other.poller.poll();
    });
    for (const process of [one, other]) {
      await expect(process.sessions.refresh(refresh as string)).rejects.toThrow(SessionNotFoundError);
      await expect(process.sessions.refresh([refresh as string, login.refresh])).rejects.toThrow(SessionNotFoundError);
      await expect((async () => process.sessions.verify(login.access))()).rejects.toThrow(TokenNotValidError);
      expect(await process.sessions.introspect(login.access)).toBeNull();
      expect(await process.store.findForCheck(login.id)).toBeNull();
    }
    expect(await rows().existsBy({ id: login.id })).toBe(true);
  });

  test('a session that only a push has announced as ended refreshes as its row says', async () => {
    const login = await logIn('alice');
    one.revoked.addPushed({ sessionId: login.id, userId: 'alice', reason: 'logout', expiresAt: Date.now() + 60_000 });
    expect((await one.sessions.refresh(login.refresh)).session.id).toBe(login.id);
  });

  test('the endings are written again, and nothing else changes', async () => {
    const [revived, gone, written, live] = await Promise.all([1, 2, 3, 4].map((at) => logIn(`bob ${at}`)));
    await loseEnding(revived, () => one.sessions.logout(revived.refresh));
    await loseEnding(gone, () => one.sessions.logout(gone.refresh));
    await rows().delete({ id: gone.id });
    await one.sessions.logout(written.refresh);
    const { reason, expiresAt } = await entries().findOneByOrFail({ id: written.id });

    await one.lost.restore();
    expect(await rows().existsBy({ id: revived.id })).toBe(false);
    expect(await entries().findOneByOrFail({ id: revived.id })).toMatchObject({ userId: 'bob 1', reason: 'failover' });
    expect(await entries().findOneByOrFail({ id: gone.id })).toMatchObject({ userId: '', reason: 'failover' });
    expect(await entries().findOneByOrFail({ id: written.id })).toMatchObject({ reason, expiresAt });
    expect(await rows().existsBy({ id: live.id })).toBe(true);
    expect(await entries().existsBy({ id: live.id })).toBe(false);
    expect(warnings).toHaveLength(1);
    await one.lost.restore();
    expect(warnings).toHaveLength(1);

    await other.poller.poll();
    expect(other.revoked.hasEnded(revived.id)).toBe(true);
  });

  test('logins that had begun before an ending of all sessions are refused again', async () => {
    const users = one.dataSource.getRepository(SessionUserEntity);
    await logIn('carol');
    await one.sessions.destroyAll('carol');
    const { notBefore } = await users.findOneByOrFail({ userKey: 'carol' });
    await users.update({ userKey: 'carol' }, { notBefore: new Date(0) });
    await one.lost.restore();
    const restored = await users.findOneByOrFail({ userKey: 'carol' });
    expect(restored.notBefore.getTime()).toBeGreaterThanOrEqual(notBefore.getTime());
  });

  if (name !== 'mariadb') return;

  test('a poll over a new connection looks for lost endings, because it may be another server', async () => {
    const login = await logIn('dave');
    await loseEnding(login, () => one.sessions.logout(login.refresh));
    await one.poller.poll();
    expect(await rows().existsBy({ id: login.id })).toBe(true);
    // `stop` closes the connection of the poller. The next poll opens another one.
    await one.poller.stop();
    await one.poller.poll();
    await until(async () => !(await rows().existsBy({ id: login.id })));
  });
});
