import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { memoryStorage } from 'nestjs-multisession-client';
import { proofHeaders } from 'nestjs-multisession-client/dpop';
import { SessionService } from 'nestjs-multisession';
import type { TestApp } from '../../test/helpers/app.js';
import { Browser } from './helpers/browser.js';
import { ALICE, NotesController, optionsFor, startServer } from './helpers/server.js';

const POLICY = { refreshTokenLifetime: '30d', accessTokenLifetime: '5m', extendSession: 'every-refresh' } as const;

describe('a session that is bound to a key', () => {
  let app: TestApp;
  let browser = new Browser();

  beforeAll(async () => {
    app = await startServer({
      cookies: false,
      policies: { LONG: { ...POLICY, binding: 'prefer' }, PLAIN: POLICY },
    });
  });
  afterAll(() => app?.close());
  afterEach(() => {
    browser.close();
    browser = new Browser();
  });

  const open = (more: object = {}) =>
    browser.open({ ...optionsFor(app, 'body'), storage: 'browser', dpop: true, ...more });
  const read = async ({ client }: ReturnType<typeof open>) => (await client.fetch(`${app.url}/notes?page=1`)).status;
  const sessionOf = async ({ client }: ReturnType<typeof open>) => {
    const state = client.getSnapshot();
    return app.get(SessionService).get(state.status === 'authenticated' ? state.sessionId : '');
  };

  test('logs in, reads, writes, refreshes, checks the password again and logs out', async () => {
    const tab = open();
    await tab.client.login(ALICE);
    expect(await sessionOf(tab)).toMatchObject({ bound: true });
    expect(await read(tab)).toBe(200);
    const body = JSON.stringify({ text: 'a note' });
    const headers = { 'content-type': 'application/json' };
    const request = new Request(`${app.url}/notes`, { method: 'POST', body, headers });
    expect((await tab.client.fetch(request)).status).toBe(200);
    expect(app.get(NotesController).written).toEqual([{ text: 'a note' }]);
    await tab.client.refresh();
    expect(await read(tab)).toBe(200);
    await tab.client.reauthenticate(ALICE);
    expect(await sessionOf(tab)).toMatchObject({ bound: true });
    expect((await tab.client.sessions())[0]).toMatchObject({ current: true });
    await tab.client.logout();
    expect(tab.client.getSnapshot().status).toBe('ended');
  });

  test('follows the nonces of the server, and sends a request once more for a new one', async () => {
    const tab = open();
    await tab.client.login(ALICE);
    browser.sent.length = 0;
    browser.network = async (url, init, send) => {
      const answer = await send(url, init);
      const headers = new Headers(answer.headers);
      // The next proof is refused.
      headers.set('DPoP-Nonce', 'an old one');
      return new Response(await answer.text(), { status: answer.status, headers });
    };
    expect(await read(tab)).toBe(200);
    browser.network = (url, init, send) => send(url, init);
    expect(await read(tab)).toBe(200);
    expect(browser.sent.map(({ status }) => status)).toEqual([200, 401, 200]);
  });

  test('sends a request once more if a gateway passes on only the header of the refusal', async () => {
    const tab = open();
    await tab.client.login(ALICE);
    browser.sent.length = 0;
    browser.network = async (url, init, send) => {
      const { status, headers } = await send(url, init);
      if (status === 401) return new Response('<h1>401 Authorization Required</h1>', { status, headers });
      const changed = new Headers(headers);
      // The next proof is refused.
      changed.set('DPoP-Nonce', 'an old one');
      return new Response(null, { status, headers: changed });
    };
    expect([await read(tab), await read(tab)]).toEqual([200, 200]);
    expect(browser.sent.map(({ status }) => status)).toEqual([200, 401, 200]);
  });

  test('sends a request once more if its proof arrived twice, as a proxy may send it', async () => {
    const tab = open();
    await tab.client.login(ALICE);
    let times = 0;
    browser.network = async (url, init, send) => {
      if (times++ === 0) await send(url, init);
      return send(url, init);
    };
    expect(await read(tab)).toBe(200);
    expect(times).toBe(2);
    times = 0;
    await tab.client.refresh();
    expect(times).toBe(2);
  });

  test('goes on without proofs if the server does not bind sessions of this type', async () => {
    const tab = open();
    await tab.client.login({ ...ALICE, session: 'PLAIN' });
    expect(await sessionOf(tab)).toMatchObject({ bound: false });
    browser.sent.length = 0;
    expect(await read(tab)).toBe(200);
    await tab.client.refresh();
    expect(browser.sent[0].headers.get('authorization')).toMatch(/^Bearer /);
    expect(browser.sent[0].headers.has('dpop')).toBe(false);
  });

  test('ends here if the browser has lost the key', async () => {
    const tab = open();
    await tab.client.login(ALICE);
    browser.network = (url, init, send) => {
      const headers = new Headers(init.headers);
      headers.delete('dpop');
      return send(url, { ...init, headers });
    };
    await tab.client.refresh().catch(() => undefined);
    expect(tab.client.getSnapshot()).toMatchObject({ status: 'ended', reason: 'revoked' });
  });

  test('gives sockets the headers of their handshake', async () => {
    const tab = open();
    await tab.client.login(ALICE);
    const headers = await proofHeaders(tab.client, `${app.url.replace('http', 'ws')}/notes`);
    expect(headers.Authorization).toMatch(/^DPoP /);
    expect(await app.request('GET', '/notes', { headers })).toMatchObject({ status: 200 });
    const plain = open({ storage: memoryStorage() });
    await plain.client.login({ ...ALICE, session: 'PLAIN' });
    expect(Object.keys(await proofHeaders(plain.client, `${app.url}/notes`))).toEqual(['Authorization']);
  });
});
