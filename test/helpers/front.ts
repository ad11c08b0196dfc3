import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A reverse proxy, whose URL is known before the application has one. */
export interface Front {
  readonly url: string;
  /** Where requests go. */
  target: string;
  close(): Promise<void>;
}

export async function startFront(): Promise<Front> {
  const server = createServer((incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const passed = request(`${front.target}${url}`, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    incoming.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const front: Front = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    target: '',
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return front;
}
