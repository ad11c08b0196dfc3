import { connect, Socket } from 'node:net';

/** For how long nothing may come and go on a connection, in milliseconds: more than any lock is waited for. */
const SILENCE = 15_000;

/**
 * Driver options by which a connection that is silent for too long is closed, be it idle or waiting for an answer that a
 * broken network has lost: the kernel would wait a quarter of an hour, and the pool for ever.
 */
export function silentConnectionsClosed(kind: 'postgres' | 'mysql'): object {
  if (kind === 'postgres') return { stream: () => closedInSilence(new Socket()) };
  const open = ({ config }: { config: { host: string; port: number } }) =>
    connect(config.port, config.host).setNoDelay(true);
  return { stream: (options: Parameters<typeof open>[0]) => closedInSilence(open(options)) };
}

function closedInSilence(socket: Socket): Socket {
  return socket.setTimeout(SILENCE, () => socket.destroy(new Error(`the database said nothing for ${SILENCE} ms`)));
}
