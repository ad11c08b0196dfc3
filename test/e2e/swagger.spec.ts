import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import {
  AdminSessionsController,
  DevicesController,
  JwtAuthGuard,
  PERMANENT_DEVICE,
  SessionsController,
} from 'nestjs-multisession';
import { documentSessions } from 'nestjs-multisession/swagger';
import { bearer, startApp, type TestApp } from '../helpers/app.js';

test('documentSessions tells of devices where they are there', async () => {
  class Devices extends DevicesController {}
  class Sessions extends SessionsController {}
  const app = await startApp({
    options: { policies: { DEVICE: PERMANENT_DEVICE }, controller: Sessions, path: 'api/session', devices: Devices },
  });
  try {
    documentSessions(Sessions, { devices: Devices });
    const { paths } = SwaggerModule.createDocument(app.app, new DocumentBuilder().addBearerAuth().build());
    const { post: refresh } = paths['/api/session/device-refresh-token'] as any;
    expect(refresh.parameters.map(({ name, in: place }: any) => `${place} ${name}`)).toEqual([
      'header Permanent-Token',
      'header X-Secret-Key',
    ]);
    expect(Object.keys(refresh.responses as object)).toEqual(['200', '400', '401', '503']);
    const { delete: logout } = paths['/api/session/device-logout'] as any;
    expect(Object.keys(logout.responses as object)).toEqual(['204', '400', '401', '404', '503']);
    expect(logout.security).toEqual([{ bearer: [] }]);
    const { post: login } = paths['/api/session/login'] as any;
    const answers = login.responses['200'].content['application/json'].schema.oneOf;
    expect(answers.map(({ required }: any) => required.join())).toEqual([
      'refresh,access,session_id',
      'token,permanent_token,device_id',
    ]);
  } finally {
    await app.close();
  }
});

test('documentSessions tells of administrators’ routes where they are there', async () => {
  class Admin extends AdminSessionsController {}
  class Sessions extends SessionsController {}
  const options = { controller: Sessions, path: 'api/session', admin: { guard: JwtAuthGuard, controller: Admin } };
  const app = await startApp({ options });
  try {
    documentSessions(Sessions, { admin: Admin });
    const { paths } = SwaggerModule.createDocument(app.app, new DocumentBuilder().addBearerAuth().build());
    const { get: list } = paths['/api/session/admin/sessions'] as any;
    const { access } = await app.login();
    const named = list.parameters.map(({ name, in: place }: any) => `${place} ${name}`);
    expect(named).toEqual(['query user', 'query type', 'query since', 'query limit', 'query after']);
    const { status, body } = await app.request('GET', '/api/session/admin/sessions', { headers: bearer(access) });
    const { properties } = list.responses['200'].content['application/json'].schema;
    expect([status, Object.keys(properties as object)]).toEqual([200, Object.keys(body as object)]);
    expect(Object.keys(properties.sessions.items.properties as object).sort()).toEqual(
      Object.keys(body.sessions[0] as object).sort(),
    );
    const { post: endAll } = paths['/api/session/admin/sessions/end-all'] as any;
    const { confirm } = endAll.requestBody.content['application/json'].schema.properties;
    const confirmed = await app.post('admin/sessions/end-all', { confirm: confirm.enum[0] }, bearer(access));
    expect([confirmed.status, confirmed.body]).toEqual([200, { ended: 1 }]);
  } finally {
    await app.close();
  }
});

describe('documentSessions', () => {
  let app: TestApp;
  beforeAll(async () => void (app = await startApp({ options: { usernameField: 'email' } })));
  afterAll(() => app?.close());

  function documentedRoutes(): [string, any][] {
    const config = new DocumentBuilder().addBearerAuth().build();
    const { paths } = SwaggerModule.createDocument(app.app, config);
    return Object.entries(paths).flatMap(([path, { post }]) => (post ? [[path, post]] : []));
  }
  const bodyOf = (operation: any) => operation.requestBody.content['application/json'].schema;

  test('demands of a body what the routes demand, and tells every code that they then answer', async () => {
    documentSessions(SessionsController, { usernameField: 'email' });
    const { access } = await app.login({ email: 'alice' });
    const routes = documentedRoutes();
    expect(routes).toHaveLength(9);
    for (const [path, operation] of routes) {
      const { status, body } = await app.request('POST', path, { body: {}, headers: bearer(access) });
      expect([path, Object.keys(body.errors).sort()]).toEqual([path, bodyOf(operation).required.sort()]);
      const { properties, required } = operation.responses[status].content['application/json'].schema;
      expect(properties.code.enum).toContain(body.code);
      expect(Object.keys(properties)).toEqual(expect.arrayContaining(Object.keys(body)));
      expect(Object.keys(body)).toEqual(expect.arrayContaining(required));
    }
  });

  test('tells of the public keys', () => {
    documentSessions(SessionsController, { usernameField: 'email' });
    const { paths } = SwaggerModule.createDocument(app.app, new DocumentBuilder().build());
    const { get } = paths['/api/session/jwks.json'];
    expect(get).toMatchObject({ tags: ['sessions'], responses: { 200: { description: 'A JWK Set (RFC 7517)' } } });
  });

  test('a further call replaces the bodies and adds nothing twice', () => {
    const before = documentedRoutes().map(([, { responses, security }]) => ({ responses, security }));
    documentSessions(SessionsController, { secretKey: false });
    const routes = documentedRoutes();
    expect(routes.map(([, { responses, security }]) => ({ responses, security }))).toEqual(before);
    const fields = routes.map(([, operation]) => Object.keys(bodyOf(operation).properties));
    expect(fields[0]).toEqual(['username', 'password', 'session', 'info']);
    expect(fields.flat()).not.toContain('secret_key');
    expect(routes[0][1].tags).toEqual(['sessions']);
  });
});
