import { routesOf } from '../../http/route.js';
import { DEVICE_ROUTES } from './contract.js';

/**
 * Makes a method one of the routes of `DevicesController`, with its checks. A subclass repeats it on a method that it
 * overrides, because Nest does not inherit the decorators of a method.
 * @param route the name of the route, which is the name of its method in `DevicesController`
 * @param path default: as in `DevicesController`
 */
export const DeviceRoute: (route: keyof typeof DEVICE_ROUTES, path?: string) => MethodDecorator =
  routesOf(DEVICE_ROUTES);
