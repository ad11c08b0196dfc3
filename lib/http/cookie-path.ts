import { Inject, Injectable, Logger, type OnApplicationBootstrap, type Type, VERSION_NEUTRAL } from '@nestjs/common';
import { RequestMethod, VersioningType } from '@nestjs/common';
import { ApplicationConfig, ModulesContainer } from '@nestjs/core';
import { HTTP_CONFIG, type HttpConfig } from './options.js';

/** Injection token of `SessionRoutes`. */
export const SESSION_ROUTES_AT = 'MULTI_SESSION_ROUTES_AT';

/** Where the session routes are. */
export interface SessionRoutes {
  /** The controller of the session routes, or false if there are none. */
  readonly controller: Type | false;
  /** The module that declares the controller. */
  readonly module: Type;
  /** The option `path`. */
  readonly path: string;
  /** The controller of the routes that browsers call by themselves, or false if there are none. */
  readonly dbsc: Type | false;
}

/** The routes that read the refresh cookie. */
const READERS = ['refresh', 'logout', 'destroyAllOther'];

// Nest's own names of its metadata. `test/e2e/cookie-path.spec.ts` compares the result with the routes that Nest serves.
const PATH = 'path';
const VERSION = '__version__';
const MODULE_PATH = '__module_path__';

/**
 * Knows the path of the refresh cookie: the option `path`, or else the path of the session routes as Nest serves them, with
 * the global prefix, the version and the path of the controller.
 *
 * The application sets its prefix and its versioning after it has created its providers, so the path is derived at first use.
 */
@Injectable()
export class CookiePath implements OnApplicationBootstrap {
  private derived?: string;
  private readonly dbscPaths = new Map<string, string | undefined>();

  constructor(
    @Inject(HTTP_CONFIG) private readonly config: HttpConfig,
    @Inject(SESSION_ROUTES_AT) private readonly at: SessionRoutes,
    private readonly application: ApplicationConfig,
    private readonly modules: ModulesContainer,
  ) {}

  /** The path of the refresh cookie. `/` if there are no session routes. */
  get value(): string {
    const { cookies } = this.config;
    if (cookies && cookies.path !== undefined) return cookies.path;
    return (this.derived ??= commonFolder(this.routes()));
  }

  /**
   * Returns the path of a route of `DbscController` as browsers see it. If a proxy rewrites paths, the option `path` says to
   * what.
   * @returns undefined if there are no such routes
   */
  ofDbsc(name: 'register' | 'refresh'): string | undefined {
    let path = this.dbscPaths.get(name);
    if (path === undefined) this.dbscPaths.set(name, (path = this.servedTo(this.at.dbsc, [name]).at(0)));
    const { cookies } = this.config;
    if (path === undefined || !cookies || cookies.path === undefined || contains(cookies.path, path)) return path;
    return joined(cookies.path, path.split('/').slice(-2).join('/'));
  }

  /**
   * Warns if browsers would not send the refresh cookie to the session routes.
   * @internal
   */
  onApplicationBootstrap(): void {
    const { cookies } = this.config;
    if (!cookies || cookies.path === undefined) return;
    const outside = this.routes().filter((route) => !contains(cookies.path as string, route));
    if (outside.length === 0) return;
    new Logger('MultiSession').warn(
      `cookies.path is ${JSON.stringify(cookies.path)}, and the application serves ${outside.join(', ')}: browsers will not ` +
        'send the refresh cookie there, unless a proxy rewrites the path. Leave the option out, or set it to the path that browsers see',
    );
  }

  /** Returns the paths of the routes that read the refresh cookie, as Nest serves them. */
  private routes(): string[] {
    return this.servedTo(this.at.controller, READERS);
  }

  private servedTo(controller: Type | false, handlers: readonly string[]): string[] {
    if (controller === false) return [];
    const metadata = (key: string, target: object) => Reflect.getMetadata(key, target) as unknown;
    const members = controller.prototype as Record<string, unknown>;
    return handlers.flatMap((name) => {
      const handler = members[name];
      if (typeof handler !== 'function') return [];
      const ofMethod = metadata(PATH, handler);
      if (ofMethod === undefined) return [];
      const version =
        metadata(VERSION, handler) ?? metadata(VERSION, controller) ?? this.application.getVersioning()?.defaultVersion;
      return listOf(metadata(PATH, controller)).flatMap((ofController) =>
        listOf(ofMethod).flatMap((path) => this.served(joined(this.modulePath(), ofController, path), version)),
      );
    });
  }

  private modulePath(): string {
    const registered = Reflect.getMetadata(MODULE_PATH + this.modules.applicationId, this.at.module) as unknown;
    return typeof registered === 'string' ? registered : this.at.path;
  }

  /** Returns the paths at which Nest serves a route, one for each version. */
  private served(path: string, version: unknown): string[] {
    const versioning = this.application.getVersioning();
    const prefix = this.isExcluded(path) ? '' : this.application.getGlobalPrefix();
    if (versioning?.type !== VersioningType.URI || version === undefined) return [joined(prefix, path)];
    const before = versioning.prefix === false ? '' : (versioning.prefix ?? 'v');
    const versions = [version].flat() as (string | typeof VERSION_NEUTRAL)[];
    return versions.map((one) => joined(prefix, one === VERSION_NEUTRAL ? '' : `${before}${one}`, path));
  }

  private isExcluded(path: string): boolean {
    const { exclude = [] } = this.application.getGlobalPrefixOptions();
    return exclude.some(
      ({ requestMethod, pathRegex }) =>
        [RequestMethod.ALL, RequestMethod.POST, -1].includes(requestMethod) && pathRegex.test(path),
    );
  }
}

/** Whether a browser sends a cookie of this path to the route (RFC 6265 section 5.1.4). */
function contains(path: string, route: string): boolean {
  return route === path || route.startsWith(path.endsWith('/') ? path : `${path}/`);
}

/** Returns the longest path that contains all routes, without their last segments. */
function commonFolder(routes: readonly string[]): string {
  const folders = routes.map((route) => route.split('/').slice(1, -1));
  const [first = []] = folders;
  const differs = first.findIndex(
    (segment, at) => isPattern(segment) || folders.some((folder) => folder[at] !== segment),
  );
  return `/${first.slice(0, differs === -1 ? undefined : differs).join('/')}`;
}

/** Whether a segment of a path matches several texts, so that it cannot be in a cookie's path. */
function isPattern(segment: string): boolean {
  return /[:*{}()[\]?+!]/.test(segment);
}

function listOf(metadata: unknown): string[] {
  return [metadata ?? ''].flat().map(String);
}

function joined(...parts: readonly string[]): string {
  const segments = parts.flatMap((part) => part.split('/')).filter((segment) => segment !== '');
  return `/${segments.join('/')}`;
}
