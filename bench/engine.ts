import { DataSource, type DataSourceOptions, type Logger } from 'typeorm';
import { createEngine, type Engine } from '../lib/engine/engine.js';
import { type MultiSessionOptions, readOptions } from '../lib/engine/options.js';
import { MULTI_SESSION_ENTITIES } from '../lib/nest/entities.js';

export const SECRET = 'a signing secret of more than thirty-two bytes';

/** The library on a database, without Nest and without HTTP. */
export interface BenchEngine extends Engine {
  readonly dataSource: DataSource;
  readonly close: () => Promise<void>;
}

/** Starts the library: creates missing tables and polls once. Later polls are too rare to disturb a measurement. */
export async function startEngine(
  database: DataSourceOptions,
  logger: Logger,
  { policies, ...more }: Pick<MultiSessionOptions, 'policies'> & Partial<MultiSessionOptions>,
): Promise<BenchEngine> {
  const entities = [...MULTI_SESSION_ENTITIES];
  const options = { synchronize: true, ...database, entities, logger } as DataSourceOptions;
  const dataSource = await new DataSource(options).initialize();
  const config = readOptions(
    {
      jwt: { secret: SECRET, accessTokenLifetime: '1d' },
      secretKey: false,
      policies,
      revocation: { pollInterval: '1h', maxStaleness: '2h' },
      cleanup: false,
      ...more,
    },
    Object.keys(policies),
  );
  const engine = createEngine(config, dataSource);
  await engine.poller.poll();
  return {
    ...engine,
    dataSource,
    close: async () => {
      await engine.seen.flush();
      await engine.poller.stop();
      await dataSource.destroy();
    },
  };
}
