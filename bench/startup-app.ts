import 'reflect-metadata';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type INestApplication, Module, type ModuleMetadata } from '@nestjs/common';
import { type AbstractHttpAdapter, NestFactory } from '@nestjs/core';
import type { DataSourceOptions } from 'typeorm';
import { answerParent, processorTime } from './child.js';

export type AdapterName = 'express' | 'fastify';
/** The variants of the application. Each adds something to the previous one. */
export type Variant = 'empty' | 'typeorm' | 'peers' | 'library';

/** Measurements of a start. */
export interface Started {
  /** Time at which the application began to listen, in milliseconds since 1970. */
  listeningAt: number;
  /** CPU time until then, in microseconds. */
  processorTime: number;
  /** Memory after a garbage collection, in bytes. */
  rss: number;
  heap: number;
}

type Imports = NonNullable<ModuleMetadata['imports']>;

// Dynamic imports, so that a variant does not load the packages of another one.
const IMPORTS: Record<Variant, (database: DataSourceOptions) => Promise<Imports>> = {
  empty: () => Promise.resolve([]),
  typeorm: async (database) => {
    const { TypeOrmModule } = await import('@nestjs/typeorm');
    return [TypeOrmModule.forRoot({ ...database, entities: [], retryAttempts: 0 })];
  },
  peers: async (database) => {
    const { JwtModule } = await import('@nestjs/jwt');
    const { PassportModule } = await import('@nestjs/passport');
    for (const name of ['class-transformer', 'class-validator', 'passport-jwt', '@opentelemetry/api'])
      await import(name);
    return [...(await IMPORTS.typeorm(database)), JwtModule.register({}), PassportModule];
  },
  library: async (database) => {
    const { TypeOrmModule } = await import('@nestjs/typeorm');
    const { MULTI_SESSION_ENTITIES, MultiSessionModule, UserAuthenticator } = await import('nestjs-multisession');
    class NoUsers extends UserAuthenticator {
      authenticate() {
        return Promise.resolve(null);
      }
    }
    return [
      TypeOrmModule.forRoot({ ...database, entities: [...MULTI_SESSION_ENTITIES], retryAttempts: 0 }),
      MultiSessionModule.forRoot({
        jwt: { secret: 'a signing secret of more than thirty-two bytes' },
        secretKey: false,
        policies: { LONG: { refreshTokenLifetime: '30d' } },
        authenticator: { useClass: NoUsers },
      }),
    ];
  },
};

async function adapterOf(name: AdapterName): Promise<AbstractHttpAdapter> {
  if (name === 'express') return new (await import('@nestjs/platform-express')).ExpressAdapter();
  return new (await import('@nestjs/platform-fastify')).FastifyAdapter();
}

async function start(variant: Variant, adapter: AdapterName, database: DataSourceOptions): Promise<INestApplication> {
  @Module({ imports: await IMPORTS[variant](database) })
  class AppModule {}

  const app = await NestFactory.create(AppModule, await adapterOf(adapter), { logger: false });
  await app.listen(0, '127.0.0.1');
  return app;
}

/** Measures CPU time and memory so far. Collects garbage first. */
function measure(): Started {
  const listeningAt = performance.timeOrigin + performance.now();
  const used = processorTime();
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let count = 0; count < 3; count++) collect();
  const { rss, heapUsed } = process.memoryUsage();
  return { listeningAt, processorTime: used, rss, heap: heapUsed };
}

/** Makes sure that the application works: one that does nothing would start quickly. */
async function assertWorks(app: INestApplication, variant: Variant): Promise<void> {
  const { status } = await fetch(await app.getUrl());
  if (status !== 404) throw new Error(`expected 404, got ${status}`);
  if (variant === 'empty') return;
  const { DataSource } = await import('typeorm');
  await app.get(DataSource).query('SELECT 1');
  if (variant !== 'library') return;
  const { SessionService } = await import('nestjs-multisession');
  const sessions = app.get(SessionService);
  const { access, session } = await sessions.create('carlos', { type: 'LONG' });
  const current = await sessions.verify(access);
  if (current.sessionId !== session.id) throw new Error('the access token belongs to another session');
}

// startup.ts starts this script in a process of its own for each measurement.
const [variant, adapter, database] = process.argv.slice(2) as [Variant, AdapterName, string];
const app = await start(variant, adapter, JSON.parse(database) as DataSourceOptions);
const started = measure();

answerParent<object, Started>(
  async () => {
    await assertWorks(app, variant);
    return started;
  },
  () => app.close(),
);
