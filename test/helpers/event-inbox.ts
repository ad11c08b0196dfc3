import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A request that a receiver of events has got. `body` is its JSON. */
export interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly raw: string;
  readonly body: any;
}

/** A server that receives events. It answers with `status`, or as `answer` says. */
export interface Inbox {
  readonly url: string;
  readonly received: Received[];
  status: number;
  headers: Record<string, string>;
  /** The content of its answers. Default: none. */
  content?: string;
  /** Decides on each request, before `status`. Return undefined to use `status`. Never resolves to hang. */
  answer?: (request: Received) => number | undefined | Promise<number | undefined>;
  close(): Promise<void>;
}

export async function startInbox(): Promise<Inbox> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const raw = Buffer.concat(chunks).toString();
      const isJson = request.headers['content-type']?.includes('json');
      const received = { headers: request.headers, raw, body: isJson ? (JSON.parse(raw) as unknown) : undefined };
      inbox.received.push(received);
      void Promise.resolve(inbox.answer?.(received)).then((status) =>
        response.writeHead(status ?? inbox.status, inbox.headers).end(inbox.content),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const inbox: Inbox = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    received: [],
    status: 204,
    headers: {},
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return inbox;
}

/**
 * Waits until `isDone` holds.
 * @throws if it takes more than ten seconds
 */
export async function until(isDone: () => boolean | Promise<boolean>, limit = 10_000): Promise<void> {
  const giveUpAt = Date.now() + limit;
  while (!(await isDone())) {
    if (Date.now() > giveUpAt) throw new Error('waited in vain');
    await sleep(10);
  }
}
