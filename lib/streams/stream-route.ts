import { applyDecorators, SetMetadata } from '@nestjs/common';
import { routesOf } from '../http/route.js';
import { STREAM_ROUTES } from './contract.js';

const routes = routesOf(STREAM_ROUTES);

/** Hides a route from the OpenAPI document. The key is that of `@nestjs/swagger`, which the library does not import. */
const EXCLUDED_OF_SWAGGER = SetMetadata('swagger/apiExcludeEndpoint', { disable: true });

/**
 * Makes a method one of the routes of `StreamsController`.
 * @param route the name of the route, which is the name of its method
 */
export function StreamRoute(route: keyof typeof STREAM_ROUTES): MethodDecorator {
  return applyDecorators(routes(route), EXCLUDED_OF_SWAGGER);
}
