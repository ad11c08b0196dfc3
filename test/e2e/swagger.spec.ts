import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import {
  AdminSessionsController,
  DevicesController,
  JwtAuthGuard,
  PERMANENT_DEVICE,
  SessionManagementController,
  SessionsController,
} from 'nestjs-multisession';
import { documentSessions } from 'nestjs-multisession/swagger';
import { ROOT } from '../docs/documents.js';
import { typeErrors } from '../docs/program.js';
import { bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';
import { ASKS_FOR_COOKIES } from '../helpers/cookies.js';
import { typesOf } from '../helpers/openapi-types.js';

const documentOf = ({ app }: TestApp): OpenAPIObject =>
  SwaggerModule.createDocument(app, new DocumentBuilder().addBearerAuth().build());

/** Reads schemas of a document, with references resolved. */
class Schemas {
  constructor(readonly document: OpenAPIObject) {}

  resolve(schema: any): any {
    return schema.$ref ? this.document.components?.schemas?.[schema.$ref.split('/').at(-1)] : schema;
  }

  /** The properties of an object, with those of the schemas that it extends. */
  propertiesOf(schema: any): Record<string, any> {
    const { allOf = [], properties } = this.resolve(schema);
    return Object.assign({}, ...allOf.map((part: any) => this.propertiesOf(part)), properties);
  }

  requiredOf(schema: any): string[] {
    const { allOf = [], required = [] } = this.resolve(schema);
    return [...allOf.flatMap((part: any) => this.requiredOf(part)), ...required];
  }

  bodyOf(operation: any): any {
    return operation.requestBody.content['application/json'].schema;
  }

  answerOf(operation: any, status: number | string): any {
    return operation.responses[status].content?.['application/json'].schema;
  }

  /** Finds what is wrong with a value; nothing if it is as the schema says. */
  faultsOf(schema: any, value: any, path = ''): string[] {
    const {
      oneOf,
      type,
      nullable,
      items,
      additionalProperties,
      enum: values,
      allOf,
      properties,
    } = this.resolve(schema);
    if (value === null) return nullable ? [] : [`${path} is null`];
    if (oneOf) {
      const faults = oneOf.map((option: any) => this.faultsOf(option, value, path));
      return faults.some(({ length }: string[]) => length === 0) ? [] : faults.flat();
    }
    if (values && !values.includes(value)) return [`${path} is ${value}`];
    if (type === 'array') {
      return value.flatMap((item: unknown, at: number) => this.faultsOf(items, item, `${path}[${at}]`));
    }
    if (!properties && !allOf && type !== 'object') {
      const found = Number.isInteger(value) ? 'integer' : typeof value;
      return found === type ? [] : [`${path} is of the type ${found}`];
    }
    const known = this.propertiesOf(schema);
    return [
      ...this.requiredOf(schema).flatMap((name) => (name in value ? [] : [`${path}.${name} is missing`])),
      ...Object.entries(value as object).flatMap(([name, member]) => {
        if (known[name]) return this.faultsOf(known[name], member, `${path}.${name}`);
        if (additionalProperties === true) return [];
        if (additionalProperties) return this.faultsOf(additionalProperties, member, `${path}.${name}`);
        return [`${path}.${name} is not documented`];
      }),
    ];
  }
}

describe('documentSessions with every option', () => {
  class Sessions extends SessionsController {}
  class Devices extends DevicesController {}
  class Admin extends AdminSessionsController {}
  let app: TestApp;
  let schemas: Schemas;

  beforeAll(async () => {
    app = await startApp({
      options: {
        policies: { LONG: { refreshTokenLifetime: '30d' }, DEVICE: PERMANENT_DEVICE },
        controller: Sessions,
        management: SessionManagementController,
        path: 'api/session',
        devices: Devices,
        admin: { guard: JwtAuthGuard, controller: Admin },
        cookies: true,
      },
    });
    documentSessions(Sessions, { devices: Devices, admin: Admin, cookies: true });
    schemas = new Schemas(documentOf(app));
  });
  afterAll(() => app?.close());

  const operation = (method: string, path: string): any =>
    (schemas.document.paths[`/api/session/${path}`] as any)[method];
  const parametersOf = (of: any): string[] => of.parameters.map(({ name, in: place }: any) => `${place} ${name}`);

  test('documents the routes of devices', () => {
    const refresh = operation('post', 'device-refresh-token');
    expect(parametersOf(refresh)).toEqual(['header Permanent-Token', 'header X-Secret-Key']);
    expect(Object.keys(refresh.responses as object)).toEqual(['200', '400', '401', '503']);
    const logout = operation('delete', 'device-logout');
    expect(Object.keys(logout.responses as object)).toEqual(['204', '400', '401', '403', '404', '503']);
    expect(logout.security).toEqual([{ bearer: [] }, { cookie: [] }]);
  });

  test('documents each form of the answer of a login', () => {
    const answers = schemas.answerOf(operation('post', 'login'), 200).oneOf;
    expect(answers.map((answer: any) => schemas.requiredOf(answer).join())).toEqual([
      'refresh,access,session_id',
      'token,permanent_token,device_id',
      'session_id,session_type,expires_in,session_expires_in',
    ]);
  });

  test('documents the parameters of administrators', () => {
    expect(parametersOf(operation('get', 'admin/sessions'))).toEqual([
      'query user',
      'query user_name',
      'query ip_address',
      'query device',
      'query type',
      'query since',
      'query after',
      'query limit',
    ]);
  });

  test('asks for X-Session-Transport if cookies let a request in that changes something', () => {
    const withHeader = Object.entries(schemas.document.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([, of]) => of.parameters?.some(({ name }: any) => name === 'X-Session-Transport'))
        .map(([method]) => `${method} ${path.replace('/api/session/', '')}`),
    );
    expect(withHeader.sort()).toEqual([
      'delete admin/sessions/{id}',
      'delete admin/users/{userId}/sessions',
      'delete device-logout',
      'delete devices/{id}',
      'delete sessions',
      'delete sessions/{id}',
      'post admin/events/replay',
      'post admin/sessions/end-all',
      'post dbsc/step-up',
      'post destroy',
      'post destroyAllOther',
      'post list',
      'post login',
      'post logout',
      'post reauthenticate',
      'post refresh',
      'post renew',
      'post sessions/delete-list',
    ]);
    expect(schemas.requiredOf(schemas.bodyOf(operation('post', 'login')))).toEqual(['username', 'password', 'session']);
  });

  test('answers as it is documented', async () => {
    const { access, refresh } = await app.login();
    const credentials = { username: 'alice', password: 'alice-password' };
    const device = await app.post('login', { ...credentials, session: 'DEVICE', secret_key: SECRET_KEY });
    const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
      const answer = await app.request(method, `/api/session/${path}`, {
        body,
        headers: { ...bearer(access), ...headers },
      });
      const documented = schemas.answerOf(operation(method.toLowerCase(), path.split('?')[0]), answer.status);
      const faults = documented ? schemas.faultsOf(documented, answer.body) : [];
      return [method, path, answer.status, faults];
    };
    const asked = { session: 'LONG', secret_key: SECRET_KEY };
    const fine = (method: string, path: string, status = 200) => [method, path, status, []];
    expect(await ask('POST', 'login', { ...credentials, ...asked })).toEqual(fine('POST', 'login'));
    expect(await ask('POST', 'login', { ...credentials, ...asked, session: 'DEVICE' })).toEqual(fine('POST', 'login'));
    expect(await ask('POST', 'login', { ...credentials, ...asked }, ASKS_FOR_COOKIES)).toEqual(fine('POST', 'login'));
    expect(await ask('POST', 'login', {})).toEqual(fine('POST', 'login', 400));
    expect(await ask('POST', 'login', { ...credentials, ...asked, password: 'x' })).toEqual(fine('POST', 'login', 401));
    expect(await ask('POST', 'refresh', { ...asked, refresh })).toEqual(fine('POST', 'refresh'));
    expect(await ask('POST', 'list', { session: 'ALL' })).toEqual(fine('POST', 'list'));
    expect(await ask('POST', 'destroy', { session_id: 'x' })).toEqual(fine('POST', 'destroy', 404));
    expect(await ask('GET', 'jwks.json')).toEqual(fine('GET', 'jwks.json'));
    expect(await ask('GET', 'sessions')).toEqual(fine('GET', 'sessions'));
    expect(await ask('POST', 'verify', { token: access, secret_key: SECRET_KEY })).toEqual(fine('POST', 'verify'));
    expect(await ask('POST', 'verify', { token: refresh, secret_key: SECRET_KEY })).toEqual(fine('POST', 'verify'));
    expect(await ask('POST', 'verify', { token: 'x', secret_key: SECRET_KEY })).toEqual(fine('POST', 'verify'));
    expect(await ask('POST', 'sessions/delete-list', { ids: [] })).toEqual(fine('POST', 'sessions/delete-list'));
    expect(await ask('POST', 'sessions/delete-list', {})).toEqual(fine('POST', 'sessions/delete-list', 400));
    const permanent = { 'permanent-token': device.body.permanent_token as string, 'x-secret-key': SECRET_KEY };
    expect(await ask('POST', 'device-refresh-token', undefined, permanent)).toEqual(
      fine('POST', 'device-refresh-token'),
    );
    expect(await ask('GET', 'devices')).toEqual(fine('GET', 'devices'));
    expect(await ask('GET', 'admin/sessions')).toEqual(fine('GET', 'admin/sessions'));
    expect(await ask('GET', 'admin/sessions?limit=1')).toEqual(fine('GET', 'admin/sessions?limit=1'));
    expect(await ask('GET', 'admin/sessions?limit=x')).toEqual(fine('GET', 'admin/sessions?limit=x', 400));
    expect(await ask('GET', 'admin/statistics')).toEqual(fine('GET', 'admin/statistics'));
    expect(await ask('POST', 'reauthenticate', { ...credentials, username: 'bob' })).toEqual(
      fine('POST', 'reauthenticate', 401),
    );
    expect(await ask('DELETE', 'sessions')).toEqual(fine('DELETE', 'sessions'));
    const { confirm } = schemas.propertiesOf(schemas.bodyOf(operation('post', 'admin/sessions/end-all')));
    expect(await ask('POST', 'admin/sessions/end-all', { confirm: confirm.enum[0] })).toEqual(
      fine('POST', 'admin/sessions/end-all'),
    );
  });
});

describe('documentSessions', () => {
  let app: TestApp;
  beforeAll(async () => void (app = await startApp({ options: { usernameField: 'email' } })));
  afterAll(() => app?.close());

  /** The routes that take a body. */
  function documentedRoutes(schemas: Schemas): [string, any][] {
    return Object.entries(schemas.document.paths).flatMap(([path, { post }]) => (post ? [[path, post]] : []));
  }

  test('demands of a body what the routes demand, and documents every code that they then answer', async () => {
    documentSessions(SessionsController, { usernameField: 'email' });
    const { access } = await app.login({ email: 'alice' });
    const schemas = new Schemas(documentOf(app));
    const routes = documentedRoutes(schemas);
    expect(routes).toHaveLength(10);
    for (const [path, operation] of routes) {
      const { status, body } = await app.request('POST', path, { body: {}, headers: bearer(access) });
      const required = schemas.requiredOf(schemas.bodyOf(operation));
      expect([path, Object.keys(body.errors).sort()]).toEqual([path, required.sort()]);
      const answer = schemas.answerOf(operation, status);
      expect(schemas.propertiesOf(answer).code.enum).toContain(body.code);
      expect([path, schemas.faultsOf(answer, body)]).toEqual([path, []]);
    }
  });

  test('documents the public keys', () => {
    documentSessions(SessionsController, { usernameField: 'email' });
    const { get } = documentOf(app).paths['/api/session/jwks.json'];
    expect(get).toMatchObject({ tags: ['sessions'], responses: { 200: { description: 'A JWK Set (RFC 7517)' } } });
  });

  test('a second call replaces the bodies and adds nothing twice', () => {
    const before = documentedRoutes(new Schemas(documentOf(app))).map(([, { responses, security }]) => ({
      responses,
      security,
    }));
    documentSessions(SessionsController, { secretKey: false });
    const schemas = new Schemas(documentOf(app));
    const routes = documentedRoutes(schemas);
    expect(routes.map(([, { responses, security }]) => ({ responses, security }))).toEqual(before);
    const fields = routes.map(([, operation]) => Object.keys(schemas.propertiesOf(schemas.bodyOf(operation))));
    expect(fields[0]).toEqual(['username', 'password', 'session', 'info', 'persistent']);
    expect(fields.flat()).not.toContain('secret_key');
    expect(routes[0][1].tags).toEqual(['sessions']);
  });
});

describe('named schemas', () => {
  let app: TestApp;
  let document: OpenAPIObject;

  beforeAll(async () => {
    const options = {
      policies: { LONG: { refreshTokenLifetime: '30d' }, DEVICE: PERMANENT_DEVICE } as const,
      devices: true,
      admin: { guard: JwtAuthGuard },
      cookies: true,
    };
    app = await startApp({ options });
    documentSessions(SessionsController, { devices: true, admin: true, cookies: true });
    document = documentOf(app);
  });
  afterAll(() => app?.close());

  test('are there for every body, every answer and the errors', () => {
    expect(Object.keys(document.components?.schemas ?? {}).sort()).toEqual([
      'ActiveToken',
      'AdminAction',
      'AdminActionPage',
      'AdminPastEvent',
      'AdminSession',
      'AdminSessionHistory',
      'AdminSessionPage',
      'CookieAnswer',
      'DayStatistics',
      'DeadLetter',
      'DeleteListRequest',
      'DestroyAllOtherRequest',
      'DestroyRequest',
      'Device',
      'DeviceLoginAnswer',
      'DeviceTokenAnswer',
      'EmptyAnswer',
      'EndAllProgress',
      'EndAllRequest',
      'EndedAnswer',
      'ErrorBody',
      'EventDestination',
      'EventStatus',
      'FeedEpoch',
      'FeedTokens',
      'FeedType',
      'InactiveToken',
      'JwkSet',
      'ListAnswer',
      'ListRequest',
      'ListedSession',
      'LoginAnswer',
      'LoginRequest',
      'LogoutRequest',
      'ManagedSession',
      'PastEvent',
      'ReauthenticateRequest',
      'RefreshAnswer',
      'RefreshRequest',
      'RenewRequest',
      'RenewedToken',
      'ReplayEventsRequest',
      'ReplayedEvents',
      'Revocations',
      'Session',
      'SessionHistory',
      'SessionStatistics',
      'SessionsOfType',
      'SigningKey',
      'Software',
      'VerifyRequest',
    ]);
    expect((document.components?.schemas?.ErrorBody as any).properties.code.enum).toEqual(
      expect.arrayContaining(['validation_failed', 'token_not_valid', 'unavailable']),
    );
  });

  test('every route is documented, with a summary, and every error with an example for each of its codes', () => {
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods as Record<string, any>).map(([method, of]) => [`${method} ${path}`, of] as const),
    );
    expect(operations).toHaveLength(33);
    for (const [name, { summary, tags, responses }] of operations) {
      expect([name, summary, tags]).toEqual([name, expect.stringMatching(/^[A-Z]/), ['sessions']]);
      for (const [status, { content }] of Object.entries<any>(responses)) {
        if (Number(status) < 400) continue;
        const { schema, examples } = content['application/json'];
        expect(schema.allOf[0]).toEqual({ $ref: '#/components/schemas/ErrorBody' });
        const codes = schema.allOf[1].properties.code.enum;
        expect(Object.values<any>(examples).map(({ value }) => `${value.statusCode} ${value.code}`)).toEqual(
          codes.map((code: string) => `${status} ${code}`),
        );
      }
    }
  });

  test('every value has an example that looks real, or consists of values that have one', () => {
    const withoutExample: string[] = [];
    const examples: unknown[] = [];
    const visit = (schema: any, path: string) => {
      if (schema.example !== undefined) examples.push(schema.example);
      else if (schema.properties) {
        for (const [name, property] of Object.entries(schema.properties as object)) visit(property, `${path}.${name}`);
      } else if (schema.items) visit(schema.items, `${path}[]`);
      else if (!schema.$ref && !schema.allOf && !schema.additionalProperties && schema.type !== 'object')
        withoutExample.push(path);
    };
    for (const [name, schema] of Object.entries(document.components?.schemas ?? {})) visit(schema, name);
    expect(withoutExample).toEqual([]);
    expect(examples.length).toBeGreaterThan(70);
    expect(examples).not.toContain('string');
  });

  test("a client's types can be generated from them", () => {
    const client = `
      import type { AdminSessionPage, ErrorBody, LoginRequest, ManagedSession, Operations } from './generated.js';

      export const login: LoginRequest = { username: 'alice', password: 'secret', session: 'LONG' };
      export const body: Operations['SessionsController_login']['body'] = login;
      export function idOf(answer: Operations['SessionsController_login']['answers'][200]): string {
        return 'device_id' in answer ? answer.device_id : answer.session_id;
      }
      export function isFull(error: Operations['SessionsController_login']['answers'][409]): boolean {
        const code: 'session_limit_reached' = error.code;
        return (error satisfies ErrorBody).statusCode === 409 && code === 'session_limit_reached';
      }
      export const browsers = (sessions: Operations['SessionManagementController_list']['answers'][200]) =>
        sessions.map((session: ManagedSession): string => session.browser?.name ?? session.id);
      export const next = (page: AdminSessionPage): string | null => page.next;
      // @ts-expect-error a body without a password
      export const faulty: LoginRequest = { username: 'alice', session: 'LONG' };
      // @ts-expect-error a code that this route does not answer
      export const code: Operations['SessionsController_list']['answers'][400]['code'] = 'session_not_found';
    `;
    const modules = { 'generated.ts': typesOf(document), 'client.ts': client };
    const paths = Object.entries(modules).map(([name, text]) => [join(ROOT, 'test/e2e', name), text] as const);
    expect(typeErrors(new Map(paths))).toEqual([]);
  });
});
