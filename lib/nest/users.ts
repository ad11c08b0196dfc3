import { Scope, type Type } from '@nestjs/common';
import { ContextIdFactory, type ModuleRef, type ModulesContainer } from '@nestjs/core';
import { MultiSessionConfigurationError } from '../errors.js';
import { kindOf } from '../option-check.js';
import { UserAuthenticator, type UserDirectory, type Users } from '../session/authenticator.js';

type ContextId = ReturnType<typeof ContextIdFactory.create>;
type NestModule = NonNullable<ReturnType<ModulesContainer['get']>>;
export type UsersProvider = NonNullable<ReturnType<NestModule['getProviderByKey']>>;

/**
 * Returns the application's users from Nest.
 *
 * A provider with the default scope is looked up once, at the first call: it may depend on `SessionService`. A request-scoped,
 * durable or transient provider is resolved at each call, in the context of the request.
 * @param moduleRef of the module that provides `UserAuthenticator`
 * @param provider the provider of `UserAuthenticator`
 */
export function usersOf(moduleRef: ModuleRef, provider: UsersProvider): Users {
  const contexts = new RequestContexts(moduleRef, provider);
  const get = () => moduleRef.get<unknown, UserDirectory | null>(UserAuthenticator, { strict: true });
  const resolve: Users = (request) =>
    moduleRef.resolve<unknown, UserDirectory | null>(UserAuthenticator, contexts.of(request), { strict: true });
  let users: Users | undefined;
  return (request) => {
    if (!users) {
      const found = isScoped(moduleRef, provider) ? undefined : get();
      users = found === undefined ? resolve : () => found;
    }
    return users(request);
  };
}

/** Whether the provider must be resolved for each request. */
export function isScoped(moduleRef: ModuleRef, provider: UsersProvider): boolean {
  if (provider.isTransient || !provider.isDependencyTreeStatic()) return true;
  // An alias (`useExisting`) has the default scope even if it stands for a transient provider.
  return provider.isAlias && moduleRef.introspect(UserAuthenticator as Type).scope !== Scope.DEFAULT;
}

/**
 * Checks the application's users at start, if they are not made for each request.
 * @throws MultiSessionConfigurationError if they have none of the methods
 */
export function assertUsable(moduleRef: ModuleRef, provider: UsersProvider): void {
  if (isScoped(moduleRef, provider)) return;
  const users: unknown = moduleRef.get(UserAuthenticator, { strict: true });
  // The module itself provides null without the option.
  if (users === null && provider.isNotMetatype && !provider.isFactory) return;
  if (typeof users !== 'object' || users === null) {
    throw new MultiSessionConfigurationError([
      `authenticator: must provide an object that extends UserAuthenticator or UserDirectory; got ${kindOf(users)}`,
    ]);
  }
  const faults = ['authenticate', 'findActive', 'buildClaims', 'findBySubject', 'describeUsers', 'searchUsers'].flatMap(
    (name) => {
      const method = (users as Record<string, unknown>)[name];
      return method === undefined || typeof method === 'function'
        ? []
        : [`authenticator: ${users.constructor.name}.${name} must be a method; got ${kindOf(method)}`];
    },
  );
  if (faults.length > 0) throw new MultiSessionConfigurationError(faults);
}

/** Gives all calls with the same request the same context, so that they get the same instances. */
class RequestContexts {
  private readonly known = new WeakMap<object, ContextId>();

  constructor(
    private readonly moduleRef: ModuleRef,
    private readonly provider: UsersProvider,
  ) {}

  of(request: unknown): ContextId {
    if (request === null || typeof request !== 'object') return ContextIdFactory.create();
    let context = this.known.get(request);
    if (!context) {
      // Returns Nest's own context if the controller is request-scoped too.
      context = ContextIdFactory.getByRequest(request);
      this.moduleRef.registerRequestByContextId(this.provided(request, context), context);
      this.known.set(request, context);
    }
    return context;
  }

  /** Returns the value of `@Inject(REQUEST)`, as Nest's router does: durable providers get the payload of the context. */
  private provided(request: object, { payload }: ContextId): unknown {
    if (payload === undefined) return request;
    return this.provider.isDependencyTreeDurable() ? payload : Object.assign(request, payload);
  }
}
