import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import { DataSource } from 'typeorm';
import { EventHandler } from '../../lib/outbox/event-handler.js';
import { isPublicAddress } from '../../lib/outbox/public-address.js';
import { SessionDeliveryEntity } from '../../lib/outbox/session-delivery.entity.js';
import { Webhook } from '../../lib/outbox/webhook.js';
import { signatureHeaders, webhookKeyOf } from '../../lib/outbox/webhook-signature.js';
import type { DurableEvent } from '../../lib/outbox/durable-event.js';
import { SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { type Inbox, type Received, startInbox, until } from '../helpers/event-inbox.js';
import { configOf } from '../helpers/options.js';

const OLD = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
const NEW = `whsec_${Buffer.alloc(32, 2).toString('base64')}`;

const EVENT: DurableEvent = {
  ...{ id: '019a0000-0000-7000-8000-000000000000', name: 'session.ended', at: new Date('2026-11-28T14:00:00Z') },
  ...{ sessionId: '019a0000-0000-7000-8000-000000000001', userId: 'alice', sessionType: 'LONG', reason: 'logout' },
  ...{ initiator: 'user', initiatorId: null, client: null, details: {} },
};

/** Makes a webhook as the options describe it. */
function webhookTo(url: string, more: object = {}): Webhook {
  const given = { name: 'test', url, secrets: OLD, allowPrivateNetwork: true, ...more };
  const { events } = configOf({ events: { webhooks: [given] } });
  return new Webhook(events!.webhooks[0]);
}

describe('a signature', () => {
  test('is that of the specification', () => {
    const key = webhookKeyOf('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')!;
    const message = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestamp: 1614265330, body: '{"test": 2432232314}' };
    expect(signatureHeaders(message, [key])).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    });
  });

  test('needs a secret of 24 to 64 bytes', () => {
    const secretOf = (size: number) => `whsec_${Buffer.alloc(size, 7).toString('base64')}`;
    expect([23, 24, 64, 65].map((size) => webhookKeyOf(secretOf(size))?.length)).toEqual([
      undefined,
      24,
      64,
      undefined,
    ]);
    expect(webhookKeyOf(secretOf(32).slice('whsec_'.length))).toBeUndefined();
  });
});

test.each([
  ['8.8.8.8', true],
  ['2606:4700::1111', true],
  ['127.0.0.1', false],
  ['10.1.2.3', false],
  ['172.31.255.255', false],
  ['192.168.0.1', false],
  ['169.254.169.254', false],
  ['100.64.0.1', false],
  ['0.0.0.0', false],
  ['255.255.255.255', false],
  ['::1', false],
  ['::', false],
  ['::ffff:10.0.0.1', false],
  ['::ffff:8.8.8.8', false],
  ['64:ff9b::a00:1', false],
  ['2002:a00:1::', false],
  ['2001:db8::1', false],
  ['fd00::1', false],
  ['fe80::1', false],
  ['ff02::1', false],
  ['localhost', false],
])('the address %s is public: %s', (address, expected) => {
  expect(isPublicAddress(address)).toBe(expected);
});

describe('one try', () => {
  let inbox: Inbox;
  beforeEach(async () => {
    inbox = await startInbox();
  });
  afterEach(() => inbox.close());

  test.each([
    [200, { kind: 'accepted' }],
    [204, { kind: 'accepted' }],
    [410, { kind: 'gone' }],
    [400, { kind: 'failed', error: 'answered 400', isDown: false }],
    [302, { kind: 'failed', error: 'answered 302', isDown: false }],
    [503, { kind: 'failed', error: 'answered 503', isDown: true }],
    [429, { kind: 'failed', error: 'answered 429', isDown: true }],
  ])('that is answered with %d', async (status, expected) => {
    const elsewhere = await startInbox();
    Object.assign(inbox, { status, headers: { location: elsewhere.url } });
    expect(await webhookTo(inbox.url).deliver(EVENT)).toMatchObject(expected);
    expect([inbox.received.length, elsewhere.received.length]).toEqual([1, 0]);
    await elsewhere.close();
  });

  test('heeds Retry-After in seconds and as a date', async () => {
    Object.assign(inbox, { status: 429, headers: { 'retry-after': '120' } });
    expect(await webhookTo(inbox.url).deliver(EVENT)).toMatchObject({ retryAfter: 120_000 });
    inbox.headers = { 'retry-after': new Date(Date.now() + 60_000).toUTCString() };
    const outcome = await webhookTo(inbox.url).deliver(EVENT);
    expect(outcome).toMatchObject({ kind: 'failed' });
    const { retryAfter = 0 } = outcome as { retryAfter?: number };
    expect(Math.abs(retryAfter - 60_000)).toBeLessThan(3000);
  });

  test('ends when the time is up', async () => {
    inbox.answer = () => new Promise(() => undefined);
    const outcome = await webhookTo(inbox.url, { timeout: '200ms' }).deliver(EVENT);
    expect(outcome).toEqual({ kind: 'failed', error: 'did not answer in time', isDown: true });
  });

  test('does not reach an address that is not public, however its name is written', async () => {
    const { port } = new URL(inbox.url);
    for (const host of ['127.0.0.1', 'localhost', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', '[::1]']) {
      const config = {
        ...configOf({ events: { webhooks: [{ name: 'test', url: `https://${host}:${port}/`, secrets: OLD }] } }),
      };
      const outcome = await new Webhook(config.events!.webhooks[0]).deliver(EVENT);
      expect(outcome).toMatchObject({ kind: 'failed', error: 'the host has an address that is not public' });
    }
    expect(inbox.received).toEqual([]);
  });

  test('connects to the address that was checked, whatever the name resolves to later', async () => {
    const [config] = configOf({
      events: {
        webhooks: [
          {
            name: 'test',
            url: inbox.url.replace('127.0.0.1', 'rebinding.invalid'),
            secrets: OLD,
            allowPrivateNetwork: true,
          },
        ],
      },
    }).events!.webhooks;
    let lookups = 0;
    const resolveAll = () => {
      lookups++;
      return Promise.resolve([{ address: '127.0.0.1', family: 4 }]);
    };
    // The system cannot resolve the name, so a second look-up would fail.
    expect(await new Webhook(config, resolveAll).deliver(EVENT)).toEqual({ kind: 'accepted' });
    expect(lookups).toBe(1);
    expect(inbox.received[0].headers.host).toContain('rebinding.invalid');
    const mixed = () =>
      Promise.resolve([
        { address: '8.8.8.8', family: 4 },
        { address: '10.0.0.1', family: 4 },
      ]);
    const strict = { ...config, allowPrivateNetwork: false };
    expect(await new Webhook(strict, mixed).deliver(EVENT)).toMatchObject({
      error: 'the host has an address that is not public',
    });
  });

  test('of a handler ends when the time is up', async () => {
    const handler = new EventHandler('Test.hang', ['session.ended'], () => new Promise(() => undefined), 50);
    expect(await handler.deliver(EVENT)).toMatchObject({ kind: 'failed', isDown: false });
  });
});

describe('an application', () => {
  let inbox: Inbox;
  let app: TestApp;

  beforeAll(async () => {
    inbox = await startInbox();
    const webhook = { name: 'audit', url: inbox.url, secrets: [NEW, OLD], allowPrivateNetwork: true };
    const ended = { ...webhook, name: 'endings', url: `${inbox.url}/endings`, events: ['session.ended' as const] };
    app = await startApp({ options: { events: { webhooks: [webhook, ended] } } });
  });
  afterAll(async () => {
    await app.close();
    await inbox.close();
  });
  beforeEach(() => {
    Object.assign(inbox, { status: 204, headers: {}, answer: undefined });
    inbox.received.length = 0;
  });

  const of = (sessionId: string): Received[] => inbox.received.filter(({ body }) => body.data.session_id === sessionId);
  const logout = (refresh: string) => app.post('logout/', { refresh, secret_key: SECRET_KEY });
  const deliveries = (queue: string) => app.get(DataSource).manager.findBy(SessionDeliveryEntity, { queue });

  test('sends events that both secrets verify', async () => {
    const { refresh, session_id } = await app.login();
    await logout(refresh);
    await until(() => of(session_id).length === 3);
    for (const { raw, headers } of of(session_id)) {
      for (const secret of [OLD, NEW])
        expect(new StandardWebhook(secret).verify(raw, headers as Record<string, string>)).toEqual(JSON.parse(raw));
      const other = new StandardWebhook(`whsec_${Buffer.alloc(32, 3).toString('base64')}`);
      expect(() => other.verify(raw, headers as Record<string, string>)).toThrow('No matching signature');
    }
    const [ended] = of(session_id).filter(({ body }) => body.type === 'session.ended');
    expect(ended.body).toEqual({
      type: 'session.ended',
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      data: {
        ...{ session_id, user_id: 'alice', session_type: 'LONG', reason: 'logout' },
        ...{ initiator: 'user', initiator_id: null },
        client: { user_agent: 'node', ip_address: '127.0.0.1', device_name: null },
      },
    });
  });

  test('sends the events of a session in order, and tries again with the same id', async () => {
    let failed = 0;
    inbox.answer = ({ body }) => (body.type === 'session.created' && failed++ === 0 ? 400 : undefined);
    const { refresh, session_id } = await app.login();
    await logout(refresh);
    const first = await until(async () => (await deliveries(session_id)).some(({ attempts }) => attempts === 1)).then(
      () => of(session_id)[0],
    );
    await app.get(DataSource).manager.update(SessionDeliveryEntity, { queue: session_id }, { nextAt: new Date(0) });
    await until(async () => (await deliveries(session_id)).length === 0);
    const audited = of(session_id).map(({ body, headers }) => [body.type, headers['webhook-id']]);
    expect(audited.filter(([type]) => type === 'session.created')).toEqual([
      ['session.created', first.headers['webhook-id']],
      ['session.created', first.headers['webhook-id']],
    ]);
    expect(audited.at(-1)?.[0]).toBe('session.ended');
  });

  test('leaves a server alone that is down, and sends everything when it is back', async () => {
    inbox.status = 503;
    const logins = [await app.login(), await app.login(), await app.login()];
    await until(() => inbox.received.length > 0);
    for (const { refresh } of logins) await logout(refresh);
    const { length } = inbox.received;
    expect(length).toBeLessThan(10);
    inbox.status = 204;
    await until(
      () => logins.every(({ session_id }) => of(session_id).some(({ body }) => body.type === 'session.ended')),
      20_000,
    );
  }, 30_000);

  test('switches a webhook off that answers 410, and no other', async () => {
    inbox.answer = ({ body }) => (body.type === 'session.created' ? 410 : undefined);
    const { refresh, session_id } = await app.login();
    await logout(refresh);
    await until(async () => {
      const dead = (await deliveries(session_id)).filter(({ failedAt }) => failedAt !== null);
      return dead.length === 2;
    });
    await until(async () => (await deliveries(session_id)).every(({ destination }) => destination === 'webhook:audit'));
    await until(() => of(session_id).some(({ body }) => body.type === 'session.ended'));
  });
});
