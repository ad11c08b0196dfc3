import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { getRepositoryToken } from '@nestjs/typeorm';
import { SessionEntity } from 'nestjs-multisession';
import { DataSource, type Repository } from 'typeorm';
import type { Engine } from '../../lib/engine/engine.js';
import { ENGINE } from '../../lib/nest/tokens.js';
import type { AccessCheck } from '../../lib/session/options.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { onEachDatabase } from '../helpers/matrix.js';
import { StatementLog } from '../helpers/statement-log.js';
import { WhoAmI } from '../helpers/who-am-i.js';

const CHECKS: AccessCheck[] = ['signature', 'blacklist', 'session'];
const policies = Object.fromEntries(
  CHECKS.map((accessCheck) => [accessCheck, { refreshTokenLifetime: '1h', accessCheck }] as const),
);

onEachDatabase((databaseName) => {
  let app: TestApp;
  let rows: Repository<SessionEntity>;
  const log = new StatementLog();
  const start = async () => {
    const started = await startApp({ databaseName, controllers: [WhoAmI], options: { policies } });
    Object.assign(started.get(DataSource), { logger: log });
    return started;
  };
  /** The statements on sessions that `work` sends. Polls go on meanwhile and are left out. */
  const statementsDuring = async (work: () => Promise<unknown>) => {
    const { statements } = await log.during(work);
    return statements.map(({ query }) => query).filter((query) => query.includes('user_session'));
  };
  const refresh = async (of: TestApp, token: string, session: string) =>
    (await of.post('refresh/', { refresh: token, session, secret_key: SECRET_KEY })).body;
  const rotated = async (of: TestApp, session: string) => {
    const login = await of.login({ session });
    return { id: login.session_id, ...(await refresh(of, login.refresh, session)) };
  };
  const use = async ({ access }: { access: string }, of = app) =>
    expect((await of.request('GET', '/me', { headers: bearer(access) })).status).toBe(200);
  const confirmedOf = async (id: string) => (await rows.findOneByOrFail({ id })).confirmedGeneration;
  const isUpdate = (query: string) => query.startsWith('UPDATE');

  beforeAll(async () => {
    app = await start();
    rows = app.get(getRepositoryToken(SessionEntity) as string);
  });
  afterAll(() => app?.close());

  test('a successful refresh is one statement if the database can return the row, else two', async () => {
    const { refresh: token } = await app.login({ session: 'blacklist' });
    const sent = await statementsDuring(() => refresh(app, token, 'blacklist'));
    expect(sent).toHaveLength(databaseName === 'mariadb' ? 2 : 1);
    expect(sent.filter(isUpdate)).toHaveLength(1);
  });

  describe('generations that are seen in use', () => {
    test('are written once, in one statement after the responses, for every access check', async () => {
      const used = await Promise.all([...CHECKS, ...CHECKS].map((check) => rotated(app, check)));
      const unused = await rotated(app, 'blacklist');
      const useAll = () => Promise.all(used.flatMap((tokens) => [use(tokens), use(tokens), use(tokens)]));
      const confirmed = app.get<Engine>(ENGINE).seen;
      await confirmed.flush();

      // The timer must not write while a slow machine still handles the requests.
      const flush = jest.spyOn(confirmed, 'flush').mockResolvedValue();
      const onTheWay = await statementsDuring(useAll);
      flush.mockRestore();
      expect(onTheWay.filter(isUpdate)).toEqual([]);
      // Only `accessCheck: 'session'` reads: its two sessions at each of three requests.
      expect(onTheWay).toHaveLength(6);

      const behind = await statementsDuring(() => confirmed.flush());
      expect(behind).toHaveLength(1);
      expect(behind.filter(isUpdate)).toHaveLength(1);
      expect(await Promise.all(used.map(({ id }) => confirmedOf(id)))).toEqual(used.map(() => 1));
      expect(await confirmedOf(unused.id)).toBe(0);

      await useAll();
      expect(await statementsDuring(() => confirmed.flush())).toEqual([]);
    });

    test('are written by a timer', async () => {
      const tokens = await rotated(app, 'blacklist');
      const sent = await statementsDuring(async () => {
        await use(tokens);
        while ((await confirmedOf(tokens.id)) !== 1) await setImmediate();
      });
      expect(sent.filter(isUpdate)).toHaveLength(1);
    });

    test('are written at shutdown', async () => {
      const stopping = await start();
      const tokens = await rotated(stopping, 'blacklist');
      await use(tokens, stopping);
      const sent = await statementsDuring(() => stopping.close());
      expect(sent.filter(isUpdate)).toHaveLength(1);
    });
  });
});
