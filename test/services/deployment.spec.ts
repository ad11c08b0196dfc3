import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { validate } from 'dockerfile-utils';
import { DataSource } from 'typeorm';
import { selfSigned } from '../helpers/browser.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { type SampleApp, SAMPLE_SECRET_KEY, startSampleApp } from '../helpers/sample-app.js';
import { until } from '../helpers/until.js';
import { launchNginx, Member } from './fleet.js';
import { freePort } from '../helpers/free-port.js';

/** The files and steps of docs/deployment.md, with two processes of the sample application. */
const FILES = 'examples/deployment';
const USERS = Array.from({ length: 12 }, (_, at) => `user-${at}`).map((username) => ({
  username,
  password: `${username}-password`,
  active: true,
}));

const loginOf = ({ username, password } = USERS[0]) => ({
  username,
  password,
  secret_key: SAMPLE_SECRET_KEY,
  session: 'LONG',
});

describe('the files of the deployment', () => {
  test('have no fault that a linter knows', () => {
    expect(validate(readFileSync(`${FILES}/Dockerfile`, 'utf8'))).toEqual([]);
    const linter = spawnSync(process.execPath, ['node_modules/.bin/dclint', `${FILES}/compose.yaml`], {
      encoding: 'utf8',
    });
    expect([linter.status, linter.stdout]).toEqual([0, expect.not.stringMatching(/warning|error/)]);
  });
});

describe('two processes behind nginx', () => {
  const folder = mkdtempSync(join(tmpdir(), 'deployment-'));
  const blocks = folderForBlocks();
  const { key, cert } = selfSigned();
  const agent = new Agent({ keepAlive: true, ca: cert, checkServerIdentity: () => undefined });
  let database: TestDatabase;
  let variables: Record<string, string>;
  let ports: string[];
  let apps: SampleApp[];
  let nginx: Member;
  let secure: number;

  const start = (at: number) => startSampleApp({ ...variables, PORT: ports[at] });

  beforeAll(async () => {
    database = await createDatabase('postgres');
    const { url } = database.options as { url: string };
    variables = {
      DATABASE_URL: url,
      TRUST_PROXY: '1',
      THROTTLE: 'off',
      METRICS: 'on',
      DEMO_USERS: JSON.stringify(USERS),
    };
    const [first, second, plain, https] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    ports = [String(first), String(second)];
    secure = https;
    writeFileSync(join(folder, 'cert.pem'), cert);
    writeFileSync(join(folder, 'key.pem'), key);
    const servers = readFileSync(`${FILES}/nginx.conf`, 'utf8')
      .replace('app-1:3000', `127.0.0.1:${first}`)
      .replace('app-2:3000', `127.0.0.1:${second}`)
      .replace('listen 80;', `listen 127.0.0.1:${plain};`)
      .replace('listen 443 ssl', `listen 127.0.0.1:${https} ssl`)
      .replaceAll('/etc/nginx/tls', folder);
    nginx = new Member('nginx', plain, () => launchNginx(folder, servers), '/');
  });
  afterAll(async () => {
    agent.destroy();
    await nginx?.kill();
    for (const app of apps ?? []) await app.stop();
    await database?.drop();
    for (const each of [folder, blocks]) rmSync(each, { recursive: true, force: true, maxRetries: 20 });
  });

  test('the migrations run as a step of their own', async () => {
    process.env.DATABASE_URL = variables.DATABASE_URL;
    try {
      await importBlock(blocks, 'docs/deployment.md', 'data-source.ts');
      await importBlock(blocks, 'docs/deployment.md', 'migrate.ts');
    } finally {
      delete process.env.DATABASE_URL;
    }
    const own = await new DataSource(database.options).initialize();
    const isMigrated = () =>
      own.query('SELECT * FROM session_signal').then(
        () => true,
        () => false,
      );
    await until(isMigrated).finally(() => own.destroy());
  });

  test('serve HTTPS only, hide what is not public, and know the address of the client', async () => {
    apps = [await start(0), await start(1)];
    await nginx.start();
    const plain = await nginx.ask('/me', { redirect: 'manual' });
    expect([plain.status, plain.headers.get('location')]).toEqual([301, expect.stringMatching(/^https:.*\/me$/)]);
    expect((await send('GET', '/health')).status).toBe(404);
    expect((await send('GET', '/metrics')).status).toBe(404);
    expect((await fetch(`${apps[0].url}/metrics`)).status).toBe(200);
    const login = await send('POST', '/api/session/login', loginOf(), { 'x-forwarded-for': '198.51.100.7' });
    const { access } = login.body as { access: string };
    const list = await send('GET', '/api/session/sessions', undefined, { authorization: `Bearer ${access}` });
    expect(list).toMatchObject({ status: 200, body: [{ ip_address: '127.0.0.1' }] });
    // The browser's own origin passes the CSRF check, although nginx stands between.
    const fromPage = { 'x-session-transport': 'cookie', origin: `https://127.0.0.1:${secure}` };
    expect((await send('POST', '/api/session/login', loginOf(), fromPage)).status).toBe(200);
    const elsewhere = { ...fromPage, origin: 'https://evil.example' };
    expect((await send('POST', '/api/session/login', loginOf(), elsewhere)).status).toBe(403);
  });

  test('are replaced one after the other without an error for any client', async () => {
    const seen: Record<string, number> = {};
    let isOver = false;
    const ask = async (...given: Parameters<typeof send>) => {
      const answer = await send(...given).catch((error: Error) => ({ status: error.message, body: {} }));
      const name = `${given[0]} ${given[1]}: ${answer.status}`;
      seen[name] = (seen[name] ?? 0) + 1;
      return answer.body as { access: string; refresh: string };
    };
    const client = async (user: (typeof USERS)[number]) => {
      while (!isOver) {
        const { access, refresh } = await ask('POST', '/api/session/login', loginOf(user));
        await ask('GET', '/api/session/sessions', undefined, { authorization: `Bearer ${access}` });
        await ask('POST', '/api/session/refresh', { refresh, session: 'LONG', secret_key: SAMPLE_SECRET_KEY });
      }
    };
    const clients = USERS.map(client);
    const busy = async () => {
      const before = total(seen);
      await until(() => total(seen) > before + 20);
    };
    for (const at of [0, 1]) {
      await busy();
      expect((await apps[at].stop()).code).toBe(0);
      await busy();
      apps[at] = await start(at);
    }
    await busy();
    isOver = true;
    await Promise.all(clients);
    expect(Object.keys(seen).filter((name) => !name.endsWith(': 200'))).toEqual([]);
    expect(seen['POST /api/session/login: 200']).toBeGreaterThan(20);
  });

  /** Sends a request through nginx, on a connection that is kept open. */
  function send(method: string, path: string, body?: object, more: Record<string, string> = {}) {
    return new Promise<{ status: number; body: unknown }>((resolve, reject) => {
      const headers = { 'content-type': 'application/json', ...more };
      const sent = request({ host: '127.0.0.1', port: secure, agent, method, path, headers }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: parsed(text) }));
        answer.on('error', reject);
      });
      sent.on('error', reject).end(body && JSON.stringify(body));
    });
  }
});

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const total = (counts: Record<string, number>) => Object.values(counts).reduce((sum, count) => sum + count, 0);
