import 'reflect-metadata';
import { ConsoleLogger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { MultiSessionConfigurationError } from 'nestjs-multisession';
import type { DataSource } from 'typeorm';
import { announcement } from './announcement.js';
import { AppModule } from './app.module.js';
import { openDatabase } from './database/open-database.js';
import { serveDocumentation } from './documentation.js';
import { type Environment, readEnvironment, StartError } from './environment.js';

const { env } = process;

async function start(): Promise<void> {
  const environment = readEnvironment(env);
  const dataSource = await openDatabase(environment.database, environment.demoUsers).catch((error: Error) => {
    throw new StartError([`DATABASE_URL: the database cannot be used: ${error.message || String(error)}`]);
  });
  await listen(environment, dataSource);
}

async function listen(environment: Environment, dataSource: DataSource): Promise<void> {
  const adapter =
    environment.adapter === 'fastify'
      ? new FastifyAdapter({ routerOptions: { ignoreTrailingSlash: true }, return503OnClosing: false })
      : new ExpressAdapter();
  // If the start fails, Nest would log the error's stack. `reasonOf` prints its message instead.
  const options = { logger: false, abortOnError: false } as const;
  const app = await NestFactory.create(AppModule.with(environment, dataSource), adapter, options);
  app.useLogger(new ConsoleLogger({ logLevels: ['warn', 'error', 'fatal'] }));
  app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
  serveDocumentation(app, environment);
  await app.listen(environment.port, '0.0.0.0').catch((error: NodeJS.ErrnoException) => {
    if (error.syscall !== 'listen') throw error;
    throw new StartError([`PORT: cannot listen on ${environment.port}: ${error.message}`]);
  });
  console.log(announcement(environment, Number(new URL(await app.getUrl()).port)));
}

/** Returns the text to print: only the message for a configuration error, and the error with its stack for any other. */
function reasonOf(error: unknown): unknown {
  if (error instanceof StartError) return error.message;
  if (!(error instanceof MultiSessionConfigurationError)) return error;
  const given = ['SESSION_CONFIG', 'JWT_SECRET', 'SESSION_SECRET_KEY'].filter((name) => env[name]).join(', ');
  return new StartError(error.faults.map((fault) => `${given}: ${fault}`)).message;
}

start().catch((error: unknown) => {
  console.error(reasonOf(error));
  process.exit(1);
});
