import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import {
  JwtAuthGuard,
  ManagedKeys,
  MultiSessionConfigurationError,
  type MultiSessionOptions,
} from 'nestjs-multisession';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { createDatabase, type DatabaseName, type TestDatabase } from '../helpers/databases.js';
import { onEachAdapter, onEachDatabase } from '../helpers/matrix.js';
import { decoded } from '../helpers/tokens.js';

const ENCRYPTION_KEY = 'an encryption key of more than thirty-two bytes';
const managed = { encryptionKey: ENCRYPTION_KEY };

const opened: { close(): Promise<unknown> }[] = [];
const start = async (...given: Parameters<typeof startApp>): Promise<TestApp> => {
  const app = await startApp(...given);
  opened.push(app);
  return app;
};
/** Creates a database that several applications of one test share. */
const share = async (name: DatabaseName): Promise<TestDatabase> => {
  const database = await createDatabase(name);
  opened.push({ close: () => database.drop() });
  return database;
};

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource.close();
});

onEachAdapter((databaseName, adapter) => {
  const es256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const rs256 = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const keys: NonNullable<MultiSessionOptions['jwt']['keys']> = [
    { algorithm: 'ES256', privateKey: es256.privateKey },
    { algorithm: 'RS256', publicKey: rs256.publicKey },
    { secret: 'a secret key of the past, of more than thirty-two bytes' },
  ];

  describe('GET jwks.json', () => {
    test('shows public keys only, can be cached, and needs no credentials', async () => {
      const app = await start({ adapter, databaseName, options: { jwt: { keys } } });
      const { status, body, headers } = await app.request('GET', '/api/session/jwks.json');
      expect(status).toBe(200);
      expect(headers.get('cache-control')).toBe('public, max-age=300');
      expect(headers.get('content-type')).toMatch(/^application\/json\b/);
      const shown = body.keys as Record<string, string>[];
      expect(shown.map(({ alg, use, kty }) => [alg, use, kty])).toEqual([
        ['ES256', 'sig', 'EC'],
        ['RS256', 'sig', 'RSA'],
      ]);
      expect(shown.flatMap(Object.keys)).not.toEqual(expect.arrayContaining(['d']));
      expect(shown.flatMap(Object.keys)).not.toEqual(expect.arrayContaining(['k']));
      expect(createPublicKey({ key: shown[1], format: 'jwk' }).equals(rs256.publicKey)).toBe(true);
    });

    test('lets another service verify access tokens', async () => {
      const jwt = { keys, issuer: 'https://auth.example', audience: 'https://api.example' };
      const app = await start({ adapter, databaseName, options: { jwt } });
      const { access } = await app.login();
      const remote = createRemoteJWKSet(new URL(`${app.url}/api/session/jwks.json`));
      const expected = { issuer: jwt.issuer, audience: jwt.audience, typ: 'at+jwt' };
      const { payload } = await jwtVerify(access, remote, expected);
      expect(payload).toMatchObject({ sub: 'alice', token_type: 'access' });
    });

    test('GET admin/keys shows their states, and no key material', async () => {
      const app = await start({
        adapter,
        databaseName,
        options: { jwt: { managed }, admin: { guard: JwtAuthGuard } },
      });
      const { access } = await app.login();
      const listed = async () =>
        (await app.request('GET', '/api/session/admin/keys', { headers: bearer(access) })).body;
      await app.get(ManagedKeys).rotate();
      const keys = await listed();
      expect(keys).toEqual([
        {
          kid: decoded(access, 0).kid,
          algorithm: 'HS256',
          state: 'active',
          created_at: expect.stringMatching(/Z$/),
          active_at: expect.stringMatching(/Z$/),
        },
        expect.objectContaining({ state: 'pending', active_at: null }),
      ]);
    });

    test('is empty if all keys are secrets', async () => {
      const app = await start({ adapter, databaseName });
      const { status, body } = await app.request('GET', '/api/session/jwks.json');
      expect([status, body]).toEqual([200, { keys: [] }]);
    });

    test('shows a managed key before it signs', async () => {
      const app = await start({
        adapter,
        databaseName,
        options: { jwt: { managed: { ...managed, algorithm: 'ES256' } }, revocation: { pollInterval: '50ms' } },
      });
      const { access } = await app.login();
      await app.get(ManagedKeys).rotate();
      const shown = async () =>
        ((await app.request('GET', '/api/session/jwks.json')).body.keys as { kid: string }[]).map(({ kid }) => kid);
      while ((await shown()).length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
      const { kid } = decoded(access, 0);
      expect(await shown()).toContain(kid);
      expect(decoded((await app.login()).access, 0).kid).toBe(kid);
    });
  });
});

onEachDatabase((databaseName) => {
  test('sessions work with managed keys only, without a secret in the options', async () => {
    const app = await start({ databaseName, options: { jwt: { managed } } });
    const first = await app.login();
    const refreshed = await app.post('refresh/', { refresh: first.refresh, secret_key: SECRET_KEY, session: 'LONG' });
    expect(refreshed.status).toBe(200);
    expect((await app.post('list/', { session: 'ALL' }, bearer(refreshed.body.access))).status).toBe(200);
    const { kid, alg } = decoded(first.access, 0);
    expect([alg, typeof kid]).toEqual(['HS256', 'string']);
  });

  // An embedded database in memory cannot be shared by two applications.
  if (databaseName === 'postgres' || databaseName === 'mariadb') {
    test('tokens survive a restart, and every process accepts those of the others', async () => {
      const database = await share(databaseName);
      const options = { jwt: { managed } };
      const one = await start({ database, options });
      const { access, refresh } = await one.login();
      await one.app.close();
      const [two, three] = [await start({ database, options }), await start({ database, options })];
      expect((await two.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(200);
      const body = { refresh, secret_key: SECRET_KEY, session: 'LONG' };
      const refreshed = await three.post('refresh/', body);
      expect(refreshed.status).toBe(200);
      expect((await two.post('list/', { session: 'ALL' }, bearer(refreshed.body.access))).status).toBe(200);
    });

    test('an application with another encryption key does not start', async () => {
      const database = await share(databaseName);
      await start({ database, options: { jwt: { managed } } });
      const other = { jwt: { managed: { encryptionKey: 'quite another key of more than thirty-two bytes' } } };
      await expect(startApp({ database, options: other })).rejects.toThrow(MultiSessionConfigurationError);
    });
  }

  test('a replay after a key rotation gets the identical refresh token, signed by the key of its generation', async () => {
    const options: Partial<MultiSessionOptions> = {
      jwt: { managed },
      // A process that is this far behind answers 503, so this is more than a busy machine needs.
      revocation: { pollInterval: '20ms', maxStaleness: '3s' },
      policies: { LONG: { refreshTokenLifetime: '1h', reuseGrace: '1m' } },
    };
    const app = await start({ databaseName, options });
    const { refresh, access } = await app.login();
    const ask = () => app.post('refresh/', { refresh, secret_key: SECRET_KEY, session: 'LONG' });
    const first = await ask();
    await app.get(ManagedKeys).rotate();
    const { kid } = decoded(access, 0);
    for (;;) {
      const again = await ask();
      expect(again.body.refresh).toBe(first.body.refresh);
      if (decoded(again.body.access, 0).kid !== kid) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect((await app.post('list/', { session: 'ALL' }, bearer(access))).status).toBe(200);
  });
});
