import { routesOf } from '../../http/route.js';
import { DEVICE_ROUTES } from './contract.js';

/**
 * Makes a method one of the routes of `DevicesController`, with its checks. Nest does not inherit decorators of methods, so
 * repeat it on each method that you override.
 * @param route the name of the route, which is the name of its method in `DevicesController`
 * @param path default: as in `DevicesController`
 */
export const DeviceRoute: (route: keyof typeof DEVICE_ROUTES, path?: string) => MethodDecorator =
  routesOf(DEVICE_ROUTES);
