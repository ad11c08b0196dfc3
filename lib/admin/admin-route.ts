import { routesOf } from '../http/route.js';
import { ADMIN_ROUTES } from './contract.js';

/**
 * Makes a method one of the routes of `AdminSessionsController`. Nest does not inherit decorators of methods, so repeat it on
 * each method that you override.
 * @param route the name of the route, which is the name of its method in `AdminSessionsController`
 * @param path default: as in `AdminSessionsController`
 */
export const AdminRoute: (route: keyof typeof ADMIN_ROUTES, path?: string) => MethodDecorator = routesOf(ADMIN_ROUTES);
