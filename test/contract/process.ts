import { randomBytes } from 'node:crypto';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { createEngine, type Engine } from '../../lib/engine/engine.js';
import { readOptions } from '../../lib/engine/options.js';
import { entryLife } from '../../lib/engine/timing.js';
import { MULTI_SESSION_ENTITIES } from '../../lib/nest/entities.js';
import type { RevocationConfig } from '../../lib/revocation/options.js';
import type { EndedSession } from '../../lib/session/change-log.js';
import type { EndingOfUser } from '../../lib/session/ending-store.js';
import { newSessionId } from '../../lib/session/id.js';
import type { ChooseEvicted, NewSession } from '../../lib/session/login-store.js';
import { NEVER, SessionEntity } from '../../lib/session/session.entity.js';
import { SHOWN_COLUMNS, type ShownRow } from '../../lib/session/session.js';
import type { PolicyValues } from '../../lib/session/policy.js';
import { INSERT, sessionValues } from '../../lib/session/session-sql.js';
import type { TokenRow } from '../../lib/session/tokens.js';
import type { RefreshTokenClaims } from '../../lib/token/refresh-token.js';
import type { TestDatabase } from '../helpers/databases.js';
import { StatementLog } from '../helpers/statement-log.js';

/** The library in one process of an application, without Nest. */
export interface TestProcess extends Engine {
  readonly dataSource: DataSource;
  readonly log: StatementLog;
  close(): Promise<void>;
}

export const JWT_SECRET = 'a signing secret of more than thirty-two bytes';
export const REVOCATION: RevocationConfig = { pollInterval: 50, overlap: 2000, maxStaleness: 1000, maxEntries: 10_000 };
/** How long the engine keeps an entry: the default lifetime of an access token and the margin. */
export const ACCEPTED_AFTER_END = entryLife(300_000, 300_000);

/** A policy of sessions that rotate without a grace and are never extended, as the statements of a refresh take it. */
export const NO_GRACE: PolicyValues = {
  currentType: 'LONG',
  lifetime: 30 * 86_400_000,
  absoluteLifetime: 8.64e15,
  extendBelow: 0,
  onlyExtends: 0,
  rotationPause: 0,
  touchInterval: 1_800_000,
  accessSeconds: 300,
  setsLastUpdate: 1,
  showsUse: 1,
  bindBefore: 8.64e15,
};

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
 * @param tables how the first process creates the tables
 */
export async function startProcesses(
  database: TestDatabase,
  count: number,
  tables: Partial<DataSourceOptions> = { synchronize: true },
): Promise<TestProcess[]> {
  const first = await startProcess(database, tables);
  const another = async () =>
    isEmbedded(database) ? onDataSource(first.dataSource, first.log, REVOCATION) : startProcess(database);
  const others = await Promise.all(Array.from({ length: count - 1 }, another));
  return [first, ...others];
}

export const isEmbedded = ({ name }: Pick<TestDatabase, 'name'>): boolean => name === 'sqlite' || name === 'sqljs';

function onDataSource(dataSource: DataSource, log: StatementLog, revocation: RevocationConfig): TestProcess {
  const engine = engineOn(dataSource, revocation);
  setClock(engine);
  const close = async () => {
    await engine.push.stop();
    await engine.poller.stop();
    if (dataSource.isInitialized) await dataSource.destroy();
  };
  return { ...engine, dataSource, log, close };
}

/** Sets the clock of a process that has not polled yet. The database runs on this machine. */
export function setClock({ clock }: Pick<Engine, 'clock'>): void {
  clock.learn(Date.now(), performance.now(), performance.now());
}

/** Creates an engine on a DataSource. It has not polled yet, so it does not know the time. */
export function engineOn(dataSource: DataSource, revocation: RevocationConfig): Engine {
  const policies = { SHORT: { refreshTokenLifetime: '1d' }, LONG: { refreshTokenLifetime: '30d' } } as const;
  const jwt = { secret: JWT_SECRET };
  const config = readOptions({ jwt, secretKey: false, policies }, Object.keys(policies));
  return createEngine({ ...config, revocation }, dataSource);
}

export const newJti = (): string => randomBytes(16).toString('hex');

/** Returns the row of a session that has just started and expires in an hour. */
export function newRow(userId: string, more: Partial<SessionEntity> = {}): SessionEntity {
  const now = Date.now();
  return Object.assign(new SessionEntity(), {
    id: newSessionId(now, userId),
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
    accessLifetime: 300,
    preparedAt: null,
    transport: null,
    persistent: null,
    clientChangedAt: null,
    binding: null,
    pendingBinding: null,
    bindingKey: null,
    ...more,
  });
}

/** Stores a row exactly as given, with its times, and without a login: limits and endings of the user do not matter. */
export async function insertRow({ database }: Pick<Engine, 'database'>, row: SessionEntity): Promise<void> {
  await database.execute(INSERT, sessionValues(row));
}

/**
 * Returns a login that is about to insert this row. It starts now: the database runs on this machine. The store sets the
 * row's times, with the lifetimes that the row has.
 */
export function newLogin(row: SessionEntity, more: Partial<NewSession> = {}): NewSession {
  const { createdAt, expiresAt, absoluteExpiresAt } = row;
  const until = (end: Date) => end.getTime() - createdAt.getTime();
  return {
    row,
    lifetime: until(expiresAt),
    absoluteLifetime: absoluteExpiresAt && until(absoluteExpiresAt),
    startedAt: Date.now(),
    ...more,
  };
}

/**
 * Creates a session under a limit that is exact even if several logins run at once.
 * @returns the sessions that it evicted
 */
export function createUnder(
  { loginStore }: Pick<Engine, 'loginStore'>,
  row: SessionEntity,
  chooseEvicted: ChooseEvicted,
): Promise<EndedSession[]> {
  return loginStore.create(newLogin(row), { chooseEvicted, limit: { sessions: 100, isExact: true } });
}

/** Creates a session of a user who may have any number of them. */
export function createFreely({ loginStore }: Pick<Engine, 'loginStore'>, row: SessionEntity): Promise<EndedSession[]> {
  return loginStore.create(newLogin(row), { chooseEvicted: () => [], limit: { sessions: 1000, isExact: false } });
}

/**
 * Ends the sessions of a user.
 * @returns the sessions that it ended
 */
export async function endOfUser(
  { endingStore }: Pick<Engine, 'endingStore'>,
  userId: string,
  ending: Partial<EndingOfUser> = {},
): Promise<EndedSession[]> {
  const ended: EndedSession[] = [];
  await endingStore.endOfUser(userId, { reason: 'destroyed', ...ending }, (batch) => void ended.push(...batch));
  return ended;
}

/** Returns the claims of a session's current refresh token. */
export function tokenOf(row: TokenRow): RefreshTokenClaims {
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

/** Returns the columns of a row that a refresh returns. */
export function granted(row: SessionEntity): TokenRow {
  const { generation, refreshJti, parentJti, refreshKid } = row;
  return { ...shown(row), generation, refreshJti, parentJti, refreshKid };
}
