import { generateKeyPairSync } from 'node:crypto';
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { VersioningType } from '@nestjs/common';
import { createRemoteJWKSet, decodeJwt, type JWTPayload, jwtVerify } from 'jose';
import {
  EventAdministration,
  type MultiSessionConfigurationError,
  type MultiSessionModuleOptions,
  SessionHistory,
  SessionService,
} from 'nestjs-multisession';
import { DataSource } from 'typeorm';
import { EventStreams } from '../../lib/outbox/event-streams.js';
import { SessionDeliveryEntity } from '../../lib/outbox/session-delivery.entity.js';
import { SessionEventEntity } from '../../lib/outbox/session-event.entity.js';
import { SessionStreamEntity } from '../../lib/outbox/session-stream.entity.js';
import { SessionStreamSubjectEntity } from '../../lib/outbox/session-stream-subject.entity.js';
import { type Answer, bearer, startApp, type TestApp } from '../helpers/app.js';
import { folderForBlocks, importBlock } from '../helpers/code-block.js';
import { createDatabase, type TestDatabase } from '../helpers/databases.js';
import { type Inbox, startInbox, until } from '../helpers/event-inbox.js';
import { type Front, startFront } from '../helpers/front.js';
import { CAEP } from '../helpers/identity-provider.js';
import { onEachAdapter, onEachDatabaseAndAdapter, onEachSharedDatabase } from '../helpers/matrix.js';

const ISSUER = 'https://issuer.example/tenant';
const AUDIENCE = 'https://receiver.example/caep';
const SSF = 'https://schemas.openid.net/secevent/ssf/event-type';
const [POLLER, OLD_POLLER, PUSHED, CHOOSY, STRANGER] = ['poller', 'old poller', 'pushed', 'choosy', 'stranger'].map(
  (name) => Buffer.from(`the key of the receiver ${name}, for tests`).toString('base64url'),
);
const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const jwt = { keys: [{ privateKey, algorithm: 'RS256' as const }], issuer: ISSUER };
const publicUrl = 'https://app.example/api/session/';
const polled = { name: 'polled', audience: AUDIENCE, receiverKeys: [POLLER, OLD_POLLER] };
const subjectOf = (sub: string) => ({ format: 'iss_sub', iss: ISSUER, sub });

/** What a receiver does at a server. */
function receiverAt(app: Pick<TestApp, 'request'>, key: string) {
  const call = (method: string, path: string, body?: object): Promise<Answer> =>
    app.request(method, `/api/session/streams/${path}`, { body, headers: bearer(key) });
  const poll = async (request: object = {}): Promise<{ sets: Record<string, string>; moreAvailable: boolean }> => {
    const { status, body } = await call('POST', 'poll', { returnImmediately: true, ...request });
    if (status !== 200) throw new Error(`poll: ${status} ${JSON.stringify(body)}`);
    return body;
  };
  return {
    call,
    poll,
    /** Polls until there are `count` events. */
    pollFor: async (count: number, request: object = {}) => {
      let answer = await poll(request);
      await until(async () => {
        if (Object.keys(answer.sets).length < count) answer = await poll(request);
        return Object.keys(answer.sets).length >= count;
      });
      return Object.values(answer.sets);
    },
    setStatus: async (status: string, reason?: string) => {
      const answer = await call('POST', 'status', { status, reason });
      expect(answer).toMatchObject({ status: 200, body: { status } });
    },
  };
}

const sessionIn = (set: string) => (decodeJwt(set).sub_id as { session: { id: string } }).session.id;

onEachDatabaseAndAdapter((databaseName, adapter) => {
  let inbox: Inbox;
  let app: TestApp;
  let sessions: SessionService;
  let poller: ReturnType<typeof receiverAt>;
  let pushed: ReturnType<typeof receiverAt>;
  let choosy: ReturnType<typeof receiverAt>;

  beforeAll(async () => {
    inbox = await startInbox();
    const streams = [
      polled,
      { name: 'pushed', url: inbox.url, audience: AUDIENCE, receiverKeys: PUSHED, allowPrivateNetwork: true },
      { name: 'choosy', audience: AUDIENCE, receiverKeys: CHOOSY, subjects: 'added' as const },
    ];
    const options = { jwt, eventStreams: true, events: { streams, publicUrl } };
    app = await startApp({ databaseName, adapter, options });
    sessions = app.get(SessionService);
    [poller, pushed, choosy] = [POLLER, PUSHED, CHOOSY].map((key) => receiverAt(app, key));
  });
  afterAll(async () => {
    await app.close();
    await inbox.close();
  });
  beforeEach(async () => {
    const { manager } = app.get(DataSource);
    // What was pushed by an earlier test must not arrive later.
    await distributed();
    await until(async () => (await manager.countBy(SessionDeliveryEntity, { destination: 'stream:pushed' })) === 0);
    for (const entity of [SessionDeliveryEntity, SessionEventEntity, SessionStreamEntity])
      await manager.createQueryBuilder().delete().from(entity).execute();
    Object.assign(inbox, { status: 202 });
    inbox.received.length = 0;
  });

  const endOne = async (userId = 'alice') => {
    const { session } = await sessions.create(userId, { type: 'LONG' });
    await sessions.destroy(session.id, { reason: 'admin' });
    return session.id;
  };
  /** Waits until nothing is left to distribute. */
  const distributed = () => until(async () => (await app.get(EventAdministration).status()).undistributed === 0);

  test('the configuration is found at the well-known path of the issuer, without a key', async () => {
    const { status, body } = await app.request('GET', '/.well-known/ssf-configuration/tenant');
    expect([status, body]).toEqual([
      200,
      {
        spec_version: '1_0',
        issuer: ISSUER,
        jwks_uri: 'https://app.example/api/session/jwks.json',
        delivery_methods_supported: ['urn:ietf:rfc:8935', 'urn:ietf:rfc:8936'],
        configuration_endpoint: 'https://app.example/api/session/streams/configuration',
        status_endpoint: 'https://app.example/api/session/streams/status',
        add_subject_endpoint: 'https://app.example/api/session/streams/subjects/add',
        remove_subject_endpoint: 'https://app.example/api/session/streams/subjects/remove',
        verification_endpoint: 'https://app.example/api/session/streams/verification',
        authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6750' }],
      },
    ]);
    for (const url of Object.values(body as object).filter((value) => /\/streams\//.test(String(value)))) {
      const path = new URL(String(url)).pathname;
      // Every endpoint exists, and wants a key.
      expect([path, (await app.request('POST', path, { body: {} })).status]).toEqual([path, 401]);
    }
  });

  test('a receiver reads its own stream and no other, and cannot change it', async () => {
    const described = {
      ...{ stream_id: 'polled', iss: ISSUER, aud: AUDIENCE, min_verification_interval: 60 },
      events_supported: [`${CAEP}/session-revoked`, `${CAEP}/session-established`],
      events_delivered: [`${CAEP}/session-revoked`],
      delivery: {
        method: 'urn:ietf:rfc:8936',
        endpoint_url: 'https://app.example/api/session/streams/poll',
      },
    };
    expect(await poller.call('GET', 'configuration')).toMatchObject({ status: 200, body: [described] });
    expect((await receiverAt(app, OLD_POLLER).call('GET', 'configuration?stream_id=polled')).body).toEqual(described);
    expect((await pushed.call('GET', 'configuration?stream_id=pushed')).body).toMatchObject({
      delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: inbox.url },
    });
    expect((await poller.call('GET', 'configuration?stream_id=pushed')).status).toBe(404);
    expect((await poller.call('POST', 'status', { stream_id: 'pushed', status: 'paused' })).status).toBe(404);
    expect((await poller.call('POST', 'configuration', {})).status).toBe(409);
    for (const method of ['PATCH', 'PUT', 'DELETE'])
      expect([method, (await poller.call(method, 'configuration')).status]).toEqual([method, 403]);
  });

  test('a caller without a key gets 401, also with a malformed body', async () => {
    for (const [method, path] of [
      ['GET', 'configuration'],
      ['DELETE', 'configuration'],
      ['GET', 'status'],
      ['POST', 'poll'],
      ['POST', 'verification'],
    ]) {
      const { status, headers } = await receiverAt(app, STRANGER).call(
        method,
        path,
        method === 'POST' ? ([] as object) : undefined,
      );
      expect([path, status, headers.get('www-authenticate')]).toEqual([path, 401, 'Bearer error="invalid_token"']);
    }
    const { access } = await app.login();
    expect((await receiverAt(app, access).call('GET', 'status')).status).toBe(401);
  });

  test('a poll hands out events until they are acknowledged', async () => {
    const ids = [await endOne(), await endOne('bob')];
    const sets = await poller.pollFor(2);
    expect(sets.map(sessionIn).sort()).toEqual([...ids].sort());
    const jwks = createRemoteJWKSet(new URL(`${app.url}/api/session/jwks.json`));
    const { payload } = await jwtVerify(sets[0], jwks, { issuer: ISSUER, audience: AUDIENCE, typ: 'secevent+jwt' });
    expect(payload).toMatchObject({
      sub_id: { user: subjectOf('alice') },
      events: { [`${CAEP}/session-revoked`]: {} },
    });
    // Until then, every poll has them, and `maxEvents` limits the answer.
    const [first, second] = sets.map((set) => decodeJwt(set).jti as string);
    expect(Object.keys((await poller.poll()).sets)).toEqual([first, second]);
    expect(await poller.poll({ maxEvents: 1 })).toMatchObject({
      sets: { [first]: expect.any(String) },
      moreAvailable: true,
    });
    expect(await poller.poll({ maxEvents: 0 })).toEqual({ sets: {}, moreAvailable: true });
    const last = await poller.poll({ ack: [first, 'unknown'] });
    expect([Object.keys(last.sets), last.moreAvailable]).toEqual([[second], false]);
    expect(await poller.poll({ ack: [second] })).toEqual({ sets: {}, moreAvailable: false });
  });

  test('an event that the receiver refuses becomes a dead letter, which can be delivered again', async () => {
    const id = await endOne();
    const [set] = await poller.pollFor(1);
    const { jti } = decodeJwt(set);
    const fault = { err: 'invalid_key', description: 'a secret' };
    expect((await poller.poll({ setErrs: { [jti as string]: fault } })).sets).toEqual({});
    const administration = app.get(EventAdministration);
    expect(await administration.deadLetters('stream:polled')).toMatchObject([
      { eventId: jti, error: 'refused by the receiver: invalid_key' },
    ]);
    expect(await administration.replay('stream:polled', { eventId: jti as string })).toBe(1);
    expect((await poller.pollFor(1)).map(sessionIn)).toEqual([id]);
  });

  test('a long poll is answered when something happens, and a newer poll takes its place', async () => {
    const before = poller.poll({ returnImmediately: false });
    await until(async () => (await poller.poll()).moreAvailable === false);
    const after = poller.poll({ returnImmediately: false });
    expect(await before).toEqual({ sets: {}, moreAvailable: false });
    const id = await endOne();
    expect(Object.values((await after).sets).map(sessionIn)).toEqual([id]);
  });

  test('a paused stream keeps its events, and a disabled one drops them', async () => {
    expect((await poller.call('GET', 'status?stream_id=polled')).body).toEqual({
      stream_id: 'polled',
      status: 'enabled',
    });
    await poller.setStatus('paused', 'maintenance');
    expect((await poller.call('GET', 'status')).body).toEqual({
      ...{ stream_id: 'polled', status: 'paused', reason: 'maintenance' },
    });
    await pushed.setStatus('paused');
    const kept = await endOne();
    await distributed();
    expect(await poller.poll()).toEqual({ sets: {}, moreAvailable: false });
    expect(await app.get(EventAdministration).status()).toMatchObject({
      destinations: expect.arrayContaining([
        expect.objectContaining({ name: 'stream:polled', waiting: 1 }),
        expect.objectContaining({ name: 'stream:pushed', waiting: 1 }),
      ]),
    });
    expect(inbox.received).toEqual([]);
    await poller.setStatus('enabled');
    await pushed.setStatus('enabled');
    expect((await poller.pollFor(1)).map(sessionIn)).toEqual([kept]);
    await until(() => inbox.received.length === 1);
    expect(sessionIn(inbox.received[0].raw)).toBe(kept);

    await poller.setStatus('disabled');
    await pushed.setStatus('disabled');
    await endOne();
    await distributed();
    await poller.setStatus('enabled');
    await pushed.setStatus('enabled');
    const last = await endOne();
    expect((await poller.pollFor(1)).map(sessionIn)).toEqual([last]);
    await until(() => inbox.received.length === 2);
    expect(sessionIn(inbox.received[1].raw)).toBe(last);
  });

  test('a receiver removes and adds users', async () => {
    const add = (receiver: typeof poller, sub: string) =>
      receiver.call('POST', 'subjects/add', { subject: subjectOf(sub), verified: true });
    const remove = (receiver: typeof poller, sub: string) =>
      receiver.call('POST', 'subjects/remove', { subject: { format: 'complex', user: subjectOf(sub) } });
    expect(await remove(poller, 'alice')).toMatchObject({ status: 204, body: '' });
    expect(await add(choosy, 'alice')).toMatchObject({ status: 200, body: '' });
    const [alice, bob] = [await endOne(), await endOne('bob')];
    await distributed();
    expect((await poller.pollFor(1)).map(sessionIn)).toEqual([bob]);
    expect((await choosy.pollFor(1)).map(sessionIn)).toEqual([alice]);
    await add(poller, 'alice');
    await remove(choosy, 'alice');
    const again = await endOne();
    await distributed();
    expect((await poller.pollFor(2)).map(sessionIn)).toEqual([bob, again]);
    expect((await choosy.poll()).moreAvailable).toBe(false);
    expect((await choosy.pollFor(1)).map(sessionIn)).toEqual([alice]);

    const subjects = app.get(DataSource).getRepository(SessionStreamSubjectEntity);
    await add(poller, 'bob');
    expect(await subjects.count()).toBe(3);
    await app.get(SessionHistory).erase('alice');
    expect(await subjects.findBy({})).toMatchObject([{ stream: 'polled', included: 1 }]);
  });

  test('a verification event comes by push and by poll, and no more often than once a minute', async () => {
    expect((await poller.call('POST', 'verification', { stream_id: 'polled', state: 'a state' })).status).toBe(204);
    expect((await pushed.call('POST', 'verification', {})).status).toBe(204);
    const [set] = await poller.pollFor(1);
    expect(decodeJwt(set)).toMatchObject({
      sub_id: { format: 'opaque', id: 'polled' },
      events: { [`${SSF}/verification`]: { state: 'a state' } },
    });
    await until(() => inbox.received.length === 1);
    expect(decodeJwt(inbox.received[0].raw)).toMatchObject({
      sub_id: { format: 'opaque', id: 'pushed' },
      events: { [`${SSF}/verification`]: {} },
    });
    expect((await poller.call('POST', 'verification', {})).status).toBe(429);
    const { manager } = app.get(DataSource);
    await manager.update(SessionStreamEntity, 'polled', { verifiedAt: new Date(Date.now() - 61_000) });
    expect((await poller.call('POST', 'verification', {})).status).toBe(204);
    await poller.setStatus('paused');
    expect((await poller.call('POST', 'verification', {})).status).toBe(400);
    // It went to its own stream only.
    expect((await choosy.poll()).sets).toEqual({});
  });
});

onEachAdapter((databaseName, adapter) => {
  let app: TestApp;
  let poller: ReturnType<typeof receiverAt>;
  beforeAll(async () => {
    const options = { jwt, eventStreams: true, events: { streams: [polled], publicUrl } };
    const configure = (its: TestApp['app']) => {
      its.setGlobalPrefix('inner');
      its.enableVersioning({ type: VersioningType.URI, defaultVersion: '1' });
    };
    app = await startApp({ databaseName, adapter, options: { ...options, path: 'api/session' }, configure });
    poller = receiverAt({ request: (method, path, more) => app.request(method, `/inner/v1${path}`, more) }, POLLER);
  });
  afterAll(() => app.close());

  test('no prefix and no version comes before the well-known path', async () => {
    const { status, body } = await app.request('GET', '/.well-known/ssf-configuration/tenant');
    expect([status, body.default_subjects]).toEqual([200, 'ALL']);
    expect((await poller.call('GET', 'status')).status).toBe(200);
  });

  test.each([
    ['status', { status: 'off' }],
    ['status', { status: 'paused', reason: 1 }],
    ['status', {}],
    ['verification', { state: {} }],
    ['verification', { state: 'x'.repeat(1001) }],
    ['subjects/add', {}],
    ['subjects/add', { subject: 'alice' }],
    ['subjects/add', { subject: { format: 'iss_sub', iss: ISSUER, sub: 1 } }],
    ['poll', { ack: 'x' }],
    ['poll', { ack: [1] }],
    ['poll', { ack: Array.from({ length: 1001 }, String) }],
    ['poll', { setErrs: [] }],
    ['poll', { maxEvents: -1 }],
    ['poll', { maxEvents: '1' }],
    ['poll', { returnImmediately: 'yes' }],
    ['poll', []],
  ])('%s refuses a malformed body (%#)', async (path, body) => {
    expect((await poller.call('POST', path, body)).status).toBe(400);
  });

  test.each([
    { format: 'email', email: 'alice@example.com' },
    { format: 'iss_sub', iss: 'https://other.example', sub: 'alice' },
    { format: 'complex', user: subjectOf('alice'), session: { format: 'opaque', id: 'x' } },
    { format: 'complex' },
  ])('a subject that is no user of ours is not found: %j', async (subject) => {
    expect((await poller.call('POST', 'subjects/remove', { subject })).status).toBe(404);
  });

  test('a shutdown ends a long poll', async () => {
    const { call } = poller;
    const other = await startApp({
      databaseName,
      adapter,
      options: { jwt, eventStreams: true, events: { streams: [polled], publicUrl } },
    });
    const waiting = receiverAt(other, POLLER).call('POST', 'poll', {});
    const { latest } = other.get(EventStreams) as unknown as { latest: Map<string, symbol> };
    await until(() => latest.size === 1);
    const startedAt = performance.now();
    await other.close();
    expect((await waiting).body).toEqual({ sets: {}, moreAvailable: false });
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    expect((await call('GET', 'status')).status).toBe(200);
  });
});

onEachSharedDatabase((databaseName) => {
  let database: TestDatabase;
  const apps: TestApp[] = [];

  beforeAll(async () => {
    database = await createDatabase(databaseName);
    const options = { jwt, eventStreams: true, events: { streams: [polled], publicUrl } };
    // On SQLite there is one process, and its polls compete with each other.
    const count = databaseName === 'sqlite' ? 1 : 2;
    for (let at = 0; at < count; at++) apps.push(await startApp({ database, options }));
  });
  afterAll(async () => {
    for (const app of apps) await app.close();
    await database.drop();
  });

  test('two processes answer the polls of one receiver, answers get lost, and no event does', async () => {
    const ended: string[] = [];
    const seen = new Map<string, string>();
    let isOver = false;
    const receive = async (turn: number) => {
      let ack: string[] = [];
      for (let count = turn; !isOver; count++) {
        const { sets } = await receiverAt(apps[count % apps.length], POLLER).poll({ ack, maxEvents: 5 });
        // Every third answer is lost on its way: the receiver neither stores nor acknowledges it.
        ack = count % 3 === 0 ? [] : Object.keys(sets);
        for (const id of ack) seen.set(id, sessionIn(sets[id]));
      }
    };
    const receiving = [receive(0), receive(1)];
    for (let count = 0; count < 40; count++) {
      const sessions = apps[count % apps.length].get(SessionService);
      const { session } = await sessions.create('alice', { type: 'LONG' });
      await sessions.destroy(session.id, { reason: 'admin' });
      ended.push(session.id);
    }
    await until(() => seen.size >= ended.length, 60_000).finally(() => (isOver = true));
    await Promise.all(receiving);
    expect([...seen.values()].sort()).toEqual([...ended].sort());
  });

  test('what one process is told holds for the other', async () => {
    const [one, other = one] = apps.map((app) => receiverAt(app, POLLER));
    // The waiting poll is at another process than the login.
    const waiting = one.poll({ returnImmediately: false, ack: Object.keys((await one.poll()).sets) });
    const sessions = apps[apps.length - 1].get(SessionService);
    const { session } = await sessions.create('bob', { type: 'LONG' });
    await sessions.destroy(session.id);
    const { sets } = await waiting;
    expect(Object.values(sets).map(sessionIn)).toEqual([session.id]);
    expect((await other.poll({ ack: Object.keys(sets) })).sets).toEqual({});
    await one.setStatus('paused');
    expect((await other.call('GET', 'status')).body.status).toBe('paused');
    await other.setStatus('enabled');
  });
});

describe('the options', () => {
  const faultsOf = (options: Partial<MultiSessionModuleOptions>) =>
    startApp({ options: { jwt, ...options } }).then(
      async (app) => (await app.close(), 'started'),
      (error: unknown) => (error as MultiSessionConfigurationError).faults.join('\n'),
    );
  const on = (more: object, eventStreams = true) => ({
    eventStreams,
    events: { streams: [polled], publicUrl, ...more },
  });

  test.each([
    ['no routes for keys', on({}, false), /events.streams: needs the static option eventStreams: true/],
    ['routes without keys', { eventStreams: true, events: {} }, /eventStreams: needs a stream with receiverKeys/],
    ['no public URL', on({ publicUrl: undefined }), /events.publicUrl: is missing/],
    ['a public URL without TLS', on({ publicUrl: 'http://app.example' }), /events.publicUrl: must be a URL/],
    ['an issuer that is no URL', { ...on({}), jwt: { ...jwt, issuer: 'our-app' } }, /jwt.issuer: must be a URL/],
    ['a short key', on({ streams: [{ ...polled, receiverKeys: 'short' }] }), /at least 32 characters/],
    ['one key for two', on({ streams: [polled, { ...polled, name: 'other' }] }), /repeat a key/],
    ['neither URL nor key', on({ streams: [{ name: 'x', audience: 'x' }] }), /has no url and no receiverKeys/],
    ['unknown subjects', on({ streams: [{ ...polled, subjects: 'some' }] }), /must be one of all, added/],
  ])('%s stops the start', async (_, options, fault) => {
    expect(await faultsOf(options as Partial<MultiSessionModuleOptions>)).toMatch(fault);
  });
});

describe('the receiver of docs/events.md', () => {
  const folder = folderForBlocks();
  let front: Front;
  let app: TestApp;
  let receive: (
    options: { issuer: string; audience: string; key: string },
    handle: (event: JWTPayload) => Promise<void>,
    signal: AbortSignal,
  ) => Promise<void>;

  beforeAll(async () => {
    front = await startFront();
    const options = {
      jwt: { ...jwt, issuer: front.url },
      eventStreams: true,
      events: { streams: [polled], publicUrl: `${front.url}/api/session` },
    };
    app = await startApp({ options });
    front.target = app.url;
    ({ receive } = (await importBlock(folder, 'docs/events.md', 'stream-receiver.ts')) as never);
  });
  afterAll(async () => {
    await app.close();
    await front.close();
    rmSync(folder, { recursive: true });
  });

  test('gets every event over HTTP, and again after it has failed', async () => {
    const events: JWTPayload[] = [];
    let isFailing = true;
    const stop = new AbortController();
    const handle = (event: JWTPayload) => {
      if (isFailing) return Promise.reject(new RangeError('no disk'));
      events.push(event);
      return Promise.resolve();
    };
    const options = { issuer: front.url, audience: AUDIENCE, key: POLLER };
    const sessions = app.get(SessionService);
    const ended: string[] = [];
    const endOne = async () => {
      const { session } = await sessions.create('alice', { type: 'LONG' });
      await sessions.destroy(session.id);
      ended.push(session.id);
    };
    await endOne();
    await expect(receive(options, handle, stop.signal)).rejects.toThrow('no disk');
    isFailing = false;
    const receiving = receive(options, handle, stop.signal);
    await until(() => events.length === 1);
    await endOne();
    await until(() => events.length === 2);
    const namedIn = ({ sub_id }: JWTPayload) => (sub_id as { session: { id: string } }).session.id;
    expect(events.map(namedIn)).toEqual(ended);
    // The next poll has acknowledged the last event.
    await until(async () => (await app.get(DataSource).manager.count(SessionDeliveryEntity)) === 0);
    stop.abort();
    await expect(receiving).rejects.toThrow(/abort/i);
    await expect(receive({ ...options, key: STRANGER }, handle, new AbortController().signal)).rejects.toThrow(/401/);
  });
});
