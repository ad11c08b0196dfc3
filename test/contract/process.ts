import { randomBytes } from 'node:crypto';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { Database } from '../../lib/database/database.js';
import { BlacklistEntity } from '../../lib/revocation/blacklist.entity.js';
import type { RevocationConfig } from '../../lib/revocation/options.js';
import { Poller } from '../../lib/revocation/poller.js';
import { PushedRevocations } from '../../lib/revocation/pushed-revocations.js';
import { RevocationTable } from '../../lib/revocation/revocation-table.js';
import { RevokedSessions } from '../../lib/revocation/revoked-sessions.js';
import { Clock } from '../../lib/database/clock.js';
import { NEVER, SessionEntity } from '../../lib/session/session.entity.js';
import { SHOWN_COLUMNS, type ShownRow } from '../../lib/session/session.js';
import { newSessionId } from '../../lib/session/id.js';
import { ChangeLog } from '../../lib/session/change-log.js';
import { PushWriter } from '../../lib/session/push-writer.js';
import { SessionStore } from '../../lib/session/store.js';
import type { RefreshTokenClaims } from '../../lib/token/refresh-token.js';
import { SigningKeyEntity } from '../../lib/keys/signing-key.entity.js';
import { SessionDailyCountEntity } from '../../lib/admin/statistics/session-daily-count.entity.js';
import { KnownDeviceEntity } from '../../lib/known-devices/known-device.entity.js';
import type { TestDatabase } from '../helpers/databases.js';
import { StatementLog } from '../helpers/statement-log.js';

/** The parts of a process that know which sessions have ended. */
export interface TestRevocations {
  readonly revoked: RevokedSessions;
  readonly revocations: RevocationTable;
  readonly push: PushedRevocations;
  readonly poller: Poller;
}

/** The library in one process of an application, without Nest. */
export interface TestProcess extends TestRevocations {
  readonly dataSource: DataSource;
  readonly database: Database;
  readonly clock: Clock;
  readonly store: SessionStore;
  readonly log: StatementLog;
  close(): Promise<void>;
}

/** All entities of the library. */
const ENTITIES = [SessionEntity, BlacklistEntity, SigningKeyEntity, KnownDeviceEntity, SessionDailyCountEntity];

export const REVOCATION: RevocationConfig = { pollInterval: 50, overlap: 2000, maxStaleness: 1000, maxEntries: 10_000 };
export const ACCEPTED_AFTER_END = 310_000;

/** Opens a DataSource on the database, with the tables of this library. */
export async function openDataSource(
  database: TestDatabase,
  more: Partial<DataSourceOptions> = {},
): Promise<DataSource> {
  const options = { ...database.options, entities: [...ENTITIES], poolSize: 5, ...more };
  return new DataSource(options as DataSourceOptions).initialize();
}

/** Starts a process on the database. It creates no tables unless `synchronize` is set. */
export async function startProcess(
  database: TestDatabase,
  { revocation = REVOCATION, ...more }: Partial<DataSourceOptions> & { revocation?: RevocationConfig } = {},
): Promise<TestProcess> {
  const log = new StatementLog();
  const dataSource = await openDataSource(database, { logging: true, logger: log, ...more });
  return onDataSource(dataSource, log, revocation);
}

/**
 * Creates the tables and starts several processes on one database. On a server each process has a DataSource. On embedded
 * SQLite they share one connection.
 */
export async function startProcesses(database: TestDatabase, count: number): Promise<TestProcess[]> {
  const first = await startProcess(database, { synchronize: true });
  const another = async () =>
    isEmbedded(database)
      ? onDataSource(first.dataSource, first.log, REVOCATION, first.database)
      : startProcess(database);
  const others = await Promise.all(Array.from({ length: count - 1 }, another));
  return [first, ...others];
}

export const isEmbedded = ({ name }: Pick<TestDatabase, 'name'>): boolean => name === 'sqlite' || name === 'sqljs';

function onDataSource(
  dataSource: DataSource,
  log: StatementLog,
  revocation: RevocationConfig,
  database = new Database(dataSource),
): TestProcess {
  const clock = new Clock();
  const known = makeRevocations({ database, clock }, revocation);
  const { revocations, push, poller } = known;
  const changes = new ChangeLog(push.isTransactional ? [new PushWriter(push)] : []);
  const times = { acceptedAfterEnd: ACCEPTED_AFTER_END, overlap: revocation.overlap, now: () => clock.now() };
  const store = new SessionStore(database, revocations, changes, times);
  const close = async () => {
    await push.stop();
    await poller.stop();
    if (dataSource.isInitialized) await dataSource.destroy();
  };
  return { dataSource, database, clock, store, log, close, ...known };
}

/** Creates the memory, table, push and poller of a process that has not polled yet. */
export function makeRevocations(
  { database, clock }: Pick<TestProcess, 'database' | 'clock'>,
  config: RevocationConfig,
): TestRevocations {
  const revoked = new RevokedSessions(config);
  const revocations = new RevocationTable(database);
  const push = new PushedRevocations(database, config, revoked, () => clock.now());
  const poller = new Poller(database, config, clock, revocations, revoked);
  return { revoked, revocations, push, poller };
}

export const newJti = (): string => randomBytes(16).toString('hex');

/** Returns the row of a session that has just started and expires in an hour. */
export function newRow(userId: string, more: Partial<SessionEntity> = {}): SessionEntity {
  const now = Date.now();
  return Object.assign(new SessionEntity(), {
    id: newSessionId(now),
    userId,
    type: 'LONG',
    generation: 0,
    parentGeneration: null,
    refreshJti: newJti(),
    parentJti: null,
    refreshKid: 'a-key',
    confirmedGeneration: 0,
    createdAt: new Date(now),
    lastUpdate: new Date(now),
    rotatedAt: NEVER,
    expiresAt: new Date(Math.floor(now / 1000) * 1000 + 3_600_000),
    absoluteExpiresAt: null,
    info: 'a test',
    userAgent: null,
    ipAddress: null,
    deviceName: null,
    data: null,
    claims: null,
    ...more,
  });
}

/** Returns the claims of a session's current refresh token. */
export function tokenOf(row: SessionEntity): RefreshTokenClaims {
  return {
    sessionId: row.id,
    userId: row.userId,
    type: row.type,
    generation: row.generation,
    jti: row.refreshJti,
    expiresAt: row.expiresAt.getTime(),
    issuedAt: row.createdAt.getTime() / 1000,
  };
}

/** Returns the columns of a row that a list shows. */
export function shown(row: SessionEntity): ShownRow {
  return Object.fromEntries(SHOWN_COLUMNS.map((property) => [property, row[property]])) as unknown as ShownRow;
}
