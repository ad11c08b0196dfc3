// A service of the fleet: a process that verifies tokens by the build of the library. SERVICE has its settings.
// It answers like /notes of a real one, and /seen/<session> says when it learned that a session has ended.
import 'reflect-metadata';
import { createServer } from 'node:http';

const { kind, port, options } = JSON.parse(process.env.SERVICE);
const seen = new Map();
const onEnded = (id) => seen.set(id, performance.timeOrigin + performance.now());
const seenAt = (url) => ({ at: seen.get(url.slice('/seen/'.length)) ?? null });

async function startPlain() {
  const { createVerifier, RefusedError } = await import('../../dist/verifier/index.js');
  const verify = await createVerifier(options);
  verify.onEnded(onEnded);
  const server = createServer((request, response) => {
    const answer = (status, headers, body) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify(body));
    };
    if (request.url.startsWith('/seen/')) answer(200, {}, seenAt(request.url));
    else if (request.url === '/health') answer(200, {}, verify.health());
    else
      verify(request)
        .then((session) => answer(200, {}, { userId: session.userId }))
        .catch((error) => {
          if (error instanceof RefusedError) answer(error.status, error.headers, error.body);
          else answer(500, {}, { message: String(error.stack) });
        });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
}

async function startNest() {
  const { Controller, Get, Module, Req, UseGuards } = await import('@nestjs/common');
  const { NestFactory } = await import('@nestjs/core');
  const library = await import('../../dist/resource-server/index.js');
  class NotesController {
    notes(request) {
      return { userId: request.user.userId };
    }
    seen(request) {
      return seenAt(request.url);
    }
    health() {
      return app.get(library.ResourceServerHealthIndicator).check('sessions').sessions;
    }
  }
  const decorate = (name, path, ...more) => {
    const descriptor = Object.getOwnPropertyDescriptor(NotesController.prototype, name);
    Req()(NotesController.prototype, name, 0);
    for (const decorator of [Get(path), ...more]) decorator(NotesController.prototype, name, descriptor);
  };
  decorate('notes', 'notes/', UseGuards(library.JwtAuthGuard));
  decorate('seen', 'seen/:id');
  decorate('health', 'health');
  Controller()(NotesController);
  class AppModule {}
  Module({ imports: [library.ResourceServerModule.forRoot(options)], controllers: [NotesController] })(AppModule);
  const app = await NestFactory.create(AppModule, { logger: ['warn', 'error'] });
  app.get(library.EndedSessions).onEnded(onEnded);
  await app.listen(port, '127.0.0.1');
}

await (kind === 'nest' ? startNest() : startPlain());
process.send?.({ ready: true });
