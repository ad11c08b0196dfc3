import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { sessionAxios } from 'nestjs-multisession-client/axios';
import type { TestApp } from '../../test/helpers/app.js';
import { expired } from '../../test/helpers/tokens.js';
import { Browser, type Tab } from './helpers/browser.js';
import { ALICE, NotesController, optionsFor, startOtherServer, startServer } from './helpers/server.js';

describe('axios with the client', () => {
  let app: TestApp;
  let browser: Browser;
  let tab: Tab;

  beforeAll(async () => {
    app = await startServer();
  });
  afterAll(() => app?.close());
  beforeEach(async () => {
    browser = new Browser();
    tab = browser.open(optionsFor(app, 'body'));
    await tab.client.login(ALICE);
  });
  afterEach(() => browser.close());

  test('sends tokens, and sends a refused request with its body again', async () => {
    const api = sessionAxios(tab.client, { baseURL: app.url });
    expect((await api.get('/notes')).data).toEqual({ userId: 'alice' });
    const { Authorization = '' } = await tab.client.headersFor(app.url);
    const token = Authorization.slice('Bearer '.length);
    browser.expired.set(token, expired(token));
    await api.post('/notes', { text: 'from axios' });
    expect(app.get(NotesController).written).toEqual([{ text: 'from axios' }]);
    expect(browser.requests('refresh')).toHaveLength(1);
  });

  test('rejects as axios does if the server refuses a request, and if it cannot be reached', async () => {
    const api = sessionAxios(tab.client, { baseURL: app.url });
    await expect(api.get('/nowhere')).rejects.toMatchObject({ response: { status: 404 } });
    browser.network = () => Promise.reject(new TypeError('Failed to fetch'));
    await expect(api.get('/notes')).rejects.toMatchObject({ isAxiosError: true });
  });

  test('sends no token to another origin', async () => {
    const other = await startOtherServer(200, {}, '{}');
    await sessionAxios(tab.client).get(other.url);
    expect(other.requests[0].headers).not.toHaveProperty('authorization');
    other.server.close();
  });
});
