// An issuer of the fleet: a process with its own HTTP server, on the build of the library. ISSUER has its settings.
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { MULTI_SESSION_ENTITIES, MultiSessionModule, UserAuthenticator } from '../../dist/index.js';

const { port, database, options, synchronize } = JSON.parse(process.env.ISSUER);

/** Everybody exists, with the password 'right'. */
class Users extends UserAuthenticator {
  async authenticate({ username, password }) {
    return password === 'right' ? { id: username } : null;
  }
  async findActive(id) {
    return { id };
  }
}

class AppModule {}
Module({
  imports: [
    TypeOrmModule.forRoot({ ...database, entities: [...MULTI_SESSION_ENTITIES], synchronize, retryAttempts: 0 }),
    MultiSessionModule.forRoot({ ...options, authenticator: { useClass: Users } }),
  ],
})(AppModule);

const app = await NestFactory.create(AppModule, { logger: ['warn', 'error'] });
app.enableShutdownHooks();
/** How often each route was called. */
const counts = {};
app.use((request, response, next) => {
  const [path] = request.url.split('?');
  if (path === '/counts') return response.json(counts);
  counts[path] = (counts[path] ?? 0) + 1;
  next();
});
await app.listen(port, '127.0.0.1');
process.send?.({ ready: true });
