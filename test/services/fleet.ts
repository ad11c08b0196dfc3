import { type ChildProcess, fork, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataSourceOptions } from 'typeorm';
import { watch } from '../helpers/log-watch.js';
import { until } from '../helpers/until.js';
import { freePort } from '../helpers/free-port.js';

export const BACKEND_KEY = 'the backend key of the fleet';
const GATEWAYS = 'examples/gateways';

/** Options of each issuer that the tests rely on. Times are short, so that a failure shows soon. */
export const STALENESS = 4000;
const ISSUER_OPTIONS = {
  secretKey: false,
  backendKeys: BACKEND_KEY,
  cookies: true,
  policies: { LONG: { refreshTokenLifetime: '30d' }, BOUND: { refreshTokenLifetime: '30d', binding: 'prefer' } },
  revocation: { pollInterval: '500ms', maxStaleness: '4s', overlap: '30s' },
};

/** Returns options with a key of their own. */
export function issuerOptions(key = newKey()) {
  return { ...ISSUER_OPTIONS, jwt: { keys: [key], audience: ['notes'] } };
}

export function newKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { algorithm: 'ES256', privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
}

/** A process of the fleet, which can be killed, frozen and started again with the same settings. */
export class Member {
  private child?: ChildProcess;
  private output = '';

  /** @param launch starts the process */
  constructor(
    readonly name: string,
    readonly port: number,
    private readonly launch: () => ChildProcess,
    private readonly path: string,
  ) {
    watch.log(name, () => this.output);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What the process has printed. */
  get printed(): string {
    return this.output;
  }

  /** Starts the process. Settles once it answers. */
  async start(): Promise<void> {
    this.child = this.launch();
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (chunk) => (this.output += String(chunk)));
    await until(async () => {
      if (this.child?.exitCode !== null) throw new Error(`${this.name} did not start:\n${this.output}`);
      return (await this.status({}, this.path)) !== undefined;
    });
  }

  /** Returns the status of a request; undefined if there is no answer within two seconds. */
  async status(headers: Record<string, string> = {}, path = '/notes/'): Promise<number | undefined> {
    return (await this.ask(path, { headers, redirect: 'manual' }).catch(() => undefined))?.status;
  }

  ask(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, { ...init, signal: AbortSignal.timeout(2000) });
  }

  async json<T>(path: string, init?: RequestInit): Promise<T> {
    // The process may close an idle connection at the moment at which it is used again.
    const response = await this.ask(path, init).catch(() => this.ask(path, init));
    if (!response.ok) throw new Error(`${this.name} ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  /** Ends the process at once. */
  async kill(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

/** Issuers behind HAProxy, services that verify their tokens, and nginx before a service that does not. */
export class Fleet {
  private readonly folder = mkdtempSync(join(tmpdir(), 'fleet-'));
  readonly issuers: Member[] = [];
  private readonly settings: { options: object }[] = [];
  readonly services: Member[] = [];
  /** Divides the requests of the services and of nginx among the issuers. */
  balancer!: Member;
  nginx?: Member;
  haproxy?: Member;

  /** Starts issuers and the balancer. The first issuer creates the tables. */
  static async start(database: DataSourceOptions, count: number, options: object = issuerOptions()): Promise<Fleet> {
    const fleet = new Fleet();
    for (let at = 0; at < count; at++) {
      const port = await freePort();
      const settings = { port, database, options, synchronize: at === 0 };
      const issuer = new Member(`issuer ${at}`, port, () => node('issuer', 'ISSUER', settings), '/');
      fleet.issuers.push(issuer);
      fleet.settings.push(settings);
      await issuer.start();
    }
    await fleet.startBalancer();
    return fleet;
  }

  get issuerUrl(): string {
    return `${this.balancer.url}/api/session`;
  }

  /** Replaces each issuer with one that has these options, one after the other. */
  async redeploy(options: object): Promise<void> {
    for (const [at, issuer] of this.issuers.entries()) {
      await issuer.kill();
      this.settings[at].options = options;
      await issuer.start();
    }
  }

  /** How often the issuers were asked for this route since they started. */
  async requestsTo(route: string): Promise<number> {
    const counts = this.issuers.map((issuer) => issuer.json<Record<string, number>>('/counts'));
    return (await Promise.all(counts)).reduce((sum, count) => sum + (count[`/api/session/${route}`] ?? 0), 0);
  }

  async addService(kind: 'nest' | 'plain', more: object = {}): Promise<Member> {
    const port = await freePort();
    const options = {
      issuer: this.issuerUrl,
      backendKey: BACKEND_KEY,
      audience: 'notes',
      maxStaleness: STALENESS / 1000,
    };
    const settings = { kind, port, options: { ...options, cookies: true, ...more } };
    const launch = () => node('service', 'SERVICE', settings);
    const service = new Member(`service ${this.services.length} (${kind})`, port, launch, '/health');
    this.services.push(service);
    await service.start();
    return service;
  }

  /** Starts nginx with the configuration of the documentation. */
  async startNginx(notes: number): Promise<Member> {
    const port = await freePort();
    const site = readFileSync(join(GATEWAYS, 'nginx.conf'), 'utf8')
      .replace('127.0.0.1:3000', `127.0.0.1:${this.balancer.port}`)
      .replace('127.0.0.1:3001', `127.0.0.1:${notes}`)
      .replace('listen 8080', `listen 127.0.0.1:${port}`);
    this.nginx = new Member('nginx', port, () => launchNginx(this.folder, site), '/nothing');
    await this.nginx.start();
    return this.nginx;
  }

  /** Starts HAProxy with the configuration of the documentation. */
  async startHaproxy(notes: number): Promise<Member> {
    const [port, inner] = [await freePort(), await freePort()];
    const folder = mkdtempSync(join(this.folder, 'haproxy-'));
    const config = readFileSync(join(GATEWAYS, 'haproxy.cfg'), 'utf8')
      .replace('127.0.0.1:3000', `127.0.0.1:${this.issuers[0].port}`)
      .replace('127.0.0.1:3001', `127.0.0.1:${notes}`)
      .replace('127.0.0.1:8081', `127.0.0.1:${port}`)
      .replace('127.0.0.1:8082', `127.0.0.1:${inner}`);
    const lua = readFileSync(join(GATEWAYS, 'authorize.lua'), 'utf8').replace('8082', String(inner));
    writeFileSync(join(folder, 'haproxy.cfg'), config);
    writeFileSync(join(folder, 'authorize.lua'), lua);
    this.haproxy = new Member('HAProxy', port, () => run('haproxy', ['-C', folder, '-f', 'haproxy.cfg']), '/nothing');
    await this.haproxy.start();
    return this.haproxy;
  }

  async stop(): Promise<void> {
    const members = [this.nginx, this.haproxy, ...this.services, this.balancer, ...this.issuers];
    for (const member of members) await member?.kill();
    // A killed master of nginx leaves its worker for a moment.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20 });
  }

  /** Puts the issuers behind HAProxy, which checks whether they are there. */
  private async startBalancer(): Promise<void> {
    const port = await freePort();
    const servers = this.issuers.map((issuer, at) => `  server issuer${at} 127.0.0.1:${issuer.port}`);
    const config = readFileSync(join(GATEWAYS, 'haproxy.cfg'), 'utf8');
    const [, checks] = /\n {2}(option httpchk[^]*?)\n {2}server issuer/.exec(config) ?? [];
    const file = join(this.folder, 'balancer.cfg');
    const defaults = 'defaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n';
    const frontend = `frontend web\n  bind 127.0.0.1:${port}\n  default_backend issuers\n`;
    const backend = `backend issuers\n  option redispatch\n  ${checks}\n${servers.join('\n')}\n`;
    writeFileSync(file, defaults + frontend + backend);
    this.balancer = new Member('balancer', port, () => run('haproxy', ['-f', file]), '/api/session/jwks.json');
    await this.balancer.start();
  }
}

/** Logs in at an issuer. */
export async function logIn(issuer: Member, username = 'alice', type = 'LONG') {
  const body = JSON.stringify({ username, password: 'right', session: type });
  const headers = { 'content-type': 'application/json' };
  return issuer.json<{ access: string; session_id: string; refresh: string }>('/api/session/login', {
    method: 'POST',
    headers,
    body,
  });
}

/** Ends a session at an issuer. */
export async function end(issuer: Member, { access, session_id: id }: { access: string; session_id: string }) {
  const headers = { authorization: `Bearer ${access}` };
  const response = await issuer.ask(`/api/session/sessions/${id}`, { method: 'DELETE', headers });
  if (response.status !== 204) throw new Error(`end: ${response.status} ${await response.text()}`);
}

/** Starts nginx with the servers of a document, in one process that needs no rights. */
export function launchNginx(folder: string, servers: string): ChildProcess {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  const file = join(folder, 'nginx.conf');
  const main = `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr warn;`;
  const http = `access_log off; ${temporary.join(' ')}\n${servers}`;
  writeFileSync(file, `${main}\nevents {}\nhttp {\n${http}\n}\n`);
  return run('nginx', ['-e', 'stderr', '-p', folder, '-c', file]);
}

function node(script: string, variable: string, settings: object): ChildProcess {
  const env = { PATH: process.env.PATH ?? '', NO_COLOR: '1', [variable]: JSON.stringify(settings) };
  return fork(`test/services/${script}.mjs`, { env, execArgv: [], stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
}

function run(command: string, args: string[]): ChildProcess {
  return spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  });
}
