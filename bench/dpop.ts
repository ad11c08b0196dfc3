import { fork } from 'node:child_process';
import { createHash, generateKeyPairSync, randomUUID, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { fileURLToPath } from 'node:url';
import { SessionService } from 'nestjs-multisession';
import { ours } from './guard-app.js';
import { type AdapterName, listen } from './guard-route.js';
import { median, say, sayTarget, sayTitle, table } from './report.js';
import { USER_ID } from './session-app.js';

/**
 * Compares guarded requests with and without a DPoP proof (ES256): `node dist-bench/bench/dpop.js`. The response time is what
 * a user waits for, measured with one request at a time. The CPU time of the server is what an operator pays for, measured
 * with `CONCURRENCY` requests at once. It includes at least one check of a signature, which this program measures by itself.
 * The client is a process of its own and signs all proofs in advance.
 */
const MAX_RATIO = 2.5;
const ROUNDS = 7;
const REQUESTS = 3000;
const CONCURRENCY = 16;

/** What the client process is asked to do: prepare the requests, or send them. */
interface Order {
  readonly url: string;
  readonly token: string;
  /** The nonce of the proofs. Undefined for bearer tokens. */
  readonly nonce?: string;
}

/** Sends the prepared requests, so many at once. */
interface Send {
  readonly concurrency: number;
}

interface Sent {
  readonly refused: number;
  /** Median response time in microseconds. */
  readonly responseTime: number;
}

type Kind = 'plain' | 'bound';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });

if (process.send) serveAsClient();
else {
  say(`OpenSSL checks an ES256 signature in ${signatureCheck().toFixed(0)} µs on this machine.`);
  for (const adapter of ['express', 'fastify'] as const) await compare(adapter);
}

/** @returns the CPU time of one check of a signature by Node, in microseconds */
function signatureCheck(): number {
  const text = Buffer.alloc(400);
  const signature = sign('sha256', text, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const before = process.cpuUsage();
  for (let count = 0; count < REQUESTS; count++)
    verify('sha256', text, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / REQUESTS;
}

async function compare(adapter: AdapterName): Promise<void> {
  sayTitle(`A guarded route with DPoP on ${adapter}`);
  const { app, url } = await listen(
    ours({ type: 'better-sqlite3', database: ':memory:' }, { binding: 'prefer' }),
    adapter,
  );
  const client = fork(fileURLToPath(import.meta.url));
  const ask = async (order: Order | Send): Promise<unknown> => {
    client.send(order);
    const [answer] = (await once(client, 'message')) as [unknown];
    return answer;
  };
  try {
    const [thumbprint] = (await once(client, 'message')) as [string];
    const sessions = app.get(SessionService);
    const plain = await sessions.create(USER_ID, { type: 'LONG' });
    const bound = await sessions.create(USER_ID, { type: 'LONG', proof: { kind: 'dpop', thumbprint } });
    const send = async (kind: Kind, concurrency: number): Promise<{ cpu: number; responseTime: number }> => {
      const token = (kind === 'plain' ? plain : bound).access;
      await ask({ url, token, nonce: kind === 'bound' ? await nonceOf(url, token) : undefined });
      const before = process.cpuUsage();
      const { refused, responseTime } = (await ask({ concurrency })) as Sent;
      const { user, system } = process.cpuUsage(before);
      if (refused !== 0) throw new Error(`${kind}: ${refused} requests were refused`);
      return { cpu: (user + system) / REQUESTS, responseTime };
    };
    const cpu: Record<Kind, number[]> = { plain: [], bound: [] };
    const responseTimes: Record<Kind, number[]> = { plain: [], bound: [] };
    for (let round = 0; round <= ROUNDS; round++) {
      for (const kind of ['plain', 'bound'] as const) {
        const atOnce = await send(kind, CONCURRENCY);
        const inTurn = await send(kind, 1);
        // The first round warms up.
        if (round === 0) continue;
        cpu[kind].push(atOnce.cpu);
        responseTimes[kind].push(inTurn.responseTime);
      }
    }
    const row = (label: string, kind: Kind) => [
      label,
      median(responseTimes[kind]).toFixed(0),
      median(cpu[kind]).toFixed(0),
    ];
    say(
      table(
        ['', 'response time, in µs', 'CPU time of the server, in µs'],
        [row('bearer token', 'plain'), row('DPoP, ES256', 'bound')],
      ),
    );
    const ratio = (of: typeof cpu) => median(of.bound) / median(of.plain);
    sayTarget('Response time with DPoP, relative to a bearer token', MAX_RATIO, ratio(responseTimes), 'at most');
    sayTarget('CPU time with DPoP, relative to a bearer token', MAX_RATIO, ratio(cpu), 'at most');
  } finally {
    client.kill();
    await app.close();
  }
}

/** A proof without a nonce is refused with one. */
async function nonceOf(url: string, token: string): Promise<string> {
  const headers = { authorization: `DPoP ${token}`, dpop: proofFor(url, token) };
  return (await fetch(url, { headers })).headers.get('dpop-nonce') ?? '';
}

function proofFor(url: string, token: string, nonce?: string): string {
  const ath = createHash('sha256').update(token).digest('base64url');
  const parts = [
    { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } },
    { jti: randomUUID(), htm: 'GET', htu: url, iat: Math.floor(Date.now() / 1000), ath, nonce },
  ];
  const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}

function serveAsClient(): void {
  const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY });
  let prepared: { url: string; headers: Record<string, string> }[] = [];
  process.on('message', (order: Order | Send) => {
    if ('concurrency' in order) void sendAll(prepared, agent, order).then((sent) => process.send?.(sent));
    else {
      const { url, token, nonce } = order;
      const headers = (): Record<string, string> =>
        nonce === undefined
          ? { authorization: `Bearer ${token}` }
          : { authorization: `DPoP ${token}`, dpop: proofFor(url, token, nonce) };
      prepared = Array.from({ length: REQUESTS }, () => ({ url, headers: headers() }));
      process.send?.('ready');
    }
  });
  process.send?.(createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url'));
}

async function sendAll(
  requests: readonly { url: string; headers: Record<string, string> }[],
  agent: Agent,
  { concurrency }: Send,
): Promise<Sent> {
  let [next, refused] = [0, 0];
  const responseTimes: number[] = [];
  const sender = async () => {
    while (next < requests.length) {
      const { url, headers } = requests[next++];
      const startedAt = performance.now();
      const status = await new Promise<number>((resolve, reject) => {
        request(url, { agent, headers }, (response) => {
          response.resume().on('end', () => resolve(response.statusCode ?? 0));
        })
          .on('error', reject)
          .end();
      });
      responseTimes.push((performance.now() - startedAt) * 1000);
      if (status !== 200) refused++;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, sender));
  return { refused, responseTime: median(responseTimes) };
}
