import { Inject, Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { ApplicationConfig } from '@nestjs/core';

/** The injection token of the module's option `path`, or of its default. */
export const ROUTE_PATH = 'MULTI_SESSION_ROUTE_PATH';

/** Warns if the application's global prefix is repeated in the path of the routes, such as `/api/api/session`. */
@Injectable()
export class PrefixWarning implements OnModuleInit {
  constructor(
    @Inject(ROUTE_PATH) private readonly path: string,
    private readonly application: ApplicationConfig,
  ) {}

  onModuleInit(): void {
    const [prefix, path] = [this.application.getGlobalPrefix(), this.path].map(segmentsOf);
    const isRepeated = prefix.length > 0 && prefix.every((segment, at) => segment === path[at]);
    const { exclude = [] } = this.application.getGlobalPrefixOptions();
    const isExcluded = exclude.some(({ pathRegex }) => pathRegex.test(`/${path.join('/')}/login`));
    if (!isRepeated || isExcluded) return;
    const served = `/${[...prefix, ...path].join('/')}`;
    const better = path.slice(prefix.length).join('/');
    new Logger('MultiSessionModule').warn(
      `The session routes are at ${served}, because setGlobalPrefix('${prefix.join('/')}') is put before the option path ` +
        `('${path.join('/')}'). For /${path.join('/')}, set path: '${better}'.`,
    );
  }
}

function segmentsOf(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '');
}
