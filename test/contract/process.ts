import { randomBytes } from 'node:crypto';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { readOptions } from '../../lib/engine/options.js';
import { entryLife } from '../../lib/engine/timing.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import type { RevocationConfig } from '../../lib/revocation/options.js';
import { NEVER, SessionEntity } from '../../lib/session/session.entity.js';
import { SHOWN_COLUMNS, type ShownRow } from '../../lib/session/session.js';
import { newSessionId } from '../../lib/session/id.js';
import type { RefreshTokenClaims } from '../../lib/token/refresh-token.js';
import type { TestDatabase } from '../helpers/databases.js';
import { StatementLog } from '../helpers/statement-log.js';

/** The library in one process of an application, without Nest. */
export interface TestProcess extends Engine {
  readonly dataSource: DataSource;
  readonly log: StatementLog;
  close(): Promise<void>;
}

export const REVOCATION: RevocationConfig = { pollInterval: 50, overlap: 2000, maxStaleness: 1000, maxEntries: 10_000 };
/** How long the engine keeps an entry: the default lifetime of an access token and the margin for clock skew. */
export const ACCEPTED_AFTER_END = entryLife(300_000, 0);

/** Opens a DataSource on the database, with the tables of this library. */
export async function openDataSource(
  database: TestDatabase,
  more: Partial<DataSourceOptions> = {},
): Promise<DataSource> {
  const options = { ...database.options, entities: [...MULTI_SESSION_ENTITIES], poolSize: 5, ...more };
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
    isEmbedded(database) ? onDataSource(first.dataSource, first.log, REVOCATION) : startProcess(database);
  const others = await Promise.all(Array.from({ length: count - 1 }, another));
  return [first, ...others];
}

export const isEmbedded = ({ name }: Pick<TestDatabase, 'name'>): boolean => name === 'sqlite' || name === 'sqljs';

function onDataSource(dataSource: DataSource, log: StatementLog, revocation: RevocationConfig): TestProcess {
  const engine = engineOn(dataSource, revocation);
  const close = async () => {
    await engine.push.stop();
    await engine.poller.stop();
    if (dataSource.isInitialized) await dataSource.destroy();
  };
  return { ...engine, dataSource, log, close };
}

/** Creates an engine on a DataSource. It has not polled yet. */
export function engineOn(dataSource: DataSource, revocation: RevocationConfig): Engine {
  const policies = { SHORT: { refreshTokenLifetime: '1d' }, LONG: { refreshTokenLifetime: '30d' } } as const;
  const jwt = { secret: 'a signing secret of more than thirty-two bytes' };
  const config = readOptions({ jwt, secretKey: false, policies }, Object.keys(policies));
  return createEngine({ ...config, revocation }, dataSource);
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
