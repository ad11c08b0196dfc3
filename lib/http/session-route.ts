import { applyDecorators, type CanActivate, HttpCode, Post, type Type, UseGuards } from '@nestjs/common';
import { AcceptsBody, BodyGuard } from './body.guard.js';
import { Public, RequireSession } from './decorators.js';
import { JwtAuthGuard } from './jwt-auth.guard.js';
import { LoginGuards } from './application-guards.js';
import { CallerGuard } from './refresh-transport.js';
import {
  DestroyAllOtherDto,
  DestroyDto,
  ListDto,
  LoginDto,
  LogoutDto,
  ReauthenticateDto,
  RefreshDto,
} from './sessions.dto.js';

/** For who knows the secret key, or has cookies. The order of the guards is the order of the checks, here and below. */
const byCaller = (body: MethodDecorator, ...guards: Type<CanActivate>[]) => [
  Public(),
  body,
  UseGuards(BodyGuard, CallerGuard, ...guards),
];

/** For who is logged in. */
const byAccessToken = (body: MethodDecorator, ...guards: Type<CanActivate>[]) => [
  RequireSession(),
  body,
  UseGuards(JwtAuthGuard, BodyGuard, ...guards),
];

const ROUTES = {
  login: byCaller(AcceptsBody(LoginDto, 'type'), LoginGuards),
  refresh: byCaller(AcceptsBody(RefreshDto, 'type')),
  list: byAccessToken(AcceptsBody(ListDto, 'type-or-all')),
  destroy: byAccessToken(AcceptsBody(DestroyDto)),
  destroyAllOther: byAccessToken(AcceptsBody(DestroyAllOtherDto, 'type-or-all')),
  logout: byCaller(AcceptsBody(LogoutDto)),
  reauthenticate: byAccessToken(AcceptsBody(ReauthenticateDto), LoginGuards),
};

/**
 * Makes a method one of the routes, with its checks. Nest does not inherit what decorates a method, so a subclass of
 * `SessionsController` says it again on a method that it overrides:
 *
 * ```ts
 * @SessionRoute('login')
 * override async login(@ValidBody() body: LoginDto, @Req() request: unknown) {
 *   return { ...(await super.login(body, request)), welcome: body.username };
 * }
 * ```
 *
 * @param path default: the route's name
 */
export const SessionRoute = (route: keyof typeof ROUTES, path: string = route): MethodDecorator =>
  applyDecorators(Post(path), HttpCode(200), ...ROUTES[route]);
