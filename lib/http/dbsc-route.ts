import { DBSC_ROUTES } from './dbsc-contract.js';
import { routesOf } from './route.js';

/** Makes a method one of the routes of `DbscController`, with its checks. */
export const DbscRoute = routesOf(DBSC_ROUTES);
