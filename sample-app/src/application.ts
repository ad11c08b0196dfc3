import type { INestApplication } from '@nestjs/common';
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
import { type Environment, readEnvironment, StartError, type Variables } from './environment.js';

/** The application, which accepts requests. */
export interface Started {
  readonly app: INestApplication;
  /** What to print: the address, and how to log in. It has no secret. */
  readonly announcement: string;
}

/**
 * Reads the environment variables, migrates the database and starts the application.
 *
 * @throws {@link StartError} with a message for the person who starts it
 */
export async function startApplication(variables: Variables): Promise<Started> {
  const environment = readEnvironment(variables);
  const dataSource = await openDatabase(environment.database, environment.demoUsers).catch((error: Error) => {
    throw new StartError([`DATABASE_URL: the database cannot be used: ${error.message || String(error)}`]);
  });
  try {
    const app = await listen(environment, dataSource);
    const { port } = new URL(await app.getUrl());
    return { app, announcement: announcement(environment, Number(port), variables) };
  } catch (error) {
    throw explained(error, variables);
  }
}

async function listen(environment: Environment, dataSource: DataSource): Promise<INestApplication> {
  const { https } = environment;
  const adapter =
    environment.adapter === 'fastify'
      ? new FastifyAdapter({
          // The default allows 100 characters, but a user id may have 255.
          routerOptions: { ignoreTrailingSlash: true, maxParamLength: 255 },
          return503OnClosing: false,
          trustProxy: trustedByFastify(environment.trustProxy),
          ...(https && { https }),
        })
      : new ExpressAdapter();
  // If the start fails, Nest would log the error's stack. The caller prints its message instead.
  const options = { logger: false, abortOnError: false, ...(https && { httpsOptions: https }) } as const;
  const app = await NestFactory.create(AppModule.with(environment, dataSource), adapter, options);
  if (adapter instanceof ExpressAdapter) adapter.set('trust proxy', environment.trustProxy);
  app.useLogger(new ConsoleLogger({ logLevels: ['warn', 'error', 'fatal'] }));
  serveDocumentation(app, environment);
  await app.listen(environment.port, environment.host).catch((error: NodeJS.ErrnoException) => {
    if (error.syscall !== 'listen') throw error;
    throw new StartError([`PORT: cannot listen on ${environment.port} of ${environment.host}: ${error.message}`]);
  });
  return app;
}

/** Turns faults of the module's options into an error that names the variables that may have set them. */
function explained(error: unknown, variables: Variables): unknown {
  if (!(error instanceof MultiSessionConfigurationError)) return error;
  return new StartError(error.faults.map((fault) => `${originOf(fault, variables)}: ${fault}`));
}

function originOf(fault: string, variables: Variables): string {
  const [option] = fault.split(/[^a-zA-Z]/);
  const own = { jwt: 'JWT_SECRET', secretKey: 'SESSION_SECRET_KEY' }[option];
  return ['SESSION_CONFIG', own].filter((name) => name !== undefined && variables[name]).join(', ');
}

/** Fastify has no number of proxies. It asks for each address of `X-Forwarded-For`, the nearest first. */
function trustedByFastify(proxies: Environment['trustProxy']) {
  return typeof proxies === 'number' ? (_address: string, hop: number) => hop < proxies : proxies;
}
