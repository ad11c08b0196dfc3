import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { generateKeyPairSync } from 'node:crypto';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { EventAdministration, type MultiSessionConfigurationError, SessionService } from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { SessionDeliveryEntity } from '../../lib/outbox/session-delivery.entity.js';
import { SessionEventEntity } from '../../lib/outbox/session-event.entity.js';
import { SessionEntity } from '../../lib/session/session.entity.js';
import { SessionCleanup } from '../../lib/session/cleanup.js';
import { bearer, startApp, type TestApp } from '../helpers/app.js';
import { type Inbox, startInbox, until } from '../helpers/event-inbox.js';
import { CAEP } from '../helpers/identity-provider.js';
import { onEachAdapter } from '../helpers/matrix.js';

const ISSUER = 'https://issuer.example';
const AUDIENCE = 'https://receiver.example/caep';
const privateKey = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
}).privateKey;
// The audience of access tokens is another one, and security events must not have it.
const jwt = { keys: [{ privateKey, algorithm: 'RS256' as const }], issuer: ISSUER, audience: 'notes' };
const stream = (url: string, more: object = {}) => ({
  ...{ name: 'partner', url, audience: AUDIENCE, authorization: 'Bearer of-the-stream', allowPrivateNetwork: true },
  ...more,
});

describe('a stream', () => {
  let inbox: Inbox;
  let app: TestApp;
  let sessions: SessionService;

  beforeAll(async () => {
    inbox = await startInbox();
    const streams = [stream(inbox.url, { events: ['session.ended', 'session.created'] })];
    app = await startApp({ options: { jwt, events: { streams } } });
    sessions = app.get(SessionService);
  });
  afterAll(async () => {
    await app.close();
    await inbox.close();
  });
  beforeEach(() => {
    Object.assign(inbox, { status: 202, content: undefined });
    inbox.received.length = 0;
  });

  const verify = (token: string) =>
    jwtVerify(token, createRemoteJWKSet(new URL(`${app.url}/api/session/jwks.json`)), {
      ...{ issuer: ISSUER, audience: AUDIENCE, typ: 'secevent+jwt', algorithms: ['RS256'] },
    });
  const isDelivered = async () => (await app.get(DataSource).manager.count(SessionDeliveryEntity)) === 0;

  test('pushes the begin and the end of a session as security events', async () => {
    const { session } = await sessions.create('alice', { type: 'LONG', amr: ['hwk'] });
    await sessions.destroy(session.id, { reason: 'admin', by: 'carol' });
    await until(() => inbox.received.length === 2);
    const [established, revoked] = await Promise.all(inbox.received.map(({ raw }) => verify(raw)));
    for (const { headers } of inbox.received)
      expect(headers).toMatchObject({
        'content-type': 'application/secevent+jwt',
        accept: 'application/json',
        authorization: 'Bearer of-the-stream',
      });
    expect(revoked.payload).toEqual({
      ...{ iss: ISSUER, aud: AUDIENCE, iat: expect.any(Number), jti: expect.any(String), txn: revoked.payload.jti },
      sub_id: {
        format: 'complex',
        session: { format: 'opaque', id: session.id },
        user: { format: 'iss_sub', iss: ISSUER, sub: 'alice' },
      },
      events: {
        [`${CAEP}/session-revoked`]: {
          event_timestamp: expect.any(Number),
          initiating_entity: 'admin',
          reason_admin: { en: 'An administrator ended the session.' },
        },
      },
    });
    expect(established.payload.events).toEqual({
      [`${CAEP}/session-established`]: {
        ...{ event_timestamp: expect.any(Number), initiating_entity: 'user', amr: ['hwk'] },
      },
    });
    expect(Math.abs(Number(revoked.payload.iat) * 1000 - Date.now())).toBeLessThan(60_000);
  });

  test('sends the same id again until the receiver accepts the event', async () => {
    Object.assign(inbox, { status: 400, content: '{"err":"invalid_audience","description":"a secret"}' });
    const { session } = await sessions.create('alice', { type: 'LONG' });
    const repository = app.get(DataSource).getRepository(SessionDeliveryEntity);
    await until(async () => (await repository.countBy({ attempts: 1 })) > 0);
    expect((await repository.findOneByOrFail({ queue: session.id, attempts: 1 })).error).toBe(
      'answered 400 (invalid_audience)',
    );
    Object.assign(inbox, { status: 202, content: undefined });
    await repository.update({ queue: session.id }, { nextAt: new Date(0) });
    await until(isDelivered);
    const ids = await Promise.all(inbox.received.map(async ({ raw }) => (await verify(raw)).payload.jti));
    expect([ids.length, new Set(ids).size]).toEqual([2, 1]);
    expect(await app.get(EventAdministration).status()).toMatchObject({
      destinations: [{ name: 'stream:partner', waiting: 0 }],
    });
  });

  test('does not send that a session has expired', async () => {
    const { session } = await sessions.create('alice', { type: 'LONG' });
    await until(() => inbox.received.length === 1);
    const { manager } = app.get(DataSource);
    const past = new Date(Date.now() - 60_000);
    await manager.update(SessionEntity, session.id, { expiresAt: past, cleanupAt: past });
    await app.get(SessionCleanup).run();
    await until(
      async () => (await manager.countBy(SessionEventEntity, { sessionId: session.id, name: 'session.ended' })) === 1,
    );
    await until(
      async () =>
        (await manager.findOneByOrFail(SessionEventEntity, { sessionId: session.id, name: 'session.ended' }))
          .deliveredAt !== null,
    );
    await until(isDelivered);
    expect(inbox.received.length).toBe(1);
  });

  test('a security event is not an access token or a refresh token of ours', async () => {
    await sessions.create('alice', { type: 'LONG' });
    await until(() => inbox.received.length === 1);
    const [{ raw }] = inbox.received;
    expect((await app.request('GET', '/api/session/sessions', { headers: bearer(raw) })).status).toBe(401);
    await expect(sessions.refresh(raw)).rejects.toMatchObject({ status: 401 });
    expect(await sessions.introspect(raw)).toBeNull();
  });
});

onEachAdapter((databaseName, adapter) => {
  let apps: TestApp[] = [];
  afterEach(async () => {
    for (const app of apps) await app.close();
    apps = [];
  });

  test('an end at one application ends the sessions that began with it at another one', async () => {
    const receiverUrl = { url: '' };
    const inbox = await startInbox();
    // The receiver needs the URL of the transmitter's keys, and the transmitter that of the receiver: the inbox passes events on.
    inbox.answer = async ({ headers, raw }) => {
      const { authorization = '', 'content-type': type = '' } = headers;
      return (
        await fetch(receiverUrl.url, { method: 'POST', headers: { authorization, 'content-type': type }, body: raw })
      ).status;
    };
    const transmitter = await startApp({ options: { jwt, events: { streams: [stream(inbox.url)] } } });
    apps.push(transmitter);
    const provider = {
      ...{ issuer: ISSUER, jwksUri: `${transmitter.url}/api/session/jwks.json` },
      securityEvents: { audience: AUDIENCE, authorization: 'Bearer of-the-stream' },
    };
    const receiver = await startApp({
      databaseName,
      adapter,
      options: { signals: true, identityProviders: [provider] },
    });
    apps.push(receiver);
    receiverUrl.url = `${receiver.url}/api/session/signals/events`;

    const [one, two] = await Promise.all(
      ['1', '2'].map(() => transmitter.get(SessionService).create('alice', { type: 'LONG' })),
    );
    const startAt = (sid: string) =>
      receiver
        .get(SessionService)
        .create('local-alice', { type: 'LONG', provider: { issuer: ISSUER, subject: 'alice', sid } });
    const [local, other] = [await startAt(one.session.id), await startAt(two.session.id)];
    await transmitter.get(SessionService).logout(one.refresh);
    await until(() => inbox.received.length === 1);
    const statusOf = async ({ access }: { access: string }) =>
      (await receiver.request('GET', '/api/session/sessions', { headers: bearer(access) })).status;
    await until(async () => (await statusOf(local)) === 401);
    expect(await statusOf(other)).toBe(200);
    await inbox.close();
  });
});

describe('the options', () => {
  const faultsOf = async (options: object) => {
    const started = startApp({ options });
    return started.then(
      async (app) => (await app.close(), 'started'),
      (error: unknown) => (error as MultiSessionConfigurationError).faults.join('\n'),
    );
  };
  const good = { name: 'x', url: 'https://partner.example', audience: 'x' };

  test.each([
    ['no issuer', { jwt: { ...jwt, issuer: undefined }, events: { streams: [good] } }, /needs jwt.issuer/],
    ['a secret to sign with', { events: { streams: [good] } }, /needs a key with a public part/],
    ['http', { jwt, events: { streams: [{ ...good, url: 'http://partner.example' }] } }, /https:\/\//],
    ['no audience', { jwt, events: { streams: [{ ...good, audience: undefined }] } }, /audience: is missing/],
    ['other events', { jwt, events: { streams: [{ ...good, events: 'login.failed' }] } }, /may only have/],
    ['two with one name', { jwt, events: { streams: [good, good] } }, /different names/],
    [
      'a header with a line break',
      { jwt, events: { streams: [{ ...good, authorization: 'a\nb' }] } },
      /characters of a header/,
    ],
  ])('%s stops the start', async (_, options, fault) => {
    expect(await faultsOf(options)).toMatch(fault);
  });
});
