import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP proxy that plays the address which moves to the new primary at a fail-over. */
export interface SwitchProxy {
  readonly port: number;
  /** Ends every connection, and leads new ones to another port. */
  switchTo(port: number): void;
  close(): Promise<void>;
}

/** Starts a proxy to a port of this machine. */
export async function openSwitchProxy(target: number): Promise<SwitchProxy> {
  const sockets = new Set<Socket>();
  let current = target;
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
  };
  const endAll = () => sockets.forEach((socket) => socket.destroy());
  const server = createServer((client) => {
    const upstream = connect(current, '127.0.0.1');
    for (const socket of [client, upstream]) keep(socket);
    client.pipe(upstream).on('close', () => client.destroy());
    upstream.pipe(client).on('close', () => upstream.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    switchTo: (port) => {
      current = port;
      endAll();
    },
    close: async () => {
      endAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
