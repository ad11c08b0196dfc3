import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DataSource } from 'typeorm';
import { LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { Tally } from '../helpers/tally.js';
import { until } from '../helpers/until.js';
import { newFolder, optionsOf, PostgresServer } from './postgres-pair.js';
import { type PgBouncer, startPgBouncer } from './pgbouncer.js';

const LIMIT = 3;
const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: '200ms' },
  policies: {
    FREE: { refreshTokenLifetime: '1d' },
    EVICT: { refreshTokenLifetime: '1d', maxActiveSessions: LIMIT },
  },
};
/** The settings that docs/scaling.md recommends. */
const SETTINGS = ['default_pool_size = 4', 'server_login_retry = 1'];

describe.each(['transaction', 'session'] as const)('PgBouncer that pools by %s', (mode) => {
  let folder: string;
  let server: PostgresServer;
  let bouncer: PgBouncer;
  let processes: LibraryProcess[];

  beforeAll(async () => {
    folder = await newFolder();
    server = await PostgresServer.primary(folder);
    await server.query(`ALTER ROLE postgres SET statement_timeout = '12s'`);
    bouncer = await startPgBouncer(folder, server.port, mode, SETTINGS);
    processes = [];
    // In session mode, each connection of a client takes one to the server: the pools must fit.
    const poolSize = mode === 'session' ? 1 : 10;
    for (let at = 0; at < 2; at++) {
      const database = optionsOf(bouncer.port, { poolSize });
      processes.push(await LibraryProcess.start({ database, options: OPTIONS, migrate: at === 0 }));
    }
  });
  afterAll(async () => {
    await Promise.all(processes?.map((process) => process.stop()) ?? []);
    await bouncer?.stop();
    await server?.kill();
    rmSync(folder, { recursive: true, force: true, maxRetries: 20 });
  });

  test('logins, refreshes and endings work, limits are exact, and each process knows of each ending', async () => {
    const tally = new Tally();
    const round = async (user: string) => {
      const logins = await Promise.all(
        Array.from({ length: 2 * LIMIT }, (_, at) => processes[at % 2].do('login', { user, type: 'EVICT' })),
      );
      const ids = (await processes[0].do('list', { user })).map(({ id }) => id);
      expect(ids).toHaveLength(LIMIT);
      for (const { sessionId, refresh } of logins) {
        const answer = outcomeOf(await processes[1].ask('refresh', { refresh: refresh as string }));
        tally.add(`${ids.includes(sessionId) ? 'live' : 'evicted'}: ${answer}`);
      }
      await processes[0].do('destroyAll', { user });
      for (const { access } of logins)
        await until(async () => outcomeOf(await processes[1].ask('verify', { access })) === '401 token_not_valid');
    };
    await Promise.all(['alice', 'bob', 'carol', 'dave'].map(round));
    tally.expect({ 'live: 200': true, 'evicted: 401 session_not_found': true });
    expect(processes.map(({ printed }) => printed)).toEqual(['', '']);
  });

  if (mode === 'session') return;

  test('a login that waits for a lock gets 503 in time, and leaves nothing on the server', async () => {
    const login = { user: 'erin', type: 'FREE' };
    await processes[0].do('login', login);
    const holding = await new DataSource(server.options).initialize();
    const runner = holding.createQueryRunner();
    await runner.startTransaction();
    await runner.query(`SELECT * FROM "session_user" WHERE user_key = 'erin' FOR UPDATE`);
    const startedAt = performance.now();
    // The first one is a single statement, and the second one a transaction.
    const answers = await Promise.all([
      processes[0].ask('login', login),
      processes[1].ask('login', { ...login, type: 'EVICT' }),
      processes[0].ask('destroyAll', login),
    ]);
    const took = performance.now() - startedAt;
    expect(answers.map(outcomeOf)).toEqual(answers.map(() => '503 unavailable'));
    expect(took).toBeLessThan(20_000);
    const busy = `SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' OR state LIKE 'idle in transaction%'`;
    // The connection that holds the lock is the only one.
    await until(async () => Number((await server.query<[{ n: string }]>(busy))[0].n) === 1);
    await runner.rollbackTransaction();
    await holding.destroy();
    expect(outcomeOf(await processes[0].ask('login', login))).toBe('200');
    const [{ lock_timeout: left }] = await processes[0].do('query', { sql: 'SHOW lock_timeout' });
    expect(left).toBe('0');
  });

  test('statement_timeout as a startup parameter stops the start, and that of the role reaches each statement', async () => {
    const extra = { statement_timeout: 12_000 };
    const database = optionsOf(bouncer.port, { extra });
    await expect(LibraryProcess.start({ database, options: OPTIONS })).rejects.toThrow('unsupported startup parameter');
    const [{ statement_timeout: set }] = await processes[0].do('query', { sql: 'SHOW statement_timeout' });
    expect(set).toBe('12s');
    const lenient = await startPgBouncer(folder, server.port, mode, ['ignore_startup_parameters = statement_timeout']);
    const accepted = optionsOf(lenient.port, { extra });
    await (await LibraryProcess.start({ database: accepted, options: OPTIONS })).stop();
    await lenient.stop();
  });
});
