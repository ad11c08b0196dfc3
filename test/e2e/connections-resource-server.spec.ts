import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { SessionService } from 'nestjs-multisession';
import {
  type CloseReason,
  ResourceServerHealthIndicator,
  ResourceServerModule,
  SessionConnections,
  TokenNotValidError,
  UnavailableError,
} from 'nestjs-multisession/resource-server';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { until } from '../helpers/until.js';

const BACKEND_KEY = 'the backend key of the services';
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** Passes connections on to a port, until it is cut. */
class Relay {
  private readonly sockets = new Set<Socket>();
  private constructor(private readonly server: Server) {}

  static async to(port: number): Promise<Relay> {
    const server = createServer((client) => {
      const target = connect(port, '127.0.0.1');
      for (const socket of [client, target]) {
        relay.sockets.add(socket.on('error', () => undefined));
        socket.on('close', () => [client, target].forEach((one) => one.destroy()));
      }
      client.pipe(target).pipe(client);
    });
    const relay = new Relay(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return relay;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  cut(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

describe('SessionConnections in a service without the database', () => {
  let issuer: TestApp;
  let relay: Relay;
  let service: INestApplication;
  let connections: SessionConnections;

  beforeAll(async () => {
    issuer = await startApp({
      options: {
        jwt: { keys: [{ algorithm: 'ES256', privateKey }], issuer: 'tests', audience: ['notes'] },
        backendKeys: BACKEND_KEY,
        policies: {
          LONG: { refreshTokenLifetime: '30d' },
          BRIEF: { refreshTokenLifetime: '30d', accessTokenLifetime: '3s' },
        },
        revocation: { pollInterval: '100ms' },
      },
    });
    relay = await Relay.to(Number(new URL(issuer.url).port));
    const moduleRef = await Test.createTestingModule({
      imports: [
        ResourceServerModule.forRoot({
          issuer: `http://127.0.0.1:${relay.port}/api/session`,
          backendKey: BACKEND_KEY,
          audience: 'notes',
          maxStaleness: '4s',
        }),
      ],
    }).compile();
    service = await moduleRef.createNestApplication({ logger: false }).init();
    connections = service.get(SessionConnections);
    const health = service.get(ResourceServerHealthIndicator);
    await until(() => health.check('sessions').sessions.status === 'up');
  });
  afterAll(async () => {
    await service?.close();
    relay?.cut();
    await issuer?.close();
  });

  async function open(access: string) {
    const reasons: CloseReason[] = [];
    const connection = await connections.open({ headers: bearer(access) }, (reason) => reasons.push(reason));
    return { connection, reasons };
  }

  test('closes a connection when its session has ended in the issuer', async () => {
    const [ended, kept] = [await issuer.login(), await issuer.login()];
    const [first, second] = [await open(ended.access), await open(kept.access)];
    await issuer.get(SessionService).destroy(ended.session_id);
    await until(() => first.reasons.length > 0);
    expect([first.reasons, second.reasons]).toEqual([['ended'], []]);
    await expect(open(ended.access)).rejects.toBeInstanceOf(TokenNotValidError);
    second.connection.leave();
    expect(connections.size).toBe(0);
  });

  test('keeps a connection through a refresh, and closes it when its token expires', async () => {
    const { access, refresh } = await issuer.login({ session: 'BRIEF' });
    const [renewed, expiring] = [await open(access), await open(access)];
    const { access: next } = await issuer.get(SessionService).refresh(refresh);
    const { expiresAt } = await renewed.connection.renew(next);
    await until(() => expiring.reasons.length > 0);
    expect(expiring.reasons).toEqual(['expired']);
    await until(() => renewed.reasons.length > 0);
    expect(Date.now()).toBeGreaterThanOrEqual(expiresAt * 1000 - 1000);
    expect(renewed.reasons).toEqual(['expired']);
  });

  test('closes all connections once it may have missed an ending', async () => {
    const { access } = await issuer.login();
    const { reasons } = await open(access);
    const since = performance.now();
    relay.cut();
    await until(() => reasons.length > 0);
    expect(reasons).toEqual(['unavailable']);
    expect(performance.now() - since).toBeGreaterThan(1000);
    await expect(open(access)).rejects.toBeInstanceOf(UnavailableError);
    expect(connections.size).toBe(0);
  });
});
