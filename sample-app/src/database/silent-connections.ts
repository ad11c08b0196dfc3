import { connect, Socket } from 'node:net';

/** Milliseconds of silence after which a connection is closed: longer than any wait for a lock. */
const SILENCE = 15_000;

/**
 * Returns driver options that close a connection after a long silence, even if it is idle. Without them, if the network loses an
 * answer, the kernel waits for a quarter of an hour and the pool forever.
 */
export function silentConnectionsClosed(kind: 'postgres' | 'mysql'): object {
  if (kind === 'postgres') return { stream: () => closedInSilence(new Socket()) };
  const open = ({ config }: { config: { host: string; port: number } }) =>
    connect(config.port, config.host).setNoDelay(true);
  return { stream: (options: Parameters<typeof open>[0]) => closedInSilence(open(options)) };
}

function closedInSilence(socket: Socket): Socket {
  return socket.setTimeout(SILENCE, () => socket.destroy(new Error(`the database has not answered for ${SILENCE} ms`)));
}
