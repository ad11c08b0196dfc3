import { RequestMethod, type Type } from '@nestjs/common';
import { type ApplicationConfig, MetadataScanner, type ModulesContainer } from '@nestjs/core';
import { PathsExplorer } from '@nestjs/core/router/paths-explorer.js';
import { RoutePathFactory } from '@nestjs/core/router/route-path-factory.js';
import { SessionsController } from '../../http/sessions.controller.js';

// The metadata keys of Nest's decorators and its RouterModule.
const CONTROLLER_PATH = 'path';
const CONTROLLER_VERSION = '__version__';
const MODULE_PATH = '__module_path__';

type RouteMetadata = Parameters<RoutePathFactory['create']>[0];
/** The segments of a path, in lower case. A segment that begins with a colon matches any segment. */
type Pattern = readonly string[];

interface Route {
  readonly pattern: Pattern;
  readonly method: string;
  readonly handler: string;
}

/** The result of looking up a path among the session routes. */
export interface RouteMatch {
  /** The HTTP methods of the route. Empty if the path is below the prefix but not a route. */
  readonly methods: readonly string[];
  /** The name of the controller's method that handles the route. */
  readonly handler?: string;
}

/**
 * Finds the routes of `SessionsController` and its subclasses. Like Nest, it composes a path from the global prefix, the
 * version, the module's path and the controller's path. It respects routes that are excluded from the global prefix.
 */
export class SessionRoutes {
  private readonly routes: Route[] = [];
  private readonly prefixes: Pattern[];
  private readonly paths: RoutePathFactory;

  /**
   * Collects the routes from the modules of the application.
   * @param morePrefixes further prefixes, which the controllers do not have
   */
  constructor(
    private readonly modules: ModulesContainer,
    private readonly config: ApplicationConfig,
    morePrefixes: readonly string[] = [],
  ) {
    this.paths = new RoutePathFactory(config);
    this.prefixes = morePrefixes.map(patternOf);
    for (const { controllers, metatype } of modules.values()) {
      for (const { metatype: controller } of controllers.values()) {
        if (isSessionsController(controller)) this.add(controller, metatype);
      }
    }
  }

  /**
   * Looks up the URL of a request.
   * @param url with or without a query and a trailing slash
   * @returns undefined if the URL is outside of the prefix of the session routes
   */
  find(url: string): RouteMatch | undefined {
    const path = patternOf(url.split(/[?#]/, 1)[0]);
    const found = this.routes.filter(({ pattern }) => pattern.length === path.length && begins(path, pattern));
    if (found.length > 0) return { methods: found.map((route) => route.method), handler: found[0].handler };
    return this.prefixes.some((prefix) => begins(path, prefix)) ? { methods: [] } : undefined;
  }

  private add(controller: Type, module: Type): void {
    const modulePath = this.modulePathOf(module);
    for (const ctrlPath of [Reflect.getMetadata(CONTROLLER_PATH, controller) as string | string[]].flat()) {
      // A controller at the root adds no prefix. Otherwise, the filter would act on the whole application.
      const hasPrefix = patternOf(`${modulePath ?? ''}/${ctrlPath}`).length > 0;
      for (const route of new PathsExplorer(new MetadataScanner()).scanForPaths({}, controller.prototype as object)) {
        const metadata: RouteMetadata = {
          ctrlPath,
          modulePath,
          globalPrefix: this.config.getGlobalPrefix(),
          controllerVersion: this.versionOf(controller),
          methodVersion: route.version,
          versioningOptions: this.config.getVersioning(),
        };
        if (hasPrefix) this.prefixes.push(...this.paths.create(metadata).map(patternOf));
        for (const methodPath of route.path) {
          const served = this.paths.create({ ...metadata, methodPath }, route.requestMethod);
          const { methodName: handler, requestMethod } = route;
          const method = RequestMethod[requestMethod];
          this.routes.push(...served.map((path) => ({ pattern: patternOf(path), method, handler })));
        }
      }
    }
  }

  private modulePathOf(module: Type): string | undefined {
    return (Reflect.getMetadata(MODULE_PATH + this.modules.applicationId, module) ??
      Reflect.getMetadata(MODULE_PATH, module)) as string | undefined;
  }

  private versionOf(controller: Type): RouteMetadata['controllerVersion'] {
    const versioning = this.config.getVersioning();
    const version = Reflect.getMetadata(CONTROLLER_VERSION, controller) as RouteMetadata['controllerVersion'];
    return versioning && (version ?? versioning.defaultVersion);
  }
}

function isSessionsController(candidate: unknown): candidate is Type {
  return (
    candidate === SessionsController ||
    (typeof candidate === 'function' && candidate.prototype instanceof SessionsController)
  );
}

function patternOf(path: string): Pattern {
  return path
    .toLowerCase()
    .split('/')
    .filter((segment) => segment !== '');
}

function begins(path: Pattern, prefix: Pattern): boolean {
  return path.length >= prefix.length && prefix.every((segment, at) => segment.startsWith(':') || segment === path[at]);
}
