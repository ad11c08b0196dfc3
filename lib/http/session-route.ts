import { MANAGEMENT_ROUTES, SESSION_ROUTES } from './contract.js';
import { routesOf } from './route.js';

/**
 * Makes a method one of the routes of `SessionsController`, with its checks. Nest does not inherit decorators of methods, so
 * repeat it on each method that you override:
 *
 * ```ts
 * @SessionRoute('login')
 * override async login(@ValidBody() body: LoginDto, @Req() request: unknown) {
 *   return { ...(await super.login(body, request)), welcome: body.username };
 * }
 * ```
 *
 * @param route the name of the route, which is the name of its method in `SessionsController`
 * @param path default: as in `SessionsController`
 */
export const SessionRoute: (route: keyof typeof SESSION_ROUTES, path?: string) => MethodDecorator =
  routesOf(SESSION_ROUTES);

/**
 * Makes a method one of the routes of `SessionManagementController`, like `SessionRoute`.
 * @param route the name of the route, which is the name of its method in `SessionManagementController`
 * @param path default: as in `SessionManagementController`
 */
export const ManagementRoute: (route: keyof typeof MANAGEMENT_ROUTES, path?: string) => MethodDecorator =
  routesOf(MANAGEMENT_ROUTES);
