import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { LibraryProcess, outcomeOf } from '../helpers/library-process.js';
import { until } from '../helpers/until.js';
import { optionsOf, type PostgresPair, startPair } from './postgres-pair.js';
import { openSwitchProxy, type SwitchProxy } from './switch-proxy.js';

const OPTIONS = {
  jwt: { secret: 'a signing secret of more than thirty-two bytes' },
  secretKey: false,
  revocation: { pollInterval: '200ms', maxStaleness: '2s' },
  policies: { FREE: { refreshTokenLifetime: '1d' } },
};
/** A hundred batches of the job. */
const SESSIONS = 20_000;

let pair: PostgresPair;
let proxy: SwitchProxy;
const processes: LibraryProcess[] = [];

beforeAll(async () => {
  pair = await startPair();
  proxy = await openSwitchProxy(pair.primary.port);
  for (const migrate of [true, false]) {
    const database = optionsOf(proxy.port, { poolSize: 5 });
    processes.push(await LibraryProcess.start({ database, options: OPTIONS, migrate }));
  }
});
afterAll(async () => {
  await Promise.all(processes.map((process) => process.kill()));
  await proxy?.close();
  await pair?.remove();
});

test('the job that ends all sessions goes on at the new primary after a fail-over, and finishes by itself', async () => {
  const [one, other] = processes;
  const first = await one.do('login', { user: 'alice', type: 'FREE' });
  // Copies of one session, with ids that differ in their random part.
  await pair.primary.query(`
    INSERT INTO user_session
    SELECT (jsonb_populate_record(s, jsonb_build_object('id', left(s.id::text, 24) || lpad(to_hex(n), 12, '0')))).*
    FROM user_session s, generate_series(1, ${SESSIONS - 1}) n WHERE s.id = '${first.sessionId}'`);
  const count = async () => {
    const sql = 'SELECT count(*) AS n FROM user_session';
    return Number((await pair.standby.query<[{ n: string }]>(sql))[0].n);
  };
  await until(async () => (await count()) === SESSIONS);

  expect(await one.do('endAll', {})).toMatchObject({ status: 'running' });
  // In the middle, as the standby knows it.
  await until(async () => (await count()) < 0.9 * SESSIONS);
  await pair.primary.kill();
  await pair.standby.promote();
  const left = await count();
  expect(left).toBeGreaterThan(0);
  proxy.switchTo(pair.standby.port);

  await until(async () => {
    const { status, body } = await other.ask('endAllProgress', {});
    return status === 200 && (body as { status: string } | null)?.status === 'waiting';
  }, 120_000);
  console.log(
    `${left} of ${SESSIONS} sessions were left at the fail-over: ${JSON.stringify(await other.do('endAllProgress', {}))}`,
  );
  expect(await count()).toBe(0);
  // A batch that the fail-over lost is counted when it is ended again.
  for (const process of processes) {
    expect(await process.do('endAllProgress', {})).toMatchObject({ status: 'waiting', ended: SESSIONS });
    await until(async () => outcomeOf(await process.ask('verify', { access: first.access })) === '401 token_not_valid');
    expect(outcomeOf(await process.ask('refresh', { refresh: first.refresh as string }))).toBe('401 session_not_found');
  }
  const login = await other.do('login', { user: 'alice', type: 'FREE' });
  expect(outcomeOf(await one.ask('verify', { access: login.access }))).toBe('200');
});
