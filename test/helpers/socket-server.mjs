// A server of WebSockets whose connections end with their sessions, for a process of `library-child.mjs`.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { WebSocketServer } from 'ws';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

/**
 * Opens the server.
 *
 * @returns its port, and what it has counted
 */
export async function openSocketServer(app, { SessionConnections, SessionEvents }) {
  const connections = app.get(SessionConnections);
  const ended = new Set();
  app.get(SessionEvents).on('session.revoked', ({ sessionId }) => ended.add(sessionId));
  const counts = { handled: 0, handledAfterEnd: 0, refused: 0 };
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  server.on('connection', async (socket, request) => {
    socket.on('error', () => undefined);
    try {
      const connection = await connections.guardWebSocket(socket, request);
      socket.on('message', async (data) => {
        counts.handled++;
        if (ended.has(connection.session.sessionId)) counts.handledAfterEnd++;
        const { token } = JSON.parse(String(data));
        if (token === undefined) return;
        const answer = await connection.renew(token).then(
          () => 'renewed',
          (error) => error.code,
        );
        socket.send(answer);
      });
      socket.send('open');
    } catch (error) {
      counts.refused++;
      socket.close(4401, error.code);
    }
  });
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    port: server.address().port,
    /** The memory is only of interest if it is asked for, because collecting garbage takes long. */
    statistics: ({ withMemory = false }) => {
      if (withMemory) collectGarbage();
      return { ...counts, size: connections.size, sockets: server.clients.size, heap: process.memoryUsage().heapUsed };
    },
  };
}
