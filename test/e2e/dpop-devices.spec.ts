import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { decodeJwt } from 'jose';
import { PERMANENT_DEVICE } from 'nestjs-multisession';
import { SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { ProvingClient } from '../helpers/dpop.js';
import { onEachDatabaseAndAdapter } from '../helpers/matrix.js';

const LOGIN = { username: 'alice', password: 'alice-password', secret_key: SECRET_KEY, session: 'DEVICE' };
const KEY = { 'x-secret-key': SECRET_KEY };
const REFRESH = '/api/session/device-refresh-token/';

/** A device of drf-jwt-devices whose permanent token is bound to a key. */
onEachDatabaseAndAdapter((databaseName, adapter) => {
  let app: TestApp;
  let client: ProvingClient;
  let device: { token: string; permanent_token: string; device_id: string };

  beforeAll(async () => {
    const policies = { DEVICE: { ...PERMANENT_DEVICE, binding: 'prefer' } } as const;
    app = await startApp({ databaseName, adapter, options: { policies, devices: true } });
  });
  beforeEach(async () => {
    client = new ProvingClient(app);
    device = (await client.post('login/', LOGIN)).body as typeof device;
  });
  afterAll(() => app?.close());

  const refresh = (by: ProvingClient, headers?: Record<string, string>) =>
    by.send('POST', REFRESH, { headers: { ...KEY, 'permanent-token': device.permanent_token, ...headers } });

  test('a login with a proof binds the device, and its routes need proofs', async () => {
    expect(device).toMatchObject({ device_id: expect.any(String), permanent_token: expect.any(String) });
    expect(decodeJwt(device.token)).toMatchObject({ cnf: { jkt: expect.any(String) } });
    const list = await client.send('GET', '/api/session/devices/', { token: device.token });
    expect(list).toMatchObject({ status: 200, body: [{ id: device.device_id }] });
    const headers = { authorization: `Bearer ${device.token}` };
    expect(await app.request('GET', '/api/session/devices/', { headers })).toMatchObject({
      status: 401,
      body: { code: 'device_proof_required' },
    });
  });

  test('a permanent token gives access tokens only with a proof by the same key', async () => {
    const { status, body } = await refresh(client);
    expect([status, decodeJwt(body.token).cnf]).toEqual([200, decodeJwt(device.token).cnf]);
    expect(await client.send('GET', '/api/session/devices/', { token: body.token })).toMatchObject({ status: 200 });
    const thief = new ProvingClient(app);
    const bare = { ...KEY, 'permanent-token': device.permanent_token };
    for (const refused of [await refresh(thief), await app.request('POST', REFRESH, { headers: bare })])
      expect(refused).toMatchObject({ status: 401, body: { code: 'device_proof_required' } });
    expect(await refresh(client, { dpop: client.proof('GET', REFRESH) })).toMatchObject({
      status: 400,
      body: { code: 'invalid_dpop_proof' },
    });
    expect(await refresh(client)).toMatchObject({ status: 200 });
  });

  test('a device logs out with a proof', async () => {
    const headers = { 'device-id': device.device_id };
    expect(await client.send('DELETE', '/api/session/device-logout', { token: device.token, headers })).toMatchObject({
      status: 204,
    });
    expect(await refresh(client)).toMatchObject({ status: 401, body: { code: 'session_not_found' } });
  });
});
