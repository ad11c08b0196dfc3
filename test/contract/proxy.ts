import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { TestDatabase } from '../helpers/databases.js';

/** A TCP proxy to a database, which a test can cut and mend while processes use it. */
export interface Proxy {
  /** The database, with a URL that leads through the proxy. */
  readonly database: TestDatabase;
  /** Ends every connection and refuses new ones. */
  cut(): void;
  /** Accepts connections but forwards no data, like a network that loses every packet. */
  freeze(): void;
  /** Holds data back, like a server that is frozen. `mend` forwards it, that of each connection in one piece. */
  stall(): void;
  /** Forwards data again. */
  mend(): void;
  close(): Promise<void>;
}

/** Starts a proxy to a database server. */
export async function openProxy(database: TestDatabase): Promise<Proxy> {
  const target = new URL((database.options as { url: string }).url);
  const sockets = new Set<Socket>();
  let state: 'open' | 'cut' | 'frozen' = 'open';
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
  };
  const endAll = () => sockets.forEach((socket) => socket.destroy());
  const server = createServer((client) => {
    keep(client);
    if (state === 'cut') return client.destroy();
    const upstream = connect(Number(target.port), target.hostname);
    keep(upstream);
    client.on('data', (data) => void (state === 'open' && upstream.write(data))).on('close', () => upstream.destroy());
    upstream.on('data', (data) => void (state === 'open' && client.write(data))).on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(target);
  url.port = String((server.address() as AddressInfo).port);
  const options = { ...database.options, url: url.href } as TestDatabase['options'];
  return {
    database: { ...database, options },
    cut: () => {
      state = 'cut';
      endAll();
    },
    freeze: () => void (state = 'frozen'),
    stall: () => sockets.forEach((socket) => socket.pause()),
    mend: () => {
      state = 'open';
      for (const socket of sockets) {
        if (socket.isPaused()) socket.read();
        socket.resume();
      }
    },
    close: async () => {
      endAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
