import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';
import { SessionsController } from 'nestjs-multisession';
import { documentSessions } from 'nestjs-multisession/swagger';
import { bearer, startApp, type TestApp } from '../helpers/app.js';

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
