import { applyDecorators, HttpCode, Post, UseGuards } from '@nestjs/common';
import { AcceptsBody, BodyGuard } from './body.guard.js';
import { Public, RequireSession } from './decorators.js';
import { JwtAuthGuard } from './jwt-auth.guard.js';
import { CallerGuard } from './refresh-transport.js';
import { DestroyAllOtherDto, DestroyDto, ListDto, LoginDto, LogoutDto, RefreshDto } from './sessions.dto.js';

/** For who knows the secret key, or has cookies. The order of the guards is the order of the checks, here and below. */
const byCaller = (body: MethodDecorator) => [Public(), body, UseGuards(BodyGuard, CallerGuard)];

/** For who is logged in. */
const byAccessToken = (body: MethodDecorator) => [RequireSession(), body, UseGuards(JwtAuthGuard, BodyGuard)];

const ROUTES = {
  login: byCaller(AcceptsBody(LoginDto, 'type')),
  refresh: byCaller(AcceptsBody(RefreshDto, 'type')),
  list: byAccessToken(AcceptsBody(ListDto, 'type-or-all')),
  destroy: byAccessToken(AcceptsBody(DestroyDto)),
  destroyAllOther: byAccessToken(AcceptsBody(DestroyAllOtherDto, 'type-or-all')),
  logout: byCaller(AcceptsBody(LogoutDto)),
};

/**
 * Makes a method one of the six routes, with its checks. Nest does not inherit what decorates a method, so a subclass of
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
