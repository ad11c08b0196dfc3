import { setTimeout as sleep } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import { Job } from '../../lib/database/job.js';
import { SessionJobEntity } from '../../lib/database/job.entity.js';
import { UnavailableError } from '../../lib/errors.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import { EndAll, type EndAllProgress } from '../../lib/session/end-all.js';
import { newSessionId } from '../../lib/session/id.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { insertRow, newRow, startProcesses, type TestProcess } from './process.js';

const HOUR = 3_600_000;
/** The sessions that one transaction ends. */
const BATCH = 200;

onEachDatabase((name) => {
  let database: TestDatabase;
  let processes: TestProcess[];
  const started: EndAll[] = [];

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    database = await createDatabase(name);
    processes = await startProcesses(database, 2);
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const job of started.splice(0)) await job.stop();
    for (const process of processes.reverse()) await process.close();
    await database.drop();
  });

  const on = (
    { database, endingStore, endings, adminActions }: TestProcess,
    secondPassAfter = 0,
    lease = HOUR,
  ): EndAll => {
    const job = new EndAll(new Job(database, 'end-all', lease), endingStore, endings, secondPassAfter, adminActions);
    started.push(job);
    return job;
  };
  const insert = async (count: number, more: Partial<SessionEntity> = {}) => {
    const rows = Array.from({ length: count }, (_, at) => newRow(`user ${at}`, more));
    const { manager } = processes[0].dataSource;
    for (let at = 0; at < rows.length; at += 50)
      await manager.insert(SessionEntity, rows.slice(at, at + 50) as object[]);
    return rows;
  };
  const left = () => processes[0].dataSource.manager.find(SessionEntity, { order: { id: 'ASC' } });
  const entries = () => processes[0].dataSource.manager.countBy(BlacklistEntity, { reason: 'admin' });
  const reached = async (job: EndAll, status: EndAllProgress['status']) => {
    for (;;) {
      const progress = await job.progress();
      if (progress?.status === status) return progress;
      await sleep(10);
    }
  };
  const actions = async () => (await processes[0].adminActions.list({})).actions;
  const passed = async (time: Date) => {
    while (processes[0].clock.now() <= time.getTime()) await sleep(5);
  };

  test('was never started', async () => {
    const job = on(processes[0]);
    expect(await job.progress()).toBeNull();
    job.resume();
    await job.stop();
    expect(await processes[0].dataSource.manager.count(SessionJobEntity)).toBe(0);
  });

  test("ends everybody's sessions of every type in the background, each with an entry, and no later ones", async () => {
    const rows = [...(await insert(BATCH + 50)), ...(await insert(1, { type: 'UNKNOWN' }))];
    await passed(rows[0].createdAt);
    const job = on(processes[0]);
    const progress = await job.start('alice');
    expect(progress).toEqual({
      ...{ status: 'running', ended: 0, finishedAt: null },
      ...{ startedAt: expect.any(Date) as unknown, secondPassAt: progress.startedAt },
    });
    await passed(progress.startedAt);
    const later = newRow('later');
    await insertRow(processes[1], later);
    expect(await reached(job, 'done')).toMatchObject({ ended: rows.length, startedAt: progress.startedAt });
    expect((await left()).map(({ id }) => id)).toEqual([later.id]);
    expect(await entries()).toBe(rows.length);
    expect(await actions()).toMatchObject([{ action: 'end-all', by: 'alice', ended: rows.length, sessionId: null }]);
    for (const { id } of rows) expect(processes[0].revoked.has(id)).toBe(true);
    await processes[1].poller.poll();
    for (const { id } of rows) expect(processes[1].revoked.has(id)).toBe(true);
  });

  test('remembers who has started it until it is done', async () => {
    const job = on(processes[0], HOUR);
    await job.start('alice');
    await reached(job, 'waiting');
    const { manager } = processes[0].dataSource;
    const state = async () => (await manager.find(SessionJobEntity))[0].state;
    expect(await state()).toMatchObject({ by: 'alice', pass: 2 });
    await manager.update(SessionJobEntity, { name: 'end-all' }, { state: { ...(await state()), secondPassAt: 0 } });
    job.resume();
    await reached(job, 'done');
    expect(JSON.stringify(await state())).not.toContain('alice');
  });

  test('ends in a second pass the sessions of logins that were in progress', async () => {
    const job = on(processes[0], 500);
    const { startedAt, secondPassAt } = await job.start();
    expect(secondPassAt.getTime() - startedAt.getTime()).toBe(500);
    await reached(job, 'waiting');
    // The id says when the login began. Its transaction commits now.
    const inProgress = newRow('alice', { id: newSessionId(startedAt.getTime() - 100, 'alice') });
    const later = newRow('bob', { id: newSessionId(startedAt.getTime() + 1, 'bob') });
    for (const row of [inProgress, later]) await insertRow(processes[1], row);
    expect(await reached(job, 'done')).toMatchObject({ ended: 1, finishedAt: expect.any(Date) });
    expect((await left()).map(({ id }) => id)).toEqual([later.id]);
  });

  test('is continued by another process if the first one has crashed in the middle, without ending a session twice', async () => {
    const rows = await insert(3 * BATCH);
    await passed(rows[0].createdAt);
    const [one, two] = [on(processes[0], 0, 300), on(processes[1], 0, 300)];
    // It crashes after its first commit, and so does not release its turn.
    jest.spyOn(processes[0].endings, 'publish').mockImplementation(() => {
      jest.spyOn(processes[0].database, 'transaction').mockRejectedValue(new UnavailableError());
      jest.spyOn(processes[0].database, 'execute').mockRejectedValue(new UnavailableError());
      throw new UnavailableError();
    });
    await one.start();
    while ((await two.progress())?.ended === 0) await sleep(5);
    await one.stop();
    jest.restoreAllMocks();
    expect(await left()).toHaveLength(2 * BATCH);
    // Its turn lasts for the length of its lease.
    while ((await two.progress())?.status !== 'done') {
      two.resume();
      await sleep(20);
    }
    expect([await left(), await entries(), (await two.progress())?.ended]).toEqual([[], 3 * BATCH, 3 * BATCH]);
    expect(await actions()).toMatchObject([{ action: 'end-all', by: null, ended: 3 * BATCH }]);
  });

  test.each([
    ['when asked again', true],
    ['by itself after a while', false],
  ])('goes on after a failure of the database %s', async (_, isAsked) => {
    await passed((await insert(BATCH))[0].createdAt);
    const job = on(processes[0]);
    jest.spyOn(processes[0].endingStore, 'endBetween').mockRejectedValueOnce(new UnavailableError());
    await job.start();
    while ((await job.progress())?.status !== 'done') {
      if (isAsked) job.resume();
      await sleep(10);
    }
    expect(await left()).toEqual([]);
  });

  test('begins again for all sessions since, if it is started again', async () => {
    await passed((await insert(3))[0].createdAt);
    const [one, two] = [on(processes[0], HOUR), on(processes[1], HOUR)];
    await one.start();
    await reached(one, 'waiting');
    await passed((await insert(2))[0].createdAt);
    await two.start();
    expect(await reached(one, 'waiting')).toMatchObject({ ended: 2 });
    expect(await left()).toEqual([]);
  });

  test('is done by both processes together if both are asked to resume, in turns', async () => {
    const rows = await insert(2 * BATCH);
    await passed(rows[0].createdAt);
    const all = processes.map((process) => on(process));
    await all[0].start();
    for (let at = 0; at < 50; at++) for (const job of all) job.resume();
    await reached(all[1], 'done');
    expect([await left(), await entries(), (await all[0].progress())?.ended]).toEqual([[], rows.length, rows.length]);
  });
});
