/** Serves files and the sample application from one origin, as a proxy would. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, request as sendRequest } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'dist-app/main.js');
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/**
 * Starts the built sample application, and a server in front of it.
 * @param folder what is served outside of `/api`
 * @throws if the application has not been built, or does not start
 */
export async function serveWithApplication(folder) {
  const application = await startApplication();
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname.startsWith('/api/')) pass(request, response, application.port);
    else serveFile(folder, pathname, response);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    url: `http://localhost:${server.address().port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      application.child.kill();
      await application.ended;
    },
  };
}

async function startApplication() {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} does not exist. Run: npm run build && npm run build:app`);
  const env = { PATH: process.env.PATH, PORT: '0' };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  let printed = '';
  const port = new Promise((listening) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        printed += String(chunk);
        const [, found] = /listens on http:\/\/\S+:(\d+)/.exec(printed) ?? [];
        if (found) listening(found);
      });
  });
  const failed = ended.then(() => {
    throw new Error(`the sample application did not start:\n${printed}`);
  });
  failed.catch(() => undefined);
  return { child, ended, port: await Promise.race([port, failed]) };
}

function pass(request, response, port) {
  const { method, url, headers } = request;
  const upstream = sendRequest({ host: '127.0.0.1', port, method, path: url, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    answer.pipe(response);
  });
  upstream.on('error', () => response.writeHead(502).end());
  request.pipe(upstream);
}

function serveFile(folder, pathname, response) {
  const file = join(folder, pathname.endsWith('/') ? `${pathname}index.html` : pathname);
  if (!file.startsWith(folder + sep) || !existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' });
  return response.end(readFileSync(file));
}
