import { routesOf } from '../http/route.js';
import { SIGNAL_ROUTES } from './contract.js';

/**
 * Makes a method one of the routes of `SignalsController`. Nest does not inherit decorators of methods, so repeat it on each
 * method that you override.
 * @param route the name of the route, which is the name of its method in `SignalsController`
 * @param path default: as in `SignalsController`
 */
export const SignalRoute: (route: keyof typeof SIGNAL_ROUTES, path?: string) => MethodDecorator =
  routesOf(SIGNAL_ROUTES);
