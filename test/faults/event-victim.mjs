// A process that uses the built library, changes sessions, delivers their events, and kills itself before one of
// its statements. EVENT_VICTIM names the database and the file for what it has seen.
import 'reflect-metadata';
import { appendFileSync } from 'node:fs';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  MULTI_SESSION_ENTITIES,
  MultiSessionModule,
  OnSessionEvent,
  SessionNotFoundError,
  SessionService,
} from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { Countdown } from './countdown.mjs';

const { database, log, killBefore, drain = false } = JSON.parse(process.env.EVENT_VICTIM);

const note = (...words) => appendFileSync(log, `${words.join(' ')}\n`);

const countdown = new Countdown();

class Victim {
  see({ id, name, sessionId, reason }) {
    note('delivered', id, name, sessionId, reason);
  }
}
const SEEN = ['session.created', 'session.ended', 'user.revoked', 'refresh.reused', 'refresh.recovered'];
OnSessionEvent(...SEEN)(Victim.prototype, 'see', Object.getOwnPropertyDescriptor(Victim.prototype, 'see'));

const policies = {
  FREE: { refreshTokenLifetime: '1h', reuseGrace: 0 },
  TWO: { refreshTokenLifetime: '1h', maxActiveSessions: 2, whenFull: 'destroy-oldest' },
  ONE: { refreshTokenLifetime: '1h', maxActiveSessions: 1, whenFull: 'refuse' },
};
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
    MultiSessionModule.forRoot({
      jwt: { secret: 'a signing secret of more than thirty-two bytes' },
      secretKey: false,
      policies,
      events: true,
    }),
  ],
  providers: [Victim],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['error'] });
const [sessions, dataSource] = [app.get(SessionService), app.get(DataSource)];
// The process whose turn it was is dead. Do not wait until its lease has passed.
await dataSource.query('UPDATE session_job SET until = 0');

const user = `user-${Math.floor(Math.random() * 5)}`;
const created = async (type) => {
  const issued = await sessions.create(user, { type });
  note('created', issued.session.id);
  return issued;
};
const OPERATIONS = [
  () => created('FREE'),
  () => created('TWO'),
  () => created('ONE').catch(() => undefined),
  async () => {
    const { session, refresh } = await created('FREE');
    await sessions.logout(refresh);
    note('ended', session.id);
  },
  async () => {
    const { session, refresh } = await created('FREE');
    await sessions.refresh(refresh);
    await sessions.refresh(refresh);
    note('recovered', session.id);
  },
  async () => {
    const { session, refresh } = await created('FREE');
    const next = await sessions.refresh(refresh);
    await sessions.refresh(next.refresh);
    await sessions.refresh(refresh).catch(() => undefined);
    note('reused', session.id);
  },
  () => sessions.destroyAll(user),
];
const IN_TRANSACTIONS = [
  async () => {
    const rolledBack = dataSource.transaction(async (manager) => {
      const { id } = await sessions.prepare(user, { type: 'FREE' }, manager);
      note('rolled-back', id);
      throw new RangeError('roll back');
    });
    await rolledBack.catch(() => undefined);
  },
  async () => {
    const prepared = await dataSource.transaction((manager) => sessions.prepare(user, { type: 'TWO' }, manager));
    await prepared.issue();
    note('created', prepared.id);
  },
];

// On SQLite, a transaction of the application shares the connection with those of the library.
if (database.type !== 'better-sqlite3') OPERATIONS.push(...IN_TRANSACTIONS);

/** Another process may have the same user, and end all sessions of that user. */
const isEndedByAnother = (error) => error instanceof SessionNotFoundError && error.reason === 'destroyed';

if (drain) {
  const isIdle = async () => {
    const [[events], [deliveries]] = await Promise.all([
      dataSource.query('SELECT count(*) AS n FROM session_event WHERE delivered_at IS NULL'),
      dataSource.query('SELECT count(*) AS n FROM session_delivery'),
    ]);
    return Number(events.n) + Number(deliveries.n) === 0;
  };
  while (!(await isIdle())) await new Promise((resolve) => setTimeout(resolve, 20));
} else {
  Object.assign(countdown, { statements: [], killBefore });
  for (;;) {
    const operation = OPERATIONS[Math.floor(Math.random() * OPERATIONS.length)];
    await operation().catch((error) => {
      if (!isEndedByAnother(error)) throw error;
    });
  }
}
await app.close();
