import {
  All,
  applyDecorators,
  type CanActivate,
  Delete,
  Get,
  HttpCode,
  Patch,
  Post,
  Put,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { NoStoreGuard } from './answer-headers.interceptor.js';
import { LoginGuards } from './application-guards.js';
import { AcceptsBody, BodyGuard } from './body.guard.js';
import { CallerGuard } from './caller.guard.js';
import type { Auth, Contract } from './contract.js';
import { Public, RequireSession } from './decorators.js';
import { JwtAuthGuard } from './jwt-auth.guard.js';
import { RouteMetadata } from './route-metadata.js';
import { BackendCallers, BackendKeyGuard, OwnBackendKeyGuard, SecretKeyGuard } from './secret-key.guard.js';

/** How a route checks its caller, in the order of the checks. */
interface AuthGuards {
  /** The access rule for `JwtAuthGuard`, in case the application binds it globally. */
  readonly access?: () => MethodDecorator;
  readonly beforeBody?: Type<CanActivate>;
  readonly afterBody?: Type<CanActivate>;
}

const AUTH_GUARDS: Readonly<Record<Auth, AuthGuards>> = {
  'access-token': { access: RequireSession, beforeBody: JwtAuthGuard },
  caller: { access: Public, afterBody: CallerGuard },
  'secret-key': { access: Public, afterBody: SecretKeyGuard },
  backend: { access: Public, afterBody: BackendKeyGuard },
  'backend-key': { access: Public, afterBody: OwnBackendKeyGuard },
  // `AdminGuards` is bound to the controller, so that it also protects routes that a subclass adds.
  administrator: {},
  // The handlers check more than a guard could: a refusal with the wrong status makes the browser give up the session.
  browser: { access: Public },
  // The handlers check: each standard has answers of its own to what is not valid.
  'identity-provider': { access: Public },
  // The handlers check which of the receivers it is.
  'event-receiver': { access: Public },
  anyone: { access: Public },
};

const METHODS = { GET: Get, POST: Post, PATCH: Patch, PUT: Put, DELETE: Delete };

/**
 * Creates a decorator that turns a method into one of the routes of a contract, with its path, status and guards.
 * @returns a decorator factory that takes the name of the route and its path (default: the path in the contract)
 */
export function routesOf<Routes extends Contract>(
  routes: Routes,
): (route: keyof Routes & string, path?: string) => MethodDecorator {
  return (route, path = routes[route].path) => {
    const { method, anyMethod, auth, body, session, loginGuards, answer } = routes[route];
    const { access, beforeBody, afterBody } = AUTH_GUARDS[auth];
    const guards = [NoStoreGuard, BackendCallers, beforeBody, body && BodyGuard, afterBody, loginGuards && LoginGuards];
    return applyDecorators(
      (anyMethod ? All : METHODS[method])(path),
      HttpCode(answer ? 200 : 204),
      RouteMetadata(route, routes[route]),
      ...(access ? [access()] : []),
      ...(body ? [AcceptsBody(body, session)] : []),
      UseGuards(...guards.filter((guard) => guard !== undefined)),
    );
  };
}
