import pg from 'pg';
import { createClient } from 'redis';
import { answerParent } from './child.js';

/** Opens connections until there are so many, or hands over what they have heard. */
export type ListenersQuestion = { readonly open: number } | { readonly heardBy: number };

/** The sessions that so many have heard of, with the time at which the last one did. In milliseconds since 1970. */
export type Heard = readonly (readonly [sessionId: string, at: number])[];

// fan-out.ts starts this script. Each connection stands for one process.
const [url, channel] = JSON.parse(process.argv[2]) as [url: string, channel: string];

const heard = new Map<string, { readonly count: number; readonly last: number }>();
const connections: { close(): Promise<unknown> }[] = [];

/** Reads only what the measurement needs. A process also checks who wrote the message, on its own machine. */
function receive(message: string): void {
  const at = performance.timeOrigin + performance.now();
  for (const [, id] of message.matchAll(/"sessionId":"([^"]+)"/g)) {
    const before = heard.get(id)?.count ?? 0;
    heard.set(id, { count: before + 1, last: at });
  }
}

async function listen(): Promise<void> {
  if (url.startsWith('redis')) {
    const client = createClient({ url });
    await client.connect();
    await client.subscribe(channel, receive);
    connections.push({ close: () => client.close() });
    return;
  }
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  client.on('notification', ({ payload = '' }) => receive(payload));
  await client.query(`LISTEN ${channel}`);
  connections.push({ close: () => client.end() });
}

async function answer(question: ListenersQuestion): Promise<Heard> {
  if ('open' in question) {
    while (connections.length < question.open) await listen();
    heard.clear();
    return [];
  }
  const byAll = [...heard].filter(([, { count }]) => count === question.heardBy);
  return byAll.map(([id, { last }]) => [id, last] as const);
}

answerParent(answer, async () => {
  await Promise.all(connections.map((connection) => connection.close()));
});
