import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Inject, Injectable, Module, type Provider, Scope } from '@nestjs/common';
import {
  type ContextId,
  ContextIdFactory,
  type ContextIdStrategy,
  type HostComponentInfo,
  REQUEST,
} from '@nestjs/core';
import { decodeJwt } from 'jose';
import {
  type Credentials,
  type MultiSessionModuleOptions,
  type Session,
  SessionService,
  UserAuthenticator,
  UserDirectory,
} from 'nestjs-multisession';
import { ADAPTERS, bearer, SECRET_KEY, startApp, type TestApp } from '../helpers/app.js';

interface TenantRequest {
  headers?: Record<string, string | undefined>;
  /** The payload of a durable context. */
  tenant?: string;
}

const tenantOf = (request: TenantRequest | undefined) => request?.tenant ?? request?.headers?.['x-tenant'] ?? 'none';

/** The instances that the tests have made, in order. */
const made: TenantUsers[] = [];

/** Users who are separate for each tenant. They see the request that they were made for, and that of each call. */
class TenantUsers extends UserAuthenticator {
  readonly calls: string[] = [];

  constructor(readonly owner?: TenantRequest) {
    super();
    made.push(this);
  }

  authenticate({ username }: Credentials, request: unknown) {
    this.calls.push(`authenticate ${tenantOf(request as TenantRequest)}`);
    return Promise.resolve({ id: `${tenantOf(this.owner ?? (request as TenantRequest))}/${username}` });
  }

  override findActive(id: string | number, request?: unknown) {
    this.calls.push(`findActive ${tenantOf(request as TenantRequest)}`);
    return Promise.resolve({ id });
  }

  override buildClaims(_session: Session, _user: object, request?: unknown) {
    this.calls.push(`buildClaims ${tenantOf(request as TenantRequest)}`);
    return { tenant: tenantOf(this.owner ?? (request as TenantRequest)) };
  }
}

@Injectable({ scope: Scope.REQUEST })
class RequestUsers extends TenantUsers {
  constructor(@Inject(REQUEST) request: TenantRequest) {
    super(request);
  }
}

@Injectable({ scope: Scope.REQUEST, durable: true })
class DurableUsers extends TenantUsers {
  constructor(@Inject(REQUEST) request: TenantRequest) {
    super(request);
  }
}

@Injectable({ scope: Scope.TRANSIENT })
class TransientUsers extends TenantUsers {
  constructor() {
    super();
  }
}

/** A provider of the application that is different for each request. */
@Injectable({ scope: Scope.REQUEST })
class Tenant {
  readonly headers: TenantRequest['headers'];
  constructor(@Inject(REQUEST) request: TenantRequest) {
    this.headers = { 'x-tenant': tenantOf(request) };
  }
}

@Injectable()
class DependentUsers extends TenantUsers {
  constructor(tenant: Tenant) {
    super(tenant);
  }
}

const PROVIDED: Provider[] = [RequestUsers, DurableUsers, TransientUsers, Tenant, DependentUsers];

@Module({ providers: PROVIDED, exports: [RequestUsers, DurableUsers, TransientUsers, Tenant, DependentUsers] })
class TenantsModule {}

const FACTORY = { useFactory: (tenant: Tenant) => new TenantUsers(tenant), inject: [Tenant] };

type Authenticator = NonNullable<MultiSessionModuleOptions['authenticator']>;

describe.each(ADAPTERS)('users that depend on the request, on %s', (adapter) => {
  let app: TestApp | undefined;

  const start = async (authenticator: Authenticator) => {
    app = await startApp({ adapter, options: { authenticator, imports: [TenantsModule] } });
    return app;
  };
  const login = (tenant: string) => ({ ...CREDENTIALS, headers: { 'x-tenant': tenant } });
  const CREDENTIALS = { username: 'ada', password: 'x', secret_key: SECRET_KEY, session: 'LONG', info: 'a test' };

  /** Logs in, refreshes and authenticates again as a tenant, and returns the tenants that the tokens name. */
  async function tenantsInTokens(app: TestApp, tenant: string) {
    const { headers, ...body } = login(tenant);
    const first = await app.post('login/', body, headers);
    expect(first).toMatchObject({ status: 200 });
    const again = { refresh: first.body.refresh as string, session: 'LONG', secret_key: SECRET_KEY };
    const second = await app.post('refresh/', again, headers);
    expect(second).toMatchObject({ status: 200 });
    const third = await app.post('reauthenticate/', body, { ...headers, ...bearer(second.body.access as string) });
    return [first, second, third].map(({ body }) => {
      const { sub, tenant } = decodeJwt(body.access as string);
      return [sub, tenant];
    });
  }

  beforeEach(() => void made.splice(0));

  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  test.each<[string, Authenticator]>([
    ['useClass, request-scoped', { useClass: RequestUsers }],
    ['useExisting, request-scoped', { useExisting: RequestUsers }],
    ['useClass, with a dependency that is request-scoped', { useClass: DependentUsers }],
    ['useExisting, with a dependency that is request-scoped', { useExisting: DependentUsers }],
    ['useFactory, with a dependency that is request-scoped', FACTORY],
  ])('%s: one instance per request', async (_, authenticator) => {
    const { url } = await start(authenticator);
    expect(url).toBeTruthy();
    for (const tenant of ['acme', 'umbrella']) {
      made.length = 0;
      const seen = [`${tenant}/ada`, tenant];
      expect(await tenantsInTokens(app as TestApp, tenant)).toEqual([seen, seen, seen]);
      expect(made.map(({ calls }) => calls)).toEqual([
        [`authenticate ${tenant}`, `buildClaims ${tenant}`],
        [`findActive ${tenant}`, `buildClaims ${tenant}`],
        [`authenticate ${tenant}`, `buildClaims ${tenant}`],
      ]);
    }
  });

  test.each<[string, Authenticator]>([
    ['useClass', { useClass: TransientUsers }],
    ['useExisting', { useExisting: TransientUsers }],
  ])('%s, transient', async (_, authenticator) => {
    await start(authenticator);
    const seen = ['acme/ada', 'acme'];
    expect(await tenantsInTokens(app as TestApp, 'acme')).toEqual([seen, seen, seen]);
  });

  test('the guard never asks for them', async () => {
    const app = await start({ useClass: RequestUsers });
    const { access } = await app.login({ username: 'ada' });
    made.length = 0;
    expect(await app.post('list/', { session: 'ALL' }, bearer(access))).toMatchObject({ status: 200 });
    expect(made).toEqual([]);
  });

  test('without a request they are resolved all the same', async () => {
    const app = await start({ useClass: RequestUsers });
    const sessions = app.get<SessionService>(SessionService);
    const { access, refresh } = await sessions.create('ada', { type: 'LONG' });
    expect(await sessions.verify(access)).toMatchObject({ claims: { tenant: 'none' } });
    const refreshed = await sessions.refresh(refresh);
    expect(await sessions.verify(refreshed.access)).toMatchObject({ claims: { tenant: 'none' } });
    const current = await sessions.verify(access);
    expect((await sessions.regenerate(current, { color: 'red' })).access).toBeTruthy();
  });

  test('`create`, `refresh` and `regenerate` pass on the request that they are given', async () => {
    class Directory extends UserDirectory<{ id: string; seen: unknown }> {
      override findActive(id: string | number, request?: unknown) {
        return Promise.resolve({ id: `${id}`, seen: request });
      }
      override buildClaims(_session: Session, { seen }: { seen?: unknown }, request?: unknown) {
        return { seen: tenantOf(seen as TenantRequest), built: tenantOf(request as TenantRequest) };
      }
    }
    const sessions = (await start({ useClass: Directory })).get<SessionService>(SessionService);
    const request = { headers: { 'x-tenant': 'acme' } };
    const { access, refresh } = await sessions.create('ada', { type: 'LONG' }, request);
    const first = await sessions.verify(access);
    const { access: second } = await sessions.refresh(refresh, { request });
    const { access: third } = await sessions.regenerate(first, {}, request);
    expect(first.claims).toMatchObject({ seen: 'none', built: 'acme' });
    expect((await sessions.verify(second)).claims).toMatchObject({ seen: 'acme', built: 'acme' });
    expect((await sessions.verify(third)).claims).toMatchObject({ seen: 'acme', built: 'acme' });
  });

  describe('durable', () => {
    /** Gives all requests of a tenant the same context. */
    class TenantStrategy implements ContextIdStrategy {
      private readonly tenants = new Map<string, ContextId>();

      attach(contextId: ContextId, request: TenantRequest) {
        const tenant = tenantOf(request);
        const tree = this.tenants.get(tenant) ?? ContextIdFactory.create();
        this.tenants.set(tenant, tree);
        const resolve = (info: HostComponentInfo) => (info.isTreeDurable ? tree : contextId);
        return { resolve, payload: { tenant } };
      }
    }

    beforeEach(() => ContextIdFactory.apply(new TenantStrategy()));
    afterEach(() => ContextIdFactory.apply(undefined as never));

    test.each<[string, Authenticator]>([
      ['useClass', { useClass: DurableUsers }],
      ['useExisting', { useExisting: DurableUsers }],
    ])('%s: one instance per tenant', async (_, authenticator) => {
      await start(authenticator);
      for (const tenant of ['acme', 'umbrella', 'acme']) {
        const seen = [`${tenant}/ada`, tenant];
        expect(await tenantsInTokens(app as TestApp, tenant)).toEqual([seen, seen, seen]);
      }
      expect(made.map(({ owner }) => tenantOf(owner))).toEqual(['acme', 'umbrella']);
    });
  });
});
