// A process that uses a build of the library, and does what `library-process.ts` asks of it.
// LIBRARY_PROCESS names the folder of the build, the database and the options.
import 'reflect-metadata';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule, getDataSourceToken } from '@nestjs/typeorm';

const { build, database, options, static: more, migrate, redis } = JSON.parse(process.env.LIBRARY_PROCESS);
const load = (file) => import(pathToFileURL(join(build, 'dist', file)).href);
const library = await load('index.js');
const { multiSessionMigrations } = await load('migrations/index.js');
if (redis) options.revocation.push = await redisPushOf(redis);

/** Makes the push over Redis that `redis` describes. */
async function redisPushOf({ kind, name, ports, channel }) {
  const [{ redisPush }, { createClient, createCluster, createSentinel }] = await Promise.all([
    load('redis/index.js'),
    import('redis'),
  ]);
  const nodes = ports.map((port) => ({ host: '127.0.0.1', port }));
  const client = {
    plain: () => createClient({ url: `redis://127.0.0.1:${ports[0]}` }),
    sentinel: () => createSentinel({ name, sentinelRootNodes: nodes, replicaPoolSize: 1 }),
    cluster: () => createCluster({ rootNodes: nodes.map((socket) => ({ socket })) }),
  }[kind]();
  return redisPush({ client, channel });
}

/** Logins that wait until they are released, by their names. */
const held = new Map();

/** The server of sockets, once it is open. */
let socketServer;

/** Everybody exists, with the password 'right'. */
class Users extends library.UserAuthenticator {
  async authenticate({ username, password, hold }) {
    if (hold !== undefined) {
      const released = new Promise((resolve) => held.set(hold, resolve));
      process.send({ held: hold });
      await released;
    }
    return password === 'right' ? { id: username } : null;
  }
  findActive(id) {
    return Promise.resolve({ id });
  }
}

class AppModule {}
Module({
  imports: [
    TypeOrmModule.forRoot({
      ...database,
      entities: [...library.MULTI_SESSION_ENTITIES],
      migrations: [...multiSessionMigrations],
      migrationsRun: migrate,
      retryAttempts: 0,
    }),
    library.MultiSessionModule.forRoot({ ...options, ...more, authenticator: { useClass: Users } }),
  ],
})(AppModule);

const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
const [sessions, cleanup, events] = [
  app.get(library.SessionService),
  app.get(library.SessionCleanup),
  app.get(library.SessionEvents),
];

const emitted = [];
for (const name of ['session.ended', 'refresh.reused', 'refresh.replayed', 'refresh.recovered', 'login.new-device'])
  events.on(name, ({ session, reason }) => emitted.push({ name, sessionId: session.id, reason }));

const issued = ({ session, access, refresh }) => ({ sessionId: session.id, access, refresh });

const CALLS = {
  login: async ({ user, type, hold, ...given }) =>
    issued(await sessions.login({ username: user, password: 'right', hold }, { type, ...given })),
  /** Lets a login that is held go on. */
  release: ({ hold }) => {
    held.get(hold)();
    held.delete(hold);
  },
  create: async ({ user, type, ...given }) => issued(await sessions.create(user, { type, ...given })),
  /** Prepares a session in a transaction of the application, and issues it after the commit. */
  prepare: async ({ user, type, delay = 0 }) => {
    const prepared = await app
      .get(getDataSourceToken())
      .transaction((manager) => sessions.prepare(user, { type }, manager));
    await sleep(delay);
    return issued(await prepared.issue());
  },
  refresh: async ({ refresh, type }) => issued(await sessions.refresh(refresh, { type })),
  verify: async ({ access }) => await sessions.verify(access),
  list: async ({ user }) => {
    const listed = await sessions.list(user);
    const all = Array.isArray(listed) ? listed.flatMap((list) => list.sessions) : listed.sessions;
    return all.map(({ id, type, data, claims }) => ({ id, type, data, claims }));
  },
  getData: ({ sessionId }) => sessions.getData(sessionId),
  mergeData: ({ sessionId, patch }) => sessions.mergeData(sessionId, patch),
  reauthenticate: async ({ access, user, hold }) =>
    issued(await sessions.reauthenticate(await sessions.verify(access), { username: user, password: 'right', hold })),
  logout: ({ refresh }) => sessions.logout(refresh),
  destroy: ({ sessionId }) => sessions.destroy(sessionId),
  destroyAll: ({ user, ...given }) => sessions.destroyAll(user, given),
  destroyOthers: ({ user, sessionId }) => sessions.destroyOthers(user, sessionId),
  endAll: () => app.get(library.SessionAdministration).endAll(),
  endAllProgress: () => app.get(library.SessionAdministration).endAllProgress(),
  cleanup: () => cleanup.run(),
  query: ({ sql, parameters }) => app.get(getDataSourceToken()).query(sql, parameters),
  takeEvents: () => emitted.splice(0),
  listen: async () => {
    const { openSocketServer } = await import('./socket-server.mjs');
    socketServer = await openSocketServer(app, library);
    return socketServer.port;
  },
  statistics: (given) => socketServer.statistics(given),
  stop: () => app.close(),
};

process.on('message', async ({ id, call, given }) => {
  let answer;
  try {
    answer = { status: 200, body: (await CALLS[call](given)) ?? null };
  } catch (error) {
    const isRefusal = typeof error.getStatus === 'function';
    answer = isRefusal
      ? { status: error.getStatus(), body: { code: error.code, message: error.message } }
      : { status: 500, body: { code: error.name, message: error.message } };
  }
  process.send({ id, ...answer });
});
process.send('ready');
