import { applyDecorators, type ExecutionContext, SetMetadata } from '@nestjs/common';
import type { Auth, RouteContract } from './contract.js';

/**
 * The metadata key of the library's routes. Its value on a handler is a {@link SessionRouteInfo}. Read it with Nest's
 * `Reflector`, or with {@link sessionRouteOf}.
 */
export const MULTI_SESSION_ROUTE = 'multi-session:route';

/** Describes a route of the library to the application's own guards, interceptors and throttlers. */
export interface SessionRouteInfo {
  /** The name of the method that handles the route in the library's controller, such as `login`. */
  readonly name: string;
  /** Who may call the route. */
  readonly auth: Auth;
  /** Whether the route checks a password, as `login/` and `reauthenticate/` do. Throttle such a route. */
  readonly checksPassword: boolean;
}

// Metadata keys of packages that the library does not import.
const CACHE_KEY_OF_NEST = 'cache_module:cache_key';
const EXCLUDED_OF_SWAGGER = 'swagger/apiExcludeEndpoint';
const ROUTE_CONFIG_OF_FASTIFY = '__fastify_route_config__';

/** The member of Fastify's route configuration that marks the library's routes. */
export const FASTIFY_ROUTE_MARK = 'multiSessionRoute';

/**
 * Tells whether a call reaches a route of the library. Use it to leave these routes out of your own guards, response envelopes
 * and caches, or to throttle those that check a password.
 *
 * @returns the description of the route, or undefined for any other handler
 */
export function sessionRouteOf(context: Pick<ExecutionContext, 'getHandler'>): SessionRouteInfo | undefined {
  return Reflect.getMetadata(MULTI_SESSION_ROUTE, context.getHandler()) as SessionRouteInfo | undefined;
}

/** Marks a handler as a route of the library. */
export function RouteMetadata(name: string, { auth, loginGuards, body, anyMethod }: RouteContract): MethodDecorator {
  return applyDecorators(
    SetMetadata(MULTI_SESSION_ROUTE, { name, auth, checksPassword: loginGuards === true } satisfies SessionRouteInfo),
    // Without a key, `CacheInterceptor` of @nestjs/cache-manager caches nothing. By default its key is the URL, so that one
    // user would get another's answer. Versions before 3.1 do not support a function here.
    SetMetadata(CACHE_KEY_OF_NEST, () => undefined),
    SetMetadata(ROUTE_CONFIG_OF_FASTIFY, { [FASTIFY_ROUTE_MARK]: true }),
    ...(anyMethod ? [SetMetadata(EXCLUDED_OF_SWAGGER, { disable: true })] : []),
    ...(body ? [ValidatedByGuard] : []),
  );
}

/**
 * Hides the classes of the parameters from pipes. `BodyGuard` validates the body by its own rules. With
 * `validateCustomDecorators`, a global `ValidationPipe` would validate it again, and would demand every optional field.
 */
const ValidatedByGuard: MethodDecorator = (prototype, method) => {
  const types = Reflect.getMetadata('design:paramtypes', prototype, method) as unknown[] | undefined;
  if (types)
    Reflect.defineMetadata(
      'design:paramtypes',
      types.map(() => Object),
      prototype,
      method,
    );
};
