// A process that uses the built library, and kills itself before one of its statements.
// VICTIM names the database and the options, a message from `victims.ts` the operation.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { ModulesContainer, NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { MULTI_SESSION_ENTITIES, MultiSessionModule, SessionCleanup, SessionService } from 'nestjs-multisession';
import { Countdown } from './countdown.mjs';

const { database, options } = JSON.parse(process.env.VICTIM);

const countdown = new Countdown();

class AppModule {}
Module({
  imports: [
    TypeOrmModule.forRoot({
      ...database,
      entities: [...MULTI_SESSION_ENTITIES],
      retryAttempts: 0,
      logging: true,
      logger: countdown,
    }),
    MultiSessionModule.forRoot(options),
  ],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
const [sessions, cleanup] = [app.get(SessionService), app.get(SessionCleanup)];

/** Returns a provider whose class is not exported. */
const providerNamed = (name) =>
  [...app.get(ModulesContainer).values()]
    .flatMap(({ providers }) => [...providers.values()])
    .find((provider) => provider.name === name).instance;

const OPERATIONS = {
  login: ({ userId }) => sessions.create(userId, { type: 'LONG' }),
  refresh: ({ token }) => sessions.refresh(token),
  logout: ({ token }) => sessions.logout(token),
  destroyAllOther: ({ userId, kept }) => sessions.destroyOthers(userId, kept),
  adminDestroy: ({ sessionId }) => sessions.destroy(sessionId, { reason: 'admin', by: 'admin' }),
  adminDestroyAll: ({ userId }) => sessions.destroyAll(userId, { reason: 'admin', by: 'admin' }),
  signal: ({ token }) => providerNamed('SignalReceiver').logout(token),
  cleanup: () => cleanup.run(),
};

process.on('message', async ({ operation, killBefore, ...given }) => {
  Object.assign(countdown, { statements: [], killBefore });
  await OPERATIONS[operation](given);
  process.send({ statements: countdown.statements }, () => process.exit(0));
});
process.send('ready');
